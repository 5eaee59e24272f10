"""A fault: an error text as tools print it, what it means and what to do; and the search for faults in a text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from itertools import accumulate

from sequester.faults.cue import cues
from sequester.faults.passage import Passage, passages, plain
from sequester.faults.unknown import Nearest, hints, nearest

Decoder = Callable[[Mapping[str, str]], Mapping[str, str]]
"""From a pattern's named groups to more fields: a number's name, its meaning, the next step."""

_DISTINCT = 4  # explanations of one fault with different values, at most
_UNKNOWN = "unknown"


class Origin(StrEnum):
    """Who says it."""

    QEMU = "QEMU"
    KVM = "KVM"
    KERNEL = "kernel"
    LIBVIRT = "libvirt"
    FIRMWARE = "firmware"
    GUEST = "guest"
    QUOTING = "quoting service"


class Weight(IntEnum):
    """How much a text says. A lesser one gives way to a cause that the same passage names."""

    CAUSE = 0
    GENERAL = 1
    """Right for many causes; dropped where the same passage matches a cause."""
    AFTERMATH = 2
    """Printed because of what came before it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One error text and what is known of it.

    `code` is stable (``sev.cbitpos``). `pattern` is a regular expression, compiled when first needed, tried on
    single lines without regard to case; every repetition in it is bounded. Its named groups, and what `decode`
    makes of them, can be used in `meaning` and `remedy` as ``{name}``; a step of `remedy` that comes out empty
    is left out. `sources` say where the text and its cause come from; "live:" names what printed it here.
    `rule` is the code of the rule that keeps a plan from it.
    """

    code: str
    title: str
    pattern: str
    origin: Origin
    meaning: str
    remedy: tuple[str, ...]
    sources: tuple[str, ...]
    weight: Weight = Weight.CAUSE
    decode: Decoder | None = None
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a part of a text means. `known` is false where no fault matched; then `nearest` has look-alikes.

    `quote` is the passage, made printable; `line` its number, from 1. `details` are values found in it, decoded.
    """

    code: str
    title: str
    origin: str
    meaning: str
    remedy: tuple[str, ...]
    details: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]
    quote: str
    line: int
    rule: str = ""
    known: bool = True
    nearest: tuple[Nearest, ...] = ()


@dataclass(frozen=True, slots=True)
class _Match:
    fault: Fault
    passage: Passage
    fields: Mapping[str, str]


def explain(text: str, tables: Sequence[Fault]) -> tuple[Explanation, ...]:
    """Explain every error in `text` that `tables` know: causes first, then general texts, then aftermath.

    `text` may be anything: many lines, control characters, a log of megabytes (see `passages` for the bounds).
    Nothing known gives one explanation with `known` false; an empty text gives none.
    """
    pieces = passages(text)
    if not pieces:
        return ()
    matches = list(_matches(pieces, tables))
    if not matches:
        # A mail or a terminal may have broken a line in the middle of a message.
        matches = list(_matches(passages(text, joined=True), tables))
    if not matches:
        return (_unknown(pieces, tables),)
    told = {match.passage.line for match in matches if match.fault.weight is Weight.CAUSE}
    kept = [m for m in matches if m.fault.weight is not Weight.GENERAL or m.passage.line not in told]
    kept.sort(key=lambda match: (match.fault.weight, match.passage.line))
    return tuple(_explanation(match) for match in kept)


def _matches(pieces: Sequence[Passage], tables: Sequence[Fault]) -> Iterator[_Match]:
    """Find each fault, once for each set of values."""
    low = [piece.text.lower() for piece in pieces]
    whole = "\n".join(low)
    starts = list(accumulate((len(line) + 1 for line in low), initial=0))
    for fault in tables:
        seen: list[Mapping[str, str]] = []
        for index in _candidates(fault.pattern, whole, starts):
            match = _compiled(fault.pattern).search(pieces[index].text)
            if match is None:
                continue
            fields = {name: plain(value or "").strip() for name, value in match.groupdict().items()}
            if fields not in seen:
                seen.append(fields)
                yield _Match(fault, pieces[index], fields)
            if len(seen) == _DISTINCT:
                break


def _candidates(pattern: str, whole: str, starts: Sequence[int]) -> Sequence[int]:
    """Return the passages, by number, that have one of the pattern's literal words."""
    words = cues(pattern)
    if not words:
        return range(len(starts) - 1)
    found = set()
    for word in words:
        at = whole.find(word)
        while at >= 0:
            index = bisect_right(starts, at) - 1
            found.add(index)
            at = whole.find(word, starts[index + 1])
    return sorted(found)


def _explanation(match: _Match) -> Explanation:
    fault = match.fault
    fields = _Fields(match.fields)
    if fault.decode is not None:
        fields.update(fault.decode(match.fields))
    steps = (step.format_map(fields).strip() for step in fault.remedy)
    return Explanation(
        code=fault.code,
        title=fault.title.format_map(fields),
        origin=str(fault.origin),
        meaning=fault.meaning.format_map(fields),
        remedy=tuple(step for step in steps if step),
        details=tuple((name, value) for name, value in fields.items() if value and name[0] != "_"),
        sources=fault.sources,
        quote=plain(match.passage.text.strip(), 400),
        line=match.passage.line,
        rule=fault.rule,
    )


def _unknown(pieces: Sequence[Passage], tables: Sequence[Fault]) -> Explanation:
    first = pieces[0]
    similar = nearest(pieces, [(fault.code, fault.title, fault.pattern) for fault in tables])
    return Explanation(
        code=_UNKNOWN,
        title="This text is not known",
        origin="",
        meaning="None of the known errors matches it. What shares the most words with it may or may not be related."
        if similar
        else "None of the known errors matches it, and none comes close.",
        remedy=(
            "give the whole output: the line that names the cause often comes before the last one",
            "QEMU's log of a libvirt guest is /var/log/libvirt/qemu/NAME.log; the kernel's is `dmesg`",
        ),
        details=hints(pieces),
        sources=(),
        quote=plain(first.text.strip(), 400),
        line=first.line,
        known=False,
        nearest=similar,
    )


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


class _Fields(dict[str, str]):
    """Fields of a template; one that this text does not have is empty."""

    def __missing__(self, name: str) -> str:
        return ""
