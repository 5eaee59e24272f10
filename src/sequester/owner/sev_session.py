"""The session that a guest's owner makes with a platform: two transport keys, wrapped for its firmware alone.

SEV API 0.24, 2.2.2 (keys and their derivation) and table 53 (LAUNCH_START session data), 128 bytes::

    0x00 nonce, 16    0x10 transport keys, wrapped, 32    0x30 IV, 16    0x40 MAC of the wrapped keys, 32
    0x60 MAC of the policy, 32

Owner and platform share Z, the X of an ECDH on P-384. Keys are derived in counter mode (NIST SP 800-108, 5.1) with
HMAC-SHA256 over counter, label, a zero, context and length in bits, 32-bit numbers little-endian: a master secret with
the nonce as context, of it the key that encrypts (KEK) and the one that authenticates (KIK) the transport keys. TEK and
TIK are encrypted together with AES-128 in counter mode.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

SIZE, KEY = 128, 16
_LAYOUT = struct.Struct("<16s32s16s32s32s")


class SessionError(Exception):
    """A session that the firmware refuses: its MAC is not right."""


@dataclass(frozen=True, slots=True)
class TransportKeys:
    """What encrypts (TEK) and authenticates (TIK) between owner and firmware, 16 bytes each. Secret."""

    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("TEK", self.tek), ("TIK", self.tik)):
            if len(value) != KEY:
                raise InputError(f"a {name} has {KEY} bytes, not {len(value)}", code="session.key")

    @classmethod
    def random(cls, random: Callable[[int], bytes]) -> TransportKeys:
        """Return new ones."""
        return cls(random(KEY), random(KEY))

    def wrapped(self, shared: bytes, policy: int, nonce: bytes, iv: bytes) -> bytes:
        """Return the session data for a platform that shares Z; `nonce` and `iv` have 16 bytes."""
        kek, kik = _wrapping_keys(shared, nonce)
        wrap = aes_ctr(kek, iv, self.tek + self.tik)
        return _LAYOUT.pack(nonce, wrap, iv, mac(kik, wrap), mac(self.tik, policy_bytes(policy)))


def unwrap(session: bytes, shared: bytes, policy: int) -> TransportKeys:
    """Return the transport keys, as the firmware does. Raises SessionError where a MAC is not right."""
    if len(session) != SIZE:
        raise SessionError(f"a session has {SIZE} bytes")
    nonce, wrap, iv, wrap_mac, policy_mac = _LAYOUT.unpack(session)
    kek, kik = _wrapping_keys(shared, nonce)
    if not hmac.compare_digest(mac(kik, wrap), wrap_mac):
        raise SessionError("the MAC of the wrapped keys")
    keys = aes_ctr(kek, iv, wrap)
    found = TransportKeys(keys[:KEY], keys[KEY:])
    if not hmac.compare_digest(mac(found.tik, policy_bytes(policy)), policy_mac):
        raise SessionError("the MAC of the policy")
    return found


def shared_secret(own: EllipticCurvePrivateKey, other: EllipticCurvePublicKey) -> bytes:
    """Return Z, 48 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDH

    return own.exchange(ECDH(), other)


def policy_bytes(policy: int) -> bytes:
    """Return a guest policy as it is authenticated. Raises InputError for more than 32 bits."""
    if not 0 <= policy < 1 << 32:
        raise InputError("a SEV policy has 32 bits", code="session.policy")
    return policy.to_bytes(4, "little")


def derive(key: bytes, label: str, context: bytes = b"", size: int = KEY) -> bytes:
    """Return `size` bytes, at most 32, derived from a key."""
    return mac(key, struct.pack("<I", 1) + label.encode() + b"\0" + context + struct.pack("<I", size * 8))[
        :size
    ]


def mac(key: bytes, data: bytes) -> bytes:
    """Return an HMAC-SHA256."""
    return hmac.new(key, data, sha256).digest()


def aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt with AES-128 in counter mode."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _wrapping_keys(shared: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    master = derive(shared, "sev-master-secret", nonce)
    return derive(master, "sev-kek"), derive(master, "sev-kik")
