"""Secrets for a guest: the table that its firmware hands on, and the packet in which they reach it.

The table (OVMF, OvmfPkg/Include/Guid/ConfidentialComputingSecret.h; Linux security/secrets/coco), little-endian: its
GUID, 16 bytes, its length, 32 bits, then for each secret a GUID, a length, 32 bits, and the bytes; a length counts
GUID and itself too. The packet (SEV API 0.24, 6.6.1 and table 59): flags 32 bits, IV 16, MAC 32; the MAC is HMAC-SHA256
under TIK over 0x01, flags, IV, both lengths, 32 bits each, the encrypted bytes, and the launch measurement's 32 bytes.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sequester.errors import InputError
from sequester.owner.sev_session import TransportKeys, aes_ctr, mac

TABLE = UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")
NAMES = {"luks-key": UUID("736869e5-84f0-4973-92ec-06879ce3da0b")}
"""Secrets that guests look for by a name of their own."""
LARGEST = 16 << 10
"""Bytes that LAUNCH_SECRET takes at once."""
HEADER = 52
_HEADER = struct.Struct("<I16s32s")
_BLOCK = 16
_MEASURE = 32


class PacketError(Exception):
    """A packet that the firmware refuses: SEV API status, 4 (INVALID_LEN), 11 (BAD_MEASUREMENT) or 22."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Packet:
    """An encrypted secret: its header, 52 bytes, and as many bytes as the table."""

    header: bytes
    payload: bytes = field(repr=False)


def named(name: str) -> UUID:
    """Return the GUID of a secret that is named, or spelled out. Raises InputError for what is neither."""
    if name in NAMES:
        return NAMES[name]
    try:
        return UUID(name)
    except ValueError:
        known = ", ".join(NAMES)
        raise InputError(
            f"'{name[:60]}' is no GUID and no name of a secret",
            code="secret.name",
            remedy=f"names are: {known}",
        ) from None


def table(secrets: Mapping[UUID, bytes]) -> bytes:
    """Return the table of secrets, padded with 1 to 16 zeros to a multiple of 16 bytes, as libvirt's tool does.

    Raises InputError for none, or more than fit.
    """
    body = b"".join(_entry(guid, value) for guid, value in secrets.items())
    if not body:
        raise InputError("there is no secret to put into the table", code="secret.none")
    made = _entry(TABLE, body)
    padded = made + bytes(_BLOCK - len(made) % _BLOCK)
    if len(padded) > LARGEST:
        raise InputError(
            f"a table of {len(padded)} bytes does not fit in the {LARGEST} that the firmware takes",
            code="secret.size",
        )
    return padded


def _entry(guid: UUID, value: bytes) -> bytes:
    return guid.bytes_le + struct.pack("<I", 20 + len(value)) + value


def seal(keys: TransportKeys, measurement: bytes, data: bytes, iv: bytes) -> Packet:
    """Encrypt bytes for the guest with this launch measurement (its 32 bytes of MAC) and no other."""
    payload = aes_ctr(keys.tek, iv, data)
    return Packet(_HEADER.pack(0, iv, _mac(keys, 0, iv, payload, measurement)), payload)


def unseal(keys: TransportKeys, measurement: bytes, packet: Packet) -> bytes:
    """Return what is in a packet, as the firmware does. Raises PacketError where it would refuse it."""
    size = len(packet.payload)
    if len(packet.header) != HEADER or not size or size % _BLOCK or size > LARGEST:
        raise PacketError(4)
    flags, iv, seen = _HEADER.unpack(packet.header)
    if flags:
        raise PacketError(22)
    if not hmac.compare_digest(_mac(keys, flags, iv, packet.payload, measurement), seen):
        raise PacketError(11)
    return aes_ctr(keys.tek, iv, packet.payload)


def _mac(keys: TransportKeys, flags: int, iv: bytes, payload: bytes, measurement: bytes) -> bytes:
    size = struct.pack("<I", len(payload))
    head = b"\1" + struct.pack("<I", flags) + iv + size + size
    return mac(keys.tik, head + payload + measurement[:_MEASURE])
