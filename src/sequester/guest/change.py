"""The few ways in which a guest can be changed. Rules speak in these; every format can carry them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sequester.guest.part import Part, Value, spelled_out


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


def applied(part: Part, changes: Iterable[Change]) -> Part | None:
    """Return a part with changes to it made, None when one of them removes it. Keys are not looked at."""
    properties: dict[str, Value] = dict(part.properties)
    kind = part.type
    for change in changes:
        match change:
            case Set(name=name, value=value):
                properties[name] = value
            case Unset(name=name):
                properties.pop(name, None)
            case Retype(type=new):
                kind = new
            case Remove():
                return None
            case Add():  # pragma: no cover - an Add is never filed under a key
                raise AssertionError
    return replace(part, type=kind, properties=properties)


def told(change: Change) -> str:
    """Name a change for a person: ``iommu_platform=on``."""
    match change:
        case Set(name=name, value=value):
            return f"{name}={spelled_out(value)}"
        case Unset(name=name):
            return f"removal of {name}"
        case Retype(type=kind):
            return f"type {kind}"
        case _:
            return "removal"
