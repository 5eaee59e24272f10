"""Which devices of a plan are not in a running guest, and which of the guest's are not in the plan."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.guest.virtio import classes

_ALIASES = {
    "ac97": "ac97",
    "ahci": "ich9-ahci",
    "e1000-82540em": "e1000",
    "es1370": "es1370",
    "lsi": "lsi53c895a",
    "usb-tablet": "usb-tablet",
}
"""Other names of QEMU's devices that are not virtio (system/qdev-monitor.c, `qdev_alias_table`), in small letters."""


def differences(planned: Guest, there: Iterable[Part]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return what of the plan's devices is missing, and what is there beside it.

    A device is found by its id and type, and without an id by its type alone. Devices that QEMU adds of itself may be
    missing: which ones it adds depends on the machine.
    """
    left = list(there)
    missing = []
    named = [part for part in planned.devices if part.id and not part.implied]
    unnamed = [part for part in planned.devices if not part.id or part.implied]
    for part in (*named, *unnamed):
        found = next((one for one in left if _is(part, one, planned.arch)), None)
        if found is not None:
            left.remove(found)
        elif not part.implied:
            missing.append(part)
    return tuple(missing), tuple(left)


def _is(planned: Part, there: Part, arch: str) -> bool:
    if planned.id and not planned.implied and planned.id != there.id:
        return False
    return there.type.lower() in _names(planned.type, arch)


@lru_cache(maxsize=1024)
def _names(type_of: str, arch: str) -> frozenset[str]:
    """Return every name under which QEMU's tree may have a device of this type, in small letters."""
    small = type_of.lower()
    exact = classes(Part("device", type_of), arch)[:2]
    return frozenset({small, _ALIASES.get(small, small), *(name.lower() for name in exact)})
