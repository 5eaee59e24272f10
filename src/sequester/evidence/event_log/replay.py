"""Logs replayed against the registers of a TDX guest: only a log that gives them says what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha384

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.event_log.log import Event, parse

REGISTERS = {1: "rtmr0", 2: "rtmr1", 3: "rtmr2", 4: "rtmr3"}
"""A log's number of a register → ours."""
_OWN = "rtmr3"
_NO_ACTION = 3


def replay(events: Iterable[Event]) -> Mapping[str, bytes]:
    """Return what the registers are after these events. Raises InputError for one without a SHA-384 digest."""
    found = {name: bytes(48) for name in REGISTERS.values()}
    for event in events:
        name = REGISTERS.get(event.register)
        if name is None or event.type == _NO_ACTION:
            continue
        digest = event.sha384
        if digest is None:
            raise InputError(
                "an event has no SHA-384 digest", code="evidence.event-log", where=f"offset {event.offset:#x}"
            )
        found[name] = sha384(found[name] + digest).digest()
    return found


def held_against(
    own: Iterable[bytes], registers: Mapping[str, bytes], others: Sequence[bytes] = ()
) -> Iterator[Check]:
    """Answer EVENT_LOG: for each log that came with the evidence, and for the right one of those that are at hand.

    RTMR3 is the guest's own, which it goes on to extend: a log that has nothing of it is not held against it.
    """
    own = tuple(own)
    for log in own:
        yield _held(log, registers)
    if others:
        checks = [_held(log, registers) for log in others]
        yield next((check for check in checks if not check.failed), checks[0])
    elif not own:
        yield skipped(criteria.EVENT_LOG, "there is no event log: what was measured is known by digest alone")


def _held(log: bytes, registers: Mapping[str, bytes]) -> Check:
    try:
        count, values = _replayed(log)
    except InputError as error:
        return failed(criteria.EVENT_LOG, f"{error.what} ({error.where})", "a log that can be read")
    for name, value in values.items():
        if registers[name] != value and (name != _OWN or any(value)):
            return failed(
                criteria.EVENT_LOG,
                f"replayed, the log gives {name} {value.hex()}",
                f"{registers[name].hex()}, as in the evidence",
                name,
            )
    if registers[_OWN] != values[_OWN]:
        return passed(criteria.EVENT_LOG, f"{count} events give RTMR0 to RTMR2; the log has none of RTMR3")
    return passed(criteria.EVENT_LOG, f"{count} events give RTMR0 to RTMR3")


@lru_cache(maxsize=16)
def _replayed(log: bytes) -> tuple[int, Mapping[str, bytes]]:
    events = parse(log)
    return len(events), replay(events)
