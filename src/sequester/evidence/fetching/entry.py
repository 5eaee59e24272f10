"""What an index says of a document: its address, when it was fetched, until when it may be used (null: for ever)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sequester.evidence.fetching.document import FOR_EVER, Document

_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `more` is what the index says besides, by name: strings only."""

    address: str
    fetched: datetime
    until: datetime
    more: dict[str, str]


def told_of(document: Document, **more: str) -> dict[str, str | None]:
    """Return an entry as JSON has it."""
    until = None if document.until == FOR_EVER else document.until.isoformat()
    return {"address": document.address, "fetched": document.fetched.isoformat(), "until": until, **more}


def read_entry(told: object) -> Entry | None:
    """Return an entry of JSON; None for what is none."""
    if not isinstance(told, dict):
        return None
    address, fetched = told.get("address"), _time(told.get("fetched"))
    until = FOR_EVER if told.get("until", "") is None else _time(told.get("until"))
    if not isinstance(address, str) or len(address) > _LONGEST or fetched is None or until is None:
        return None
    return Entry(address, fetched, until, {k: v for k, v in told.items() if isinstance(v, str)})


def _time(said: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(said) if isinstance(said, str) else None
        return time.astimezone(UTC) if time is not None and time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
