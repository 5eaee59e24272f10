"""Images laid out as TDVF's: sections of any kind, with the variables that Secure Boot begins with."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence

from ovmf_images import image

from sequester.firmware import footer
from sequester.measure.uefi import GLOBAL, IMAGE_SECURITY

Section = tuple[int, int, int, int, int, int]
SIZE, VARIABLES = 0x8000, 0x2000

SECTIONS: tuple[Section, ...] = (
    (VARIABLES, SIZE - VARIABLES, 0x1_0000_0000 - (SIZE - VARIABLES), SIZE - VARIABLES, 0, 1),
    (0, VARIABLES, 0x1_0000_0000 - SIZE, VARIABLES, 1, 0),
    (0, 0, 0x810000, 0x10000, 3, 0),
    (0, 0, 0x80B000, 0x2000, 3, 0),
    (0, 0, 0x809000, 0x2000, 2, 0),
    (0, 0, 0x800000, 0x6000, 3, 0),
)
"""As Debian's OVMF.inteltdx.ms.fd and Canonical's OVMF lay them out."""

KEYS = {"PK": (GLOBAL, b"platform"), "KEK": (GLOBAL, b"exchange"), "db": (IMAGE_SECURITY, b"allowed")}


def store(variables: Mapping[str, tuple[uuid.UUID, bytes]], state: int = 0x3F) -> bytes:
    """A volume of VARIABLES bytes with an authenticated store."""
    body = b""
    for name, (vendor, data) in variables.items():
        spelled = name.encode("utf-16-le") + b"\0\0"
        head = struct.pack("<HBxI24xIII16s", 0x55AA, state, 7, 0, len(spelled), len(data), vendor.bytes_le)
        body += (head + spelled + data).ljust(-(-(60 + len(spelled) + len(data)) // 4) * 4, b"\xff")
    guid = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
    header = guid + struct.pack("<IBB6x", VARIABLES - 72, 0x5A, 0xFE)
    volume = bytes(48) + struct.pack("<H", 72) + bytes(22) + header + body
    return volume.ljust(VARIABLES, b"\xff")


def tdvf(sections: Sequence[Section] = SECTIONS, configuration: bytes = b"", fill: bytes = b"\xf4") -> bytes:
    """An image of SIZE bytes: configuration, `fill`, and metadata that describes these sections."""
    body = b"".join(struct.pack("<IIQQII", *section) for section in sections)
    metadata = b"TDVF" + struct.pack("<III", 16 + len(body), 1, len(sections)) + body
    end = image(extra={footer.TDX_METADATA: bytes(4)}, size=0x1000, fill=b"\0")
    at = len(end) - end.index(uuid.UUID(footer.TDX_METADATA).bytes_le) + 2 + 4
    distance = 0x1000 + len(metadata)
    end = end[: len(end) - at] + struct.pack("<I", distance) + end[len(end) - at + 4 :]
    start = (configuration or store({})) + fill * SIZE
    return start[: SIZE - len(end) - len(metadata)] + metadata + end
