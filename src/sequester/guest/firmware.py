"""What a guest boots from: the files that QEMU itself loads into it before the first instruction runs.

Source: QEMU hw/i386/pc_sysfw.c (pflash goes before ``-bios``, which is then ignored), blockdev.c (numbering of
pflash drives), system/vl.c (``-bios``, ``-kernel`` and their machine properties).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from sequester.guest.guest import Guest
from sequester.guest.part import Part

_FORMATS = ("raw", "qcow2")
_IN_MACHINE = frozenset({"pflash0", "pflash1", "igvm-cfg", "firmware"})
_DEPTH = 8
"""No chain of block nodes under a flash is deeper; a longer one is a loop."""


class Use(Enum):
    """What an image is to the guest."""

    ROM = "read-only memory (-bios)"
    FLASH = "flash (pflash unit 0)"
    VARIABLES = "flash for variables (pflash unit 1)"
    IGVM = "initial memory (igvm-cfg)"
    KERNEL = "kernel (-kernel)"


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its file ('' when it is not a file), what it is used as, and the part that declares it.

    `format` is QEMU's name of the image format, '' where none is given; `writable` tells whether the guest can
    change it.
    """

    use: Use
    path: str
    part: Part
    format: str = ""
    writable: bool = False


def images(guest: Guest) -> tuple[Image, ...]:
    """Return every image that the guest names, firmware first."""
    return (*firmware(guest), *_kernel(guest))


@lru_cache(maxsize=8)
def firmware(guest: Guest) -> tuple[Image, ...]:
    """Return the firmware images that the guest names; none where it takes QEMU's default firmware."""
    flash = [part for part in guest.of("drive") if part.get("if") == "pflash"]
    if not flash and _IN_MACHINE.isdisjoint(guest.machine.properties):
        bios = guest.one("bios")
        return (Image(Use.ROM, bios.type, bios),) if bios is not None else ()
    return tuple(_firmware(guest, flash))


def boots(found: tuple[Image, ...]) -> Image | None:
    """Return the image among these that the processor starts in, or None for QEMU's default firmware."""
    by_use = {image.use: image for image in reversed(found)}
    return by_use.get(Use.IGVM) or by_use.get(Use.FLASH) or by_use.get(Use.ROM)


def setting(guest: Guest, name: str) -> tuple[str, Part] | None:
    """Return the value of a setting that is an option and a machine property too (``kernel``), and where it is.

    As in QEMU, the option is the property: the last one wins, and only the option's place is known to be last.
    """
    part = guest.one(name)
    if part is not None:
        return part.type, part
    text = guest.machine.text(name)
    return (text, guest.machine) if text is not None else None


def _firmware(guest: Guest, flash: list[Part]) -> Iterator[Image]:
    machine = guest.machine
    igvm = machine.text("igvm-cfg")
    if igvm is not None:
        declared = guest.by_id.get(igvm)
        if declared is not None:
            yield Image(Use.IGVM, declared.text("file") or "", declared)
    units = dict(_units(flash))
    for unit, use in enumerate((Use.FLASH, Use.VARIABLES)):
        node = machine.get(f"pflash{unit}")
        if isinstance(node, str):
            yield _block(guest, use, node)
        elif unit in units:
            yield _drive(use, units[unit])
    bios = guest.one("bios")
    if bios is not None:
        yield Image(Use.ROM, bios.type, bios)
    elif (path := machine.text("firmware")) is not None:
        yield Image(Use.ROM, path, machine)


def _units(drives: list[Part]) -> Iterator[tuple[int, Part]]:
    taken = {int(unit) for drive in drives if (unit := _unit(drive)).isdigit()}
    free = (number for number in range(len(drives) + len(taken) + 1) if number not in taken)
    for drive in drives:
        unit = _unit(drive)
        yield (int(unit) if unit.isdigit() else next(free)), drive


def _unit(drive: Part) -> str:
    return drive.text("unit") or drive.text("index") or ""


def _drive(use: Use, drive: Part) -> Image:
    read_only = drive.flag("readonly") or drive.flag("read-only") or drive.flag("snapshot") or False
    return Image(use, drive.type, drive, drive.text("format") or "", not read_only)


def _block(guest: Guest, use: Use, node: str) -> Image:
    """Follow a block node to its file: nodes by name, nested ones by JSON or by dotted keys."""
    first = guest.by_id.get(node)
    if first is None or first.group not in ("blockdev", "drive"):
        return Image(use, "", guest.machine)
    if first.group == "drive":
        return _drive(use, first)
    layer, prefix, driver, form = first.properties, "", first.type, ""
    for _ in range(_DEPTH):
        form = form or (driver if driver in _FORMATS else "")
        path = layer.get(f"{prefix}filename")
        if isinstance(path, str):
            return Image(use, path, first, form, _writable(first))
        below = layer.get(f"{prefix}file")
        if isinstance(below, dict):
            layer, prefix, driver = below, "", below.get("driver", "")
        elif isinstance(below, str) and (named := guest.by_id.get(below)) is not None:
            layer, prefix, driver = named.properties, "", named.type
        else:
            prefix += "file."
            driver = layer.get(f"{prefix}driver", "")
    return Image(use, "", first, form, _writable(first))


def _writable(node: Part) -> bool:
    return not node.flag("read-only")


def _kernel(guest: Guest) -> Iterator[Image]:
    found = setting(guest, "kernel")
    if found is not None and found[0]:
        yield Image(Use.KERNEL, *found)
