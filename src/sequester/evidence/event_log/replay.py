"""Logs replayed against the registers of a TDX guest: only a log that gives them says what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha384

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.event_log.log import Event, parse

REGISTERS = {1: "rtmr0", 2: "rtmr1", 3: "rtmr2", 4: "rtmr3"}
"""A log's number of a register → ours."""
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


def held_against(logs: Iterable[bytes], registers: Mapping[str, bytes]) -> Iterator[Check]:
    """Answer EVENT_LOG for each log; RTMR3, which a guest may go on to extend, is told apart."""
    number = 0
    for number, log in enumerate(logs, 1):  # noqa: B007 - counted to know whether there was one
        yield _held(log, registers)
    if not number:
        yield skipped(criteria.EVENT_LOG, "there is no event log: what was measured is known by digest alone")


def _held(log: bytes, registers: Mapping[str, bytes]) -> Check:
    try:
        events = parse(log)
        values = replay(events)
    except InputError as error:
        return failed(criteria.EVENT_LOG, f"{error.what} ({error.where})", "a log that can be read")
    for name, value in values.items():
        if registers[name] != value:
            return failed(
                criteria.EVENT_LOG,
                f"replayed, the log gives {name} {value.hex()}",
                f"{registers[name].hex()}, as in the evidence",
                name,
            )
    return passed(criteria.EVENT_LOG, f"{len(events)} events give RTMR0 to RTMR3")
