"""Which firmware images a guest loads, however its options say so."""

from __future__ import annotations

from dataclasses import dataclass

from sequester.guest.guest import Guest
from sequester.guest.part import Part

_DEPTH = 8
"""Block nodes stand on one another no deeper than this in any sane guest."""


@dataclass(frozen=True, slots=True)
class Image:
    """A firmware image: `kind` is ``rom`` (``-bios``) or ``flash``, `unit` the flash's number (0 code, 1 variables).

    `path` is '' where the image is behind something other than a file. `part` is the option that loads it.
    """

    kind: str
    path: str
    part: Part
    unit: int = 0
    readonly: bool = False


def images(guest: Guest) -> tuple[Image, ...]:
    """Return the firmware images of a guest, flash by unit; empty where QEMU's default firmware is taken."""
    found = [Image("rom", part.type, part, readonly=True) for part in guest.of("bios")]
    unit = 0
    for drive in guest.of("drive"):
        if drive.text("if") == "pflash":
            said = drive.text("unit") or drive.text("index") or ""
            unit = int(said) if said.isdigit() else unit
            readonly = bool(drive.flag("readonly") or drive.flag("read-only"))
            found.append(Image("flash", drive.type, drive, unit, readonly))
            unit += 1
    nodes = {node.id: node for node in guest.of("blockdev") if node.id}
    for unit in (0, 1):
        node = nodes.get(guest.machine.text(f"pflash{unit}") or "")
        if node is not None:
            found.append(Image("flash", _path(nodes, node), node, unit, bool(node.flag("read-only"))))
    return tuple(sorted(found, key=lambda image: image.unit))


def _path(nodes: dict[str, Part], node: Part) -> str:
    for _ in range(_DEPTH):
        name = node.text("filename")
        if name is not None:
            return name
        below = node.get("file")
        if isinstance(below, dict):
            return str(below.get("filename", ""))
        following = nodes.get(below) if isinstance(below, str) else None
        if following is None:
            flat = node.text("file.filename")
            return flat or ""
        node = following
    return ""
