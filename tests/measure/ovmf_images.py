"""Images laid out as OVMF's, with any metadata: for launches that no real build has."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence

from sequester.firmware import footer

Section = tuple[int, int, int]

SECTIONS: tuple[Section, ...] = (
    (0x800000, 0x9000, 0x1),
    (0x80A000, 0x3000, 0x1),
    (0x80D000, 0x1000, 0x2),
    (0x80E000, 0x1000, 0x3),
    (0x80F000, 0x1000, 0x4),
    (0x811000, 0x5000, 0x1),
    (0x810000, 0x1000, 0x10),
)
"""As in edk2's AmdSev build."""
HASHES = (0x810C00, 0x400)
RESET = 0x80B004


def image(
    sections: Sequence[Section] = SECTIONS,
    hashes: tuple[int, int] | None = HASHES,
    reset: int | None = RESET,
    svsm: int | None = None,
    fill: bytes = b"",
    size: int = 0x4000,
    extra: Mapping[str, bytes] | None = None,
) -> bytes:
    """An image of `size` bytes: `fill` repeated, then the metadata, the table and the reset code."""
    entries = dict(extra or {})
    if hashes is not None:
        entries[footer.SEV_HASHES] = struct.pack("<II", *hashes)
    if reset is not None:
        entries[footer.SEV_ES_RESET] = struct.pack("<I", reset)
    if svsm is not None:
        entries[footer.SVSM_INFO] = struct.pack("<I", svsm)
    body = b"".join(struct.pack("<III", *section) for section in sections)
    metadata = b"ASEV" + struct.pack("<III", 16 + len(body), 1, len(sections)) + body
    entries[footer.SEV_METADATA] = bytes(4)
    distance = len(metadata) + len(_table(entries))
    entries[footer.SEV_METADATA] = struct.pack("<I", distance)
    end = metadata + _table(entries)
    room = size - len(end)
    start = (fill * (room // len(fill) + 1))[:room] if fill else b"\xff" * room
    return start + end


def _table(entries: Mapping[str, bytes]) -> bytes:
    body = b"".join(
        data + struct.pack("<H", len(data) + 18) + uuid.UUID(guid).bytes_le for guid, data in entries.items()
    )
    return body + struct.pack("<H", len(body) + 18) + uuid.UUID(footer.FOOTER).bytes_le + bytes(0x20)
