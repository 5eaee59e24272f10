"""The SEV metadata of an OVMF image: which pages an SNP launch has to prepare, and how.

Layout, little-endian (QEMU target/i386/sev.h, `OvmfSevMetadata`; edk2 OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm):
signature ``ASEV``, length in bytes, version, number of sections, then per section base, size and type, all 32 bits.
"""

from __future__ import annotations

import struct

from sequester.firmware.image import Image, malformed, read_exactly
from sequester.record import record

SIGNATURE = b"ASEV"
_HEAD = struct.Struct("<4sIII")
_SECTION = struct.Struct("<III")

SECTION_TYPES = {
    0x1: "SNP_SEC_MEM",
    0x2: "SNP_SECRETS",
    0x3: "CPUID",
    0x4: "SVSM_CAA",
    0x10: "SNP_KERNEL_HASHES",
}
"""Types of sections (edk2 OvmfSevMetadata.asm; QEMU `ovmf_sev_metadata_desc_type`)."""

SEC_MEM, SECRETS, CPUID, KERNEL_HASHES = 0x1, 0x2, 0x3, 0x10


@record
class SevSection:
    """Guest memory from `base`, `size` bytes, to be prepared as its `type` wants it."""

    base: int
    size: int
    type: int

    @property
    def name(self) -> str:
        """The type's name, or its number in hex."""
        return SECTION_TYPES.get(self.type, f"{self.type:#x}")


@record
class SevMetadata:
    """The metadata: its version, its sections in order, and where it is in the image."""

    version: int
    sections: tuple[SevSection, ...]
    offset: int

    def has(self, type_: int) -> bool:
        """Tell whether there is a section of this type that has room (builds keep unused ones at size 0)."""
        return any(section.type == type_ and section.size for section in self.sections)


def read_sev_metadata(image: Image, distance: int) -> SevMetadata:
    """Return the SEV metadata that begins `distance` bytes before the end of an image.

    Raises InputError where it cannot be there, has no signature, or its sections do not fit in it.
    """
    offset = image.size - distance
    signature, length, version, count = _HEAD.unpack(
        read_exactly(image, offset, _HEAD.size, "the SEV metadata")
    )
    if signature != SIGNATURE:
        raise malformed(f"there is no SEV metadata at {offset:#x}, where the GUID table says it is")
    if length < _HEAD.size or offset + length > image.size:
        raise malformed(f"the SEV metadata at {offset:#x} claims {length} bytes, more than there are")
    if count > (length - _HEAD.size) // _SECTION.size:
        raise malformed(f"the SEV metadata claims {count} sections in {length} bytes")
    raw = read_exactly(image, offset + _HEAD.size, count * _SECTION.size, "the SEV metadata's sections")
    return SevMetadata(version, tuple(SevSection(*fields) for fields in _SECTION.iter_unpack(raw)), offset)
