"""What value a virtio device's property has: given on the device, by ``-global``, or neither."""

from __future__ import annotations

from sequester.findings.case import Case
from sequester.guest.guest import Guest
from sequester.guest.part import Part, Value
from sequester.guest.virtio import classes

_DEFAULTS_SINCE = (6, 0)


def defaults_given(case: Case) -> bool:
    """Tell whether QEMU itself gives every virtio device ``iommu_platform=on`` and ``disable-legacy=on``.

    It does so for a machine that names a protection object (QEMU 6.0 hw/core/machine.c,
    `machine_run_board_init`), as defaults that whatever is said of a device overrides.
    """
    return case.engaged and case.qemu_version >= _DEFAULTS_SINCE


def globals_of(guest: Guest, name: str) -> tuple[Part, ...]:
    """Return the ``-global`` options that set this property of anything, in their order."""
    return tuple(part for part in guest.of("global") if name in part.properties)


def setting(part: Part, way: str, name: str, given: tuple[Part, ...], arch: str) -> tuple[Value, Part | None]:
    """Return a device's value for a property, and the part that says so (the device, a ``-global``, or None).

    What the device says wins, then the last ``-global`` for its proxy on the bus, then the last one for the
    virtio device behind it: QEMU initialises that first, and the proxy's properties are aliases of its own
    (hw/virtio/virtio.c, `virtio_instance_init_common`).
    """
    if name in part.properties:
        return part.properties[name], part
    if not given:
        return None, None
    reached = classes(part, arch)
    proxy = reached[:-3] if way != "mmio" else ()
    behind: Part | None = None
    ahead: Part | None = None
    for option in given:
        if option.type in proxy:
            ahead = option
        elif option.type in reached:
            behind = option
    found = ahead or behind
    return (found.properties[name], found) if found is not None else (None, None)
