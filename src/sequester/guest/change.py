"""The few ways in which a guest can be changed. Rules speak in these; every format can carry them out."""

from __future__ import annotations

from dataclasses import dataclass

from sequester.guest.part import Part, Value


@dataclass(frozen=True, slots=True)
class Set:
    """Give the part with this key a property, or another value for one."""

    key: int
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Unset:
    """Take a property away from the part with this key."""

    key: int
    name: str


@dataclass(frozen=True, slots=True)
class Retype:
    """Give the part with this key another type: a device another driver, a CPU another model."""

    key: int
    type: str


@dataclass(frozen=True, slots=True)
class Add:
    """Add a part. Its key must be new to the guest (see `Guest.next_key`)."""

    part: Part


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the part with this key."""

    key: int


Change = Set | Unset | Retype | Add | Remove
