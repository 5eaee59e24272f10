"""Statuses that firmware answers with: what a number is called, what it mostly means here, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """One status: its name in the vendor's manual, the usual cause in one sentence, the next step ('' if none)."""

    name: str
    cause: str
    step: str = ""


def number(text: str) -> int:
    """Read a number as tools print it, decimal or ``0x`` hexadecimal; raises `ValueError`."""
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def named(table: Mapping[int, Status], value: int, unknown: str) -> Mapping[str, str]:
    """Return the fields ``status`` (name), ``_cause`` and ``_step`` of a value; `unknown` is the cause of others."""
    found = table.get(value)
    if found is None:
        return {"status": "not in the vendor's tables", "_cause": unknown, "_step": ""}
    return {"status": found.name, "_cause": found.cause, "_step": found.step}
