"""Which mistake explains another digest: launches that differ a little from a given one, tried until one fits.

A launch has several features that people get wrong; for each there are a few guesses. Launches with one wrong guess
are tried first, then those with two, then three; each with every number of vCPUs, which costs one more hash only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from sequester.errors import InputError
from sequester.measure.prefixes import Prefixes
from sequester.record import replaced

MOST_VCPUS = 512
_PASSES = ((0, MOST_VCPUS), (1, MOST_VCPUS), (2, 64), (2, MOST_VCPUS), (3, 64))
"""How many guesses are wrong, and numbers of vCPUs up to which they are tried: the likely before the many."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What may have been launched instead: `fields` of the launch, and `what` that means for a person."""

    what: str
    fields: Mapping[str, Any]


Guesses = Mapping[str, Sequence[Guess]]
"""A feature of a launch → what it may have been instead. Guesses of different features go together."""


@dataclass(frozen=True, slots=True)
class Match:
    """A launch that has the digest that was seen, and what sets it apart; nothing where it is the given one."""

    launch: Any
    differences: tuple[str, ...]


def search(digest: bytes, launch: Any, guesses: Guesses, prefixes: Prefixes[Any]) -> Match | None:
    """Return the launch nearest to the given one that has this digest, or None.

    `prefixes` gives the digests of a launch by number of vCPUs (`sequester.measure.prefixes`). A guess that cannot
    be launched, such as a kernel on firmware that takes none, is passed over.
    """
    for wrong, most in _PASSES:
        for chosen in _choices(guesses, wrong):
            fields = {name: value for guess in chosen for name, value in guess.fields.items()}
            vcpus = _vcpus(digest, launch, fields, prefixes, max(most, launch.vcpus))
            if vcpus:
                differences = [guess.what for guess in chosen]
                if vcpus != launch.vcpus:
                    differences.insert(0, f"{vcpus} vCPU{'s' if vcpus > 1 else ''} instead of {launch.vcpus}")
                return Match(replaced(launch, **fields, vcpus=vcpus), tuple(differences))
    return None


def _choices(guesses: Guesses, wrong: int) -> Iterator[tuple[Guess, ...]]:
    for features in combinations(guesses.values(), wrong):
        yield from product(*features)


def _vcpus(digest: bytes, launch: Any, fields: Mapping[str, Any], prefixes: Prefixes[Any], most: int) -> int:
    """Return the number of vCPUs with which this launch has the digest, or 0."""
    try:
        changed = replaced(launch, **fields) if fields else launch
        for number, found in prefixes.digests(changed, most):
            if found == digest:
                return number
    except InputError:
        return 0
    return 0
