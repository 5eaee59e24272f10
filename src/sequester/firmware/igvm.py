"""Independent Guest Virtual Machine files: which platforms one is made for.

Layout, little-endian (microsoft/igvm, igvm_defs): magic ``IGVM``, format version, offset and size of the variable
headers, total size of the file, checksum, 32 bits each (version 2 adds architecture and page size). Variable headers:
type and length, 32 bits each, then the data, padded to 8 bytes. Type 1 is a supported platform: compatibility mask
(32 bits), highest VTL, platform type (8 bits each), platform version (16 bits), shared boundary (64 bits).
"""

from __future__ import annotations

import struct

from sequester.firmware.image import MOST_AT_ONCE, Image, malformed, read_exactly

MAGIC = b"IGVM"
PLATFORMS = {0: "native", 1: "vsm", 2: "sev-snp", 3: "tdx", 4: "sev", 5: "sev-es"}
"""`IgvmPlatformType` by number."""
SUPPORTED_PLATFORM = 1
LAST_PLATFORM_HEADER = 0x100
"""Headers of platforms have types up to this and come before all others."""

_FIXED = struct.Struct("<4sIIIII")
_HEADER = struct.Struct("<II")
_PLATFORM = struct.Struct("<IBBHQ")


def read_platforms(image: Image) -> frozenset[str]:
    """Return the names of the platforms that an IGVM file supports.

    Raises InputError where it is no IGVM file or its headers do not fit in it.
    """
    magic, version, offset, size, _total, _checksum = _FIXED.unpack(
        read_exactly(image, 0, _FIXED.size, "the IGVM header")
    )
    if magic != MAGIC or version not in (1, 2):
        raise malformed(f"this is no IGVM file of version 1 or 2 ({version})")
    if offset + size > image.size:
        raise malformed(f"the IGVM headers claim {size:#x} bytes at {offset:#x}, outside the file")
    headers = read_exactly(image, offset, min(size, MOST_AT_ONCE), "the IGVM headers")
    found: set[str] = set()
    position = 0
    while position + _HEADER.size <= len(headers):
        kind, length = _HEADER.unpack_from(headers, position)
        if kind > LAST_PLATFORM_HEADER:
            break
        position += _HEADER.size
        if position + length > len(headers) or (kind == SUPPORTED_PLATFORM and length < _PLATFORM.size):
            raise malformed(f"a header of the IGVM file claims {length} bytes")
        if kind == SUPPORTED_PLATFORM:
            number = _PLATFORM.unpack_from(headers, position)[2]
            found.add(PLATFORMS.get(number, str(number)))
        position += -(-length // 8) * 8
    return frozenset(found)
