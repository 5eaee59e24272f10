"""pvattest's exchange file: an owner's attestation request, and the ultravisor's answer to it.

Layout, big-endian (s390-tools rust/pvattest/src/exchange.rs)::

    0x00 pvattest     0x08 version, 32 bits    0x0c bytes of all, 32 bits    0x10 zeros, 8
    0x18 request      0x20 measurement         0x28 additional data          0x30 user data     0x38 configuration UID

each of the five a size and an offset, 32 bits each. Size 0 is nothing; offset 0 with a size is what an answer will
need. What is here is stricter than pvattest: nothing overlaps, and every byte belongs to one of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sequester.errors import InputError

MAGIC = b"pvattest"
VERSION = 0x100
HEADER = 0x40
UID = 16
_HEAD = struct.Struct(">8sIIQ")
_ENTRY = struct.Struct(">II")
_ENTRIES = {
    "request": 0x100000,
    "measurement": 0x8000,
    "additional": 0x8000,
    "user": 0x100,
    "config-uid": UID,
}
"""Each entry's largest size in bytes (Linux arch/s390/include/uapi/asm/uvdevice.h)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange. What is not there is b""; `parts` are name, offset and size of what is, in order of offset."""

    request: bytes
    measurement: bytes
    additional: bytes
    user: bytes
    config_uid: bytes
    parts: tuple[tuple[str, int, int], ...]
    data: bytes

    @property
    def answered(self) -> bool:
        """Whether this is an answer and not just a request."""
        return bool(self.measurement) and bool(self.config_uid)


def recognises(data: bytes) -> bool:
    """Tell whether bytes are an exchange: by its name, or by the rest of its head where that is damaged."""
    if len(data) < HEADER:
        return False
    if data.startswith(MAGIC):
        return True
    name, version, size, zeros = _HEAD.unpack_from(data)
    alike = sum(a == b for a, b in zip(name, MAGIC, strict=True))
    return alike == len(MAGIC) - 1 and (version, zeros) == (VERSION, 0) and size == len(data)


def parse(data: bytes, where: str) -> Exchange:
    """Read an exchange. Raises InputError (``evidence.form``) naming the entry and offset."""

    def fault(what: str, at: int) -> InputError:
        return InputError(what, code="evidence.form", where=f"{where}: offset {at:#x}")

    if len(data) < HEADER:
        raise fault(f"an exchange has at least {HEADER} bytes, not {len(data)}", 0)
    magic, version, size, zeros = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise fault("this is no exchange of pvattest", 0)
    if version != VERSION:
        raise fault(f"version {version:#x} of the exchange is not known", 8)
    if size != len(data):
        raise fault(f"it says that it has {size} bytes, and has {len(data)}", 0xC)
    if zeros:
        raise fault("a reserved field is not zero", 0x10)
    found: dict[str, bytes] = {}
    parts: list[tuple[str, int, int]] = []
    for number, (name, largest) in enumerate(_ENTRIES.items()):
        at = _HEAD.size + _ENTRY.size * number
        length, offset = _ENTRY.unpack_from(data, at)
        if length > largest:
            raise fault(f"the {name} would have {length} bytes, more than {largest}", at)
        if not length:
            if offset:
                raise fault(f"the {name} has an offset and no bytes", at)
            continue
        if not offset:
            continue
        if offset < HEADER or offset + length > len(data):
            raise fault(f"the {name} would be {length} bytes at {offset:#x}, outside of the file", at)
        found[name] = data[offset : offset + length]
        parts.append((name, offset, length))
    parts.sort(key=lambda part: part[1])
    end = HEADER
    for name, offset, length in parts:
        if offset != end:
            raise fault(f"the {name} begins at {offset:#x}, where {end:#x} follows", offset)
        end = offset + length
    if end != len(data):
        raise fault(f"{len(data) - end} bytes belong to nothing", end)
    if "request" not in found:
        raise fault("there is no attestation request in it", 0x18)
    if "config-uid" in found and len(found["config-uid"]) != UID:
        raise fault(f"a configuration UID has {UID} bytes, not {len(found['config-uid'])}", 0x38)
    return Exchange(
        found["request"],
        found.get("measurement", b""),
        found.get("additional", b""),
        found.get("user", b""),
        found.get("config-uid", b""),
        tuple(parts),
        data,
    )


def build(
    request: bytes,
    measurement: bytes | int,
    additional: bytes | int = b"",
    user: bytes = b"",
    config_uid: bytes = b"",
) -> bytes:
    """Return an exchange; a number in place of bytes is the size that an answer will need."""
    entries, body = [], b""
    for each in (request, measurement, additional, user, config_uid):
        if isinstance(each, int):
            entries.append(_ENTRY.pack(each, 0))
        else:
            entries.append(_ENTRY.pack(len(each), HEADER + len(body) if each else 0))
            body += each
    return _HEAD.pack(MAGIC, VERSION, HEADER + len(body), 0) + b"".join(entries) + body
