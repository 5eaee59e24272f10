"""The table of hashes by which OVMF checks a kernel that QEMU hands over: ``kernel-hashes=on``.

Layout, little-endian (QEMU target/i386/sev.c, `PaddedSevHashTable`; edk2 OvmfPkg/AmdSev/BlobVerifierLibSevHashes):
GUID and 16-bit length of the table, then for command line, initrd and kernel GUID, 16-bit length and SHA-256; padded
with zeros to a multiple of 16 bytes.
"""

from __future__ import annotations

import struct
from hashlib import sha256

_GUID = struct.Struct("<IHH")
_LENGTH = struct.Struct("<H")


def _guid(text: str) -> bytes:
    first, second, third, *rest = text.split("-")
    return _GUID.pack(int(first, 16), int(second, 16), int(third, 16)) + bytes.fromhex("".join(rest))


_TABLE = _guid("9438d606-4f22-4cc9-b479-a793d411fd21")
_CMDLINE = _guid("97d02dd8-bd20-4c94-aa78-e7714d36ab2a")
_INITRD = _guid("44baf731-3a2f-4bd7-9af1-41e29169781d")
_KERNEL = _guid("4de79437-abd2-427f-b835-d5b172d2045b")
_ENTRY_SIZE = 16 + 2 + 32
_TABLE_SIZE = 16 + 2 + 3 * _ENTRY_SIZE

SIZE = -(-_TABLE_SIZE // 16) * 16
"""Size of the padded table in bytes."""

NOTHING = sha256().digest()
"""What an initrd that is not there is hashed as."""


def table(kernel: bytes, initrd: bytes, cmdline: bytes) -> bytes:
    """Return the padded table for these three SHA-256 digests; QEMU hashes a command line with its zero byte."""
    entries = ((_CMDLINE, cmdline), (_INITRD, initrd), (_KERNEL, kernel))
    body = b"".join(guid + _LENGTH.pack(_ENTRY_SIZE) + digest for guid, digest in entries)
    return (_TABLE + _LENGTH.pack(_TABLE_SIZE) + body).ljust(SIZE, b"\0")
