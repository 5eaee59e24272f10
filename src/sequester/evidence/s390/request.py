"""The attestation request (ARCB) of a Secure Execution guest's owner, which only chosen machines can open.

Layout, big-endian (s390-tools rust/pv/src/uvattest/arcb.rs, req/header.rs, req/keyslot.rs)::

    0x00 zeros, 8; version 0x100, 32 bits; bytes of all, 32 bits    0x10 IV, 12; zeros, 11; key slots, 8 bits
    0x28 zeros, 32 bits; encrypted bytes, 32 bits                   0x30 flags, 64 bits, counted from the highest
    0x38 measurement's algorithm, 32 bits; zeros, 32 bits           0x40 owner's public key: X and Y, 80 bytes each
    0xe0 key slots of 80 bytes: SHA-256 of a host key, encrypted protection key (ARPK), tag
    then encrypted with AES-256-GCM: measurement key, 64 bytes, nonce, 16 bytes where a flag asks for it; tag, 16

The additional data of an answer follow from the flags: hashes of the host keys that opened the image and the request,
32 bytes each, the hash of the secret store, 64 bytes, and the state of the firmware, 320 bytes, in this order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from sequester.errors import InputError

VERSION = 0x100
HMAC_SHA512 = 1
KEY, NONCE = 64, 16
_HEAD = struct.Struct(">8sII12s4s7sBII")
_MORE = struct.Struct(">QII160s")
SLOTS_AT = _HEAD.size + _MORE.size
SLOT, HASH, TAG = 80, 32, 16

NONCE_FLAG = 1
ADDITIONAL = {
    2: ("image-host-key", 32),
    3: ("request-host-key", 32),
    4: ("secret-store", 64),
    5: ("firmware-state", 320),
}
"""What a flag asks for, and its bytes."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `host_keys` are the hashes of the keys that open it, `flags` 64 bits."""

    host_keys: tuple[bytes, ...]
    flags: int
    iv: bytes
    authenticated: bytes
    encrypted: bytes = field(repr=False)

    def asks(self, flag: int) -> bool:
        """Tell whether a flag is set; counted from the highest bit."""
        return bool(self.flags >> 63 - flag & 1)


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What the request hides: the key of the measurement, and the nonce, b"" where it has none."""

    key: bytes
    nonce: bytes


def parse(data: bytes, where: str) -> Request:
    """Read a request. Raises InputError (``evidence.form``) naming the field and offset."""

    def fault(what: str, at: int) -> InputError:
        return InputError(what, code="evidence.form", where=f"{where}: offset {at:#x}")

    if len(data) < SLOTS_AT:
        raise fault(f"an attestation request has at least {SLOTS_AT} bytes, not {len(data)}", 0)
    magic, version, size, iv, zeros, more, slots, zero, encrypted = _HEAD.unpack_from(data)
    flags, algorithm, last, _key = _MORE.unpack_from(data, _HEAD.size)
    if any(magic) or version != VERSION:
        raise fault(f"this is no attestation request of version {VERSION:#x}", 0)
    if size != len(data):
        raise fault(f"it says that it has {size} bytes, and has {len(data)}", 0xC)
    if any(zeros) or any(more) or zero or last:
        raise fault("a reserved field is not zero", 0x1C)
    if algorithm != HMAC_SHA512:
        raise fault(f"measurement algorithm {algorithm} is not known", 0x38)
    begin = SLOTS_AT + slots * SLOT
    if not slots or begin + encrypted + TAG != size:
        raise fault(f"{size} bytes cannot have {slots} key slots and {encrypted} encrypted bytes", 0x27)
    if encrypted != KEY + (NONCE if flags >> 63 - NONCE_FLAG & 1 else 0):
        raise fault(f"{encrypted} encrypted bytes do not fit the flags {flags:#x}", 0x2C)
    starts = range(SLOTS_AT, begin, SLOT)
    return Request(
        tuple(data[start : start + HASH] for start in starts), flags, iv, data[:begin], data[begin:]
    )


def open_request(request: Request, protection_key: bytes) -> Opened | None:
    """Open a request with the owner's protection key (ARPK), 32 bytes; None where it is another's, or was changed."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        found = AESGCM(protection_key).decrypt(request.iv, request.encrypted, request.authenticated)
    except InvalidTag:
        return None
    return Opened(found[:KEY], found[KEY:])


def additional(request: Request, data: bytes, where: str) -> dict[str, bytes]:
    """Return an answer's additional data by name; what no known flag asked for is ``unknown``.

    Raises InputError (``evidence.form``) where something is missing that was asked for.
    """
    found: dict[str, bytes] = {}
    at = 0
    for flag, (name, size) in ADDITIONAL.items():
        if not request.asks(flag):
            continue
        if at + size > len(data):
            raise InputError(
                f"the additional data end before the {name}, which the request asks for",
                code="evidence.form",
                where=f"{where}: additional data",
            )
        found[name] = data[at : at + size]
        at += size
    if at < len(data):
        found["unknown"] = data[at:]
    return found
