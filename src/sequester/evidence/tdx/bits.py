"""Bits of a trust domain's attributes, by name (Intel TDX Module 1.5 ABI 348551, ATTRIBUTES; names as in Linux)."""

from __future__ import annotations

DEBUG, SEPT_VE_DISABLE, MIGRATABLE = 0, 28, 29
UNDER_DEBUG = 0xFF
"""The group TUD, "TD under debug": a guest with any of these is open to its host."""
ATTRIBUTES = {
    "debug": DEBUG,
    "hgs-plus": 4,
    "perf-profiling": 5,
    "pmt-profiling": 6,
    "icssd": 16,
    "lass": 27,
    "sept-ve-disable": SEPT_VE_DISABLE,
    "migratable": MIGRATABLE,
    "pks": 30,
    "key-locker": 31,
    "tpa": 62,
    "perfmon": 63,
}


def on(attributes: int) -> tuple[str, ...]:
    """Return the names of the bits that are set; one that has no name by its number."""
    names = {number: name for name, number in ATTRIBUTES.items()}
    return tuple(names.get(number, f"bit {number}") for number in range(64) if attributes >> number & 1)
