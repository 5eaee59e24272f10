"""The TDX metadata of an image (TDVF): which of its parts go where in a trust domain's memory.

Layout, little-endian (Intel TDX Virtual Firmware Design Guide, 11 "TDVF Metadata"; QEMU hw/i386/tdvf.c): signature
``TDVF``, length in bytes, version, number of sections, all 32 bits; then 32 bytes per section: offset in the image and
raw size (32 bits), guest address and size in memory (64 bits), type, attributes (32 bits).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sequester.firmware.image import Image, malformed, read_exactly

SIGNATURE = b"TDVF"
VERSION = 1
PAGE = 4096
_HEAD = struct.Struct("<4sIII")
_SECTION = struct.Struct("<IIQQII")

SECTION_TYPES = {
    0: "BFV",
    1: "CFV",
    2: "TD_HOB",
    3: "TempMem",
    4: "PermMem",
    5: "Payload",
    6: "PayloadParam",
}
"""Types of sections (TDVF Design Guide, 11.2)."""

BFV, CFV, TD_HOB, TEMP_MEM = 0, 1, 2, 3
COPIED = frozenset({BFV, CFV})
"""Sections whose contents come from the image."""
KNOWN_TO_QEMU = frozenset({BFV, CFV, TD_HOB, TEMP_MEM})
"""What QEMU takes (hw/i386/tdvf.c, `tdvf_parse_and_check_section_entry`)."""
MR_EXTEND = 1
"""Attribute: the contents are measured, not just the pages."""


@dataclass(frozen=True, slots=True)
class TdvfSection:
    """`raw_size` bytes at `offset` of the image, to go to `address` and fill `size` bytes of guest memory there."""

    offset: int
    raw_size: int
    address: int
    size: int
    type: int
    attributes: int

    @property
    def name(self) -> str:
        """The type's name, or its number."""
        return SECTION_TYPES.get(self.type, str(self.type))

    @property
    def measured(self) -> bool:
        """Whether the contents go into MRTD."""
        return bool(self.attributes & MR_EXTEND)


@dataclass(frozen=True, slots=True)
class Tdvf:
    """The metadata: its sections in order, and where it is in the image."""

    sections: tuple[TdvfSection, ...]
    offset: int

    def outside(self, image_size: int) -> tuple[TdvfSection, ...]:
        """Return the sections whose contents are not in an image of this size.

        That is so for the CODE half of an image: its metadata counts from the start of the whole one.
        """
        return tuple(
            section
            for section in self.sections
            if section.type in COPIED and section.offset + section.raw_size > image_size
        )

    def has(self, type_: int) -> bool:
        """Tell whether there is a section of this type."""
        return any(section.type == type_ for section in self.sections)


def read_tdvf(image: Image, distance: int) -> Tdvf:
    """Return the TDX metadata that begins `distance` bytes before the end of an image.

    Raises InputError where it cannot be there or QEMU would refuse it (hw/i386/tdvf.c).
    """
    offset = image.size - distance
    signature, length, version, count = _HEAD.unpack(
        read_exactly(image, offset, _HEAD.size, "the TDX metadata")
    )
    if signature != SIGNATURE:
        raise malformed(f"there is no TDX metadata at {offset:#x}, where the GUID table says it is")
    if version != VERSION:
        raise malformed(f"the TDX metadata is of version {version}, not {VERSION}")
    if count < 2 or length != _HEAD.size + count * _SECTION.size:
        raise malformed(f"the TDX metadata claims {count} sections in {length} bytes")
    raw = read_exactly(image, offset + _HEAD.size, length - _HEAD.size, "the TDX metadata's sections")
    sections = tuple(TdvfSection(*fields) for fields in _SECTION.iter_unpack(raw))
    for number, section in enumerate(sections):
        if fault := _fault(section):
            raise malformed(f"section {number} ({section.name}) of the TDX metadata {fault}")
    return Tdvf(sections, offset)


def _fault(section: TdvfSection) -> str:
    if section.type not in KNOWN_TO_QEMU:
        return "is of a type that QEMU does not take"
    if section.size < section.raw_size:
        return f"has {section.raw_size:#x} bytes for {section.size:#x} of memory"
    if section.address % PAGE or section.size % PAGE:
        return f"is not page aligned ({section.address:#x}, {section.size:#x} bytes)"
    if section.type in COPIED and not section.raw_size:
        return "has no contents"
    if section.type not in COPIED and section.raw_size:
        return f"has {section.raw_size:#x} bytes of contents and may have none"
    return ""
