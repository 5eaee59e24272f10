"""A log as people read it: every event with its register, what it says, and whether that is what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sequester.errors import InputError
from sequester.evidence.event_log import types
from sequester.evidence.event_log.log import Event, parse
from sequester.evidence.event_log.replay import replay
from sequester.evidence.event_log.words import tell
from sequester.evidence.field import Field

_ALGORITHMS = {0x4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512", 0x12: "sm3"}


@dataclass(frozen=True, slots=True)
class Log:
    """A log: its events, and all of its bytes."""

    events: tuple[Event, ...]
    data: bytes


def read(data: bytes, where: str) -> Log:
    """Read a log. Raises InputError naming the offset."""
    return Log(parse(data, where), data)


def claims(log: Log) -> Mapping[str, Any]:
    """Return the registers that a log gives, where it gives any."""
    try:
        registers = {name: value.hex() for name, value in replay(log.events).items()}
    except InputError:
        registers = {}
    return {"events": len(log.events), "registers": registers}


def fields(log: Log) -> Iterator[Field]:
    """Yield the log's head, every event, and what is behind them; the raw bytes, put together, are the log."""
    end = log.events[0].offset if log.events else len(log.data)
    yield Field("head", 0, log.data[:end], log.data[:end].hex(), "the TCG's crypto-agile form")
    for event in log.events:
        end = event.offset + event.size
        yield Field(
            types.name_of(event.type),
            event.offset,
            log.data[event.offset : end],
            _value(event),
            _meaning(event),
        )
    if end < len(log.data):
        raw = log.data[end:]
        yield Field(
            "rest", end, raw, f"{len(raw)} bytes", "no events: the space that was set aside for the log"
        )


def _value(event: Event) -> Mapping[str, Any]:
    told = tell(event)
    return {
        "register": types.NAMES_OF_REGISTERS.get(event.register, str(event.register)),
        "type": event.type,
        "digests": {
            _ALGORITHMS.get(number, f"{number:#x}"): digest.hex() for number, digest in event.digests
        },
        "measured": told.covered,
        "event": dict(told.value),
    }


def _meaning(event: Event) -> str:
    told = tell(event)
    register = types.NAMES_OF_REGISTERS.get(event.register, f"register {event.register}")
    if event.type == types.NO_ACTION:
        return told.words
    named = "" if told.covered else " (names what was measured)"
    return f"{register}: {told.words}{named}"
