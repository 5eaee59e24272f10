"""The shape of a guest as QEMU builds it anywhere: its machine and devices without protection, backends or files.

ACPI tables follow from the machine, its memory, processors and devices. What a device needs of its host (images,
networks, character devices) does not show in them, and is stood in for. A device that is the host's own cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sequester.errors import InputError
from sequester.formats.argv_write import write_argv
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest
from sequester.guest.part import Part

_KEPT = frozenset(
    {
        *("m", "smp", "numa", "device", "global", "vga", "usb"),
        *("no-hpet", "no-acpi", "nodefaults", "nographic", "bios"),
    }
)
"""Options that shape the machine and open nothing on the host; ``-bios`` is what reads the tables."""
_DROPPED = frozenset(
    {
        *("limitation", "accel", "enable-kvm", "cpu", "mem-prealloc", "overcommit", "rtc"),
        *("kernel", "initrd", "append", "boot", "fw_cfg", "smbios", "incoming", "L"),
        *("qmp", "qmp-pretty", "mon", "monitor", "debugcon", "display", "vnc", "spice", "k"),
        *("name", "uuid", "S", "daemonize", "pidfile", "D", "d", "trace", "msg"),
        *("sandbox", "run-with", "chroot", "runas", "no-user-config", "nodefconfig"),
        *("no-reboot", "no-shutdown", "only-migratable", "action", "watchdog-action"),
    }
)
"""Options that no table shows. The processor's model does not; its address width does, and is given apart."""
_HOSTS_OWN = (
    "vfio-",
    "vhost-",
    "usb-host",
    "ivshmem",
    "virtio-9p",
    "pci-assign",
    "tpm-",
    "nvdimm",
    "pc-dimm",
)
"""Devices of which the host's part shows, or that do not come up without it."""
_MACHINE_DROPPED = frozenset(
    {*LIMITATION_PROPERTIES, "accel", "kernel-irqchip", "kernel_irqchip", "memory-encryption"}
)
_OFF = ("smm", "pic")
"""What TDX turns off (QEMU target/i386/kvm/tdx.c, `tdx_kvm_init`)."""
ADDRESS_BITS = 52
"""The address width of processors with TDX; firmware takes its 64-bit PCI window from it, 46 bits at most."""


def bare_argv(guest: Guest) -> list[str]:
    """Return the command line, emulator first, that builds this guest's machine under any accelerator.

    `guest` is in QEMU's dialect. Raises InputError, naming it, for a part that cannot be left out or stood in for.
    """
    argv, lost = write_argv(replace(guest, parts=tuple(_parts(guest))))
    if lost:
        raise _fault(lost[0])
    serial = (
        []
        if guest.has("serial") or guest.has("nodefaults") or guest.has("nographic")
        else ["-serial", "null"]
    )
    return [*argv, "-cpu", f"max,phys-bits={ADDRESS_BITS}", "-display", "none", "-no-user-config", *serial]


def _parts(guest: Guest) -> Iterator[Part]:
    for number, part in enumerate(guest.parts):
        if part.group in _DROPPED:
            continue
        if part.group == "machine":
            kept = {key: value for key, value in part.properties.items() if key not in _MACHINE_DROPPED}
            yield replace(part, properties={**kept, **dict.fromkeys(_OFF, "off")})
        elif part.group == "device" and part.type.startswith(_HOSTS_OWN):
            raise _fault(part.label())
        elif part.group in _KEPT:
            yield part
        else:
            stand_in = _stand_in(part, number)
            if stand_in is None:
                raise _fault(part.label())
            yield stand_in


def _stand_in(part: Part, number: int) -> Part | None:
    """Return a backend that needs nothing of the host, None where there is none for this option."""
    named = {"id": part.id} if part.id else {}
    if part.group == "netdev":
        return replace(part, type="hubport", properties={**named, "hubid": str(number)})
    if part.group == "audiodev":
        return replace(part, type="none", properties=named)
    if part.group == "chardev":
        return replace(part, type="null", properties=named)
    if part.group in ("serial", "parallel"):
        return replace(part, type="null" if part.type != "none" else "none", properties={})
    if part.group == "drive" and part.text("if") != "pflash":
        kept = {
            key: value
            for key, value in part.properties.items()
            if key in ("id", "if", "index", "bus", "unit", "media")
        }
        return replace(part, type="", properties={**kept, "driver": "null-co"})
    if part.group == "blockdev":
        name = part.get("node-name")
        return replace(part, type="null-co", properties={"node-name": name} if name else {})
    if part.group == "object":
        if part.type.startswith("memory-backend-"):
            kept = {key: value for key, value in part.properties.items() if key in ("id", "size")}
            return replace(part, type="memory-backend-ram", properties=kept)
        return part if part.type in ("iothread", "rng-random", "rng-builtin") else None
    return None


def _fault(what: str) -> InputError:
    return InputError(
        f"ACPI tables cannot be had from QEMU for this guest: {what} cannot be stood in for",
        code="measure.acpi",
        remedy="read them from a guest of the same shape (--acpi)",
    )
