"""One part of a guest: its machine, a device, an object, a backend or a single setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

Value = Any
"""A property's value as its format gave it: text, or what JSON can hold (bool, int, float, list, dict)."""

NOTHING: Mapping[str, Value] = MappingProxyType({})

_TRUE = frozenset({"on", "yes", "true", "y"})
_FALSE = frozenset({"off", "no", "false", "n"})


@dataclass(frozen=True, slots=True, init=False)
class Part:
    """A part of a guest.

    `group` is the name of the QEMU option that declares such parts, without the dash (``device``,
    ``object``, ``machine``, ``cpu``, ``m``, ``smp``, ``accel``, ``drive``, ``blockdev``, ``netdev``,
    ``chardev``, ``mon``, ``global``, ``kernel``, ``S`` ...).
    `type` is the value of that option's first, implied key: a device's driver, an object's QOM type,
    a machine's or CPU's name, a path for ``-kernel``.
    `properties` holds every other key, as written, in order; ``id`` is among them and in `id`.
    `key` names the part within its guest and stays the same when the guest is changed.
    `line` (from 1; 0 when there is none) and `spelled` say where a person finds it.
    `implied` is true for what no option declares by itself: a device that ``-drive if=virtio`` or
    ``-nic`` makes, or one that QEMU adds when ``-nodefaults`` is missing.
    """

    group: str
    type: str
    properties: Mapping[str, Value]
    key: int
    id: str
    line: int
    spelled: str
    implied: bool

    def __init__(
        self,
        group: str,
        type: str,
        properties: Mapping[str, Value] = NOTHING,
        key: int = 0,
        id: str = "",
        line: int = 0,
        spelled: str = "",
        implied: bool = False,
    ) -> None:
        # By the slots' own setters: three times as fast as what `dataclass` writes, and a guest is made of parts.
        _group(self, group)
        _type(self, type)
        _properties(self, properties)
        _key(self, key)
        _id(self, id)
        _line(self, line)
        _spelled(self, spelled)
        _implied(self, implied)

    def get(self, name: str, default: Value = None) -> Value:
        """Return the property as written, or `default`."""
        return self.properties.get(name, default)

    def text(self, name: str) -> str | None:
        """Return the property as text, or None when it is absent or a structure."""
        value = self.properties.get(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "on" if value else "off"
        return None if isinstance(value, (dict, list)) else str(value)

    def flag(self, name: str) -> bool | None:
        """Return an on/off property as QEMU reads it, None if unset or neither."""
        value = self.properties.get(name)
        return truth(value)

    def label(self) -> str:
        """Name this part for a person: its id and type, as ``device 'net0' (virtio-net-pci)``."""
        group = "object" if self.group == "limitation" else self.group
        if self.id:
            return f"{group} '{self.id}' ({self.type})" if self.type else f"{group} '{self.id}'"
        return f"{group} {self.type}".rstrip()


_group, _type, _properties, _key, _id, _line, _spelled, _implied = (
    getattr(Part, field.name).__set__ for field in fields(Part)
)


def spelled_out(value: Value) -> str:
    """Return a value as QEMU's options write it: truths as on and off."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def truth(value: Value) -> bool | None:
    """Read an on/off value as QEMU's string visitor does; None when it is neither."""
    if isinstance(value, bool) or value is None:
        return value
    word = str(value)
    return True if word in _TRUE else False if word in _FALSE else None
