"""The ultravisor of an IBM Z machine, as far as it opens images: header check, unpacking, and the digests.

Return codes: Linux 7.2 arch/s390/include/asm/uv.h and s390-tools rust/pvimg/boot/stage3a.c; layouts are those of
`sequester.measure.se_image` and `sequester.measure.se_build`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.measure.host_key import pack_key
from sequester.measure.se_build import slot_key
from sequester.measure.se_image import PAGE, Component, Header, SeImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_KEY_AT, _COORDINATE = 0x40, 80
_IV_AT, _IV = 0x10, 12
_SLOTS_AT, _SLOT, _HASH = 0x1A0, 80, 32
_NOT_ENCRYPTED = 1 << 63 - 35
_SECRET = struct.Struct(">32s64sQQQI4x")


class UltravisorError(Exception):
    """A call that failed: KVM's number and name of the command, and the ultravisor's rc and rrc."""

    def __init__(self, number: int, command: str, rc: int, rrc: int) -> None:
        super().__init__(
            f"KVM PV command {number} ({command}) failed: header rc {rc:x} rrc {rrc:x} IOCTL rc: -22"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What a header hides: the components' key (64 bytes) and where the guest starts (PSW mask and address)."""

    components: bytes
    mask: int
    address: int


def open_header(data: bytes, header: Header, host: EllipticCurvePrivateKey) -> Opened:
    """Open a header with the machine's key. Raises UltravisorError as KVM_PV_SET_SEC_PARMS fails."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    own = sha256(pack_key(host.public_key())).digest()
    if own not in header.host_keys:
        raise _parameters(0x108, 0x5)
    x, y = (int.from_bytes(data[at : at + _COORDINATE], "big") for at in (_KEY_AT, _KEY_AT + _COORDINATE))
    try:
        shared = slot_key(host, EllipticCurvePublicNumbers(x, y, SECP521R1()).public_key())
    except ValueError:
        raise _parameters(0x108, 0xB) from None
    slot = data[_SLOTS_AT + _SLOT * header.host_keys.index(own) :][:_SLOT]
    size = int.from_bytes(data[0xC:0x10], "big")
    start = _SLOTS_AT + _SLOT * len(header.host_keys)
    try:
        key = AESGCM(shared).decrypt(bytes(12), slot[_HASH:], None)
        secret = AESGCM(key).decrypt(data[_IV_AT : _IV_AT + _IV], data[start:size], data[:start])
        _, components, mask, address, _, _ = _SECRET.unpack(secret[: _SECRET.size])
    except (InvalidTag, struct.error):
        raise _parameters(0x10A, 0x39) from None
    return Opened(components, mask, address)


def unpack(image: SeImage, host: EllipticCurvePrivateKey) -> Iterator[tuple[Component, bytes]]:
    """Yield each component, decrypted. Raises UltravisorError where the header or, at the end, a digest is wrong.

    An image of tools before 2.37 does not say where its components are, and has none here. Raises InputError where
    the image is none.
    """
    raw, header = image.raw_header()
    opened = open_header(raw, header, host)
    components = image.components()
    if not components:
        return
    encrypted = not header.flags & _NOT_ENCRYPTED
    last = None
    for component, digests in image.digests(components):
        last = digests
        data = image.read(component.address, component.length)
        yield component, _decrypted(data, opened.components, component.tweak) if encrypted else data
    pages = sum(component.length for component in components) // PAGE
    if last is None or pages != header.pages:
        raise _verify(0x1D)
    for seen, said, reason in (
        (last.ald, header.ald, 0x1A),
        (last.pld, header.pld, 0x1B),
        (last.tld, header.tld, 0x1C),
    ):
        if seen != said:
            raise _verify(reason)


def _decrypted(data: bytes, key: bytes, tweak: int) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import XTS

    pages = []
    for offset in range(0, len(data), PAGE):
        decryptor = Cipher(AES(key), XTS(struct.pack(">QQ", tweak, offset))).decryptor()
        pages.append(decryptor.update(data[offset : offset + PAGE]) + decryptor.finalize())
    return b"".join(pages)


def _parameters(rc: int, rrc: int) -> UltravisorError:
    return UltravisorError(2, "KVM_PV_SET_SEC_PARMS", rc, rrc)


def _verify(rrc: int) -> UltravisorError:
    return UltravisorError(4, "KVM_PV_VERIFY", 0x102, rrc)
