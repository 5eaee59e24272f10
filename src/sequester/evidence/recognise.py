"""Finds out what evidence is by looking at it: unwraps it, and names the module that knows its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence.appraisal import Check

if TYPE_CHECKING:
    from sequester.evidence.kinds import Kind
    from sequester.evidence.wrappings import Wrapping

LARGEST = 16 << 20
"""Bytes of one piece of evidence with all that it is wrapped in; event logs are the largest part."""
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Recognised:
    """Evidence out of its wrappings: its kind's module, its bytes, and what came with it.

    `wrappings` are the names of what it was in, from the outside. `nonce` is the verifier's, where a wrapping has it.
    """

    kind: Kind
    data: bytes
    wrappings: tuple[str, ...] = ()
    documents: tuple[bytes, ...] = ()
    event_logs: tuple[bytes, ...] = ()
    checks: tuple[Check, ...] = field(default=())
    nonce: bytes | None = None


def recognise(data: bytes, where: str) -> Recognised:
    """Return what evidence is. Raises InputError for bytes that no kind knows, or a wrapping that is broken."""
    names: list[str] = []
    documents: list[bytes] = []
    event_logs: list[bytes] = []
    checks: list[Check] = []
    nonce: bytes | None = None
    if len(data) > LARGEST:
        raise InputError(
            f"{len(data)} bytes are too many for evidence",
            code="evidence.size",
            where=where,
            remedy=f"at most {LARGEST >> 20} MiB are read",
        )
    while True:
        kind = next((kind for kind in kinds() if kind.recognises(data)), None)
        if kind is not None:
            came = (tuple(names), tuple(documents), tuple(event_logs), tuple(checks))
            return Recognised(kind, data, *came, nonce)
        wrapping = next((each for each in wrappings() if each.recognises(data)), None)
        if wrapping is None:
            raise _unknown(data, where, names)
        if len(names) == _DEEPEST:
            raise InputError(
                "this evidence is wrapped too often",
                code="evidence.wrapping",
                where=where,
                why=" in ".join(names),
            )
        inside = wrapping.unwrap(data, where)
        names.append(wrapping.NAME)
        documents += inside.documents
        event_logs += inside.event_logs
        checks += inside.checks
        nonce = inside.nonce if nonce is None else nonce
        data = inside.data


@cache
def kinds() -> tuple[Kind, ...]:
    """Return the modules of all kinds, by name."""
    return tuple(_modules("sequester.evidence.kinds"))


@cache
def wrappings() -> tuple[Wrapping, ...]:
    """Return the modules of all wrappings, by name."""
    return tuple(_modules("sequester.evidence.wrappings"))


def _modules(package: str) -> list[Any]:
    names = sorted(each.name for each in iter_modules(import_module(package).__path__))
    return [import_module(f"{package}.{name}") for name in names]


def _unknown(data: bytes, where: str, names: list[str]) -> InputError:
    known = ", ".join(kind.TITLE for kind in kinds())
    inside = f" in {' in '.join(reversed(names))}" if names else ""
    return InputError(
        f"these {len(data)} bytes{inside} are no evidence of a kind that is known"
        if data
        else "this is empty",
        code="evidence.unknown",
        where=where,
        remedy=f"known are: {known}",
    )
