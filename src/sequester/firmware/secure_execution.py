"""The header of an s390 Secure Execution image, by which a ``-kernel`` is one that can switch over.

Layout, big-endian (s390-tools, pvimg README "Memory Layout" and rust/pv/src/brcb.rs): at 0xc000 an image may have
metadata, ``SeImgLnx``, 64-bit offset of the header, 32-bit version. Without it the header is at the start of one of
the first 0x15 pages. The header begins with ``IBMSecEx``, 32-bit version, 32-bit size.
"""

from __future__ import annotations

import struct

from sequester.firmware.image import Image

MAGIC = b"IBMSecEx"
_METADATA_MAGIC = b"SeImgLnx"
_METADATA_OFFSET = 0xC000
_METADATA = struct.Struct(">8sQI")
_HEAD = struct.Struct(">8sII")
_PAGE = 4096
_PAGES_SEARCHED = 0x15
_LARGEST = 1024 * _PAGE


def find_header(image: Image) -> int | None:
    """Return the offset of the Secure Execution header in an image, or None: it would run unprotected."""
    candidates: tuple[int, ...] = tuple(page * _PAGE for page in range(_PAGES_SEARCHED))
    raw = image.read(_METADATA_OFFSET, _METADATA.size)
    if len(raw) == _METADATA.size:
        magic, offset, _version = _METADATA.unpack(raw)
        if magic == _METADATA_MAGIC:
            candidates = (offset,)
    return next((offset for offset in candidates if _is_header(image, offset)), None)


def _is_header(image: Image, offset: int) -> bool:
    if offset + _HEAD.size > image.size:
        return False
    raw = image.read(offset, _HEAD.size)
    if len(raw) != _HEAD.size:
        return False
    magic, _version, size = _HEAD.unpack(raw)
    return bool(magic == MAGIC and _HEAD.size < size <= min(_LARGEST, image.size - offset))
