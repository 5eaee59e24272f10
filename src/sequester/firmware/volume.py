"""Firmware volumes, the containers that UEFI images consist of, from their headers alone.

Layout, little-endian (UEFI PI 1.8, volume 3, 3.2.1 `EFI_FIRMWARE_VOLUME_HEADER`)::

    0   16 bytes, zero or the reset code        44  attributes, 32 bits
    16  GUID of the file system                 48  length of this header, 16 bits
    32  length of the volume, 64 bits           50  checksum: the header's 16-bit words add up to 0
    40  signature ``_FVH``                      56  block map
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sequester.firmware.footer import guid_text
from sequester.firmware.image import Image, malformed, read_exactly

NV_DATA = "fff12b8d-7696-4c8b-a985-2747075b4f50"
"""A store of variables (edk2 `EFI_SYSTEM_NV_DATA_FV_GUID`)."""
FILE_SYSTEMS = frozenset({"8c8ce578-8a3d-4f1c-9935-896185c32dd3", "5473c07a-3dcb-4dca-bd6f-1e9689e7349a"})
"""Volumes with code: firmware file systems 2 and 3 (UEFI PI)."""

SIGNATURE = b"_FVH"
_HEAD = struct.Struct("<16s16sQ4sIHHHBB")
MOST_VOLUMES = 32
_STARTS = (0, 0x1000)
"""Where the first volume begins: OVMF's at once, Arm's after a page that holds a branch (edk2 ArmVirtQemu.fdf)."""
_ARM_BRANCH, _ARM_BRANCH_MASK = 0x14000000, 0xFC000000
"""An AArch64 unconditional branch (Arm ARM, C6.2 "B")."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume: where it is in the image, its size in bytes, and the GUID of what it holds."""

    offset: int
    size: int
    guid: str

    @property
    def variables(self) -> bool:
        """Whether it is a store of variables."""
        return self.guid == NV_DATA

    @property
    def code(self) -> bool:
        """Whether it holds firmware files."""
        return self.guid in FILE_SYSTEMS


def read_volumes(image: Image) -> tuple[Volume, ...]:
    """Return the volumes of an image, which follow each other from its start; () where there are none.

    Stops at the first thing that is not a volume. Raises InputError for a volume larger than its image.
    """
    found: list[Volume] = []
    offset = next((start for start in _STARTS if _is_volume(image, start)), None)
    while offset is not None and len(found) < MOST_VOLUMES and _is_volume(image, offset):
        _zero, guid, size, *_rest = _HEAD.unpack(_head(image, offset))
        if offset + size > image.size:
            raise malformed(
                f"the firmware volume at {offset:#x} claims {size:#x} bytes, the image ends at {image.size:#x}"
            )
        found.append(Volume(offset, size, guid_text(guid)))
        offset += size
    return tuple(found)


def is_aarch64(image: Image, volumes: tuple[Volume, ...]) -> bool:
    """Tell whether these volumes are 64-bit Arm's: the image begins with a branch over its first page."""
    if not volumes or volumes[0].offset == 0:
        return False
    word = int.from_bytes(read_exactly(image, 0, 4, "the reset code"), "little")
    return word & _ARM_BRANCH_MASK == _ARM_BRANCH


def _head(image: Image, offset: int) -> bytes:
    return read_exactly(image, offset, _HEAD.size, "a firmware volume's header")


def _is_volume(image: Image, offset: int) -> bool:
    if offset + _HEAD.size > image.size:
        return False
    _zero, _guid, size, signature, _attributes, length, *_rest = _HEAD.unpack(_head(image, offset))
    if signature != SIGNATURE or length < _HEAD.size or length % 2 or length > size:
        return False
    if offset + length > image.size:
        return False
    header = read_exactly(image, offset, length, "a firmware volume's header")
    words = struct.unpack(f"<{length // 2}H", header)
    return sum(int(word) for word in words) & 0xFFFF == 0
