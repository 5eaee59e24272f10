"""Attestations of Secure Execution guests for tests: requests, and answers worked out by hand."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from sequester.evidence.s390 import exchange
from sequester.owner.attestation_request import Secrets, attestation_request

UID = bytes(range(16))
ADDITIONAL = {"image-host-key": 32, "request-host-key": 32, "secret-store": 64, "firmware-state": 320}


def key(secret: int) -> ec.EllipticCurvePrivateKey:
    """Return a key on P-521 that is the same each time."""
    return ec.derive_private_key(secret, ec.SECP521R1())


def key_hash(public: ec.EllipticCurvePublicKey) -> bytes:
    numbers = public.public_numbers()
    return hashlib.sha256(numbers.x.to_bytes(80, "big") + numbers.y.to_bytes(80, "big")).digest()


def secrets() -> Secrets:
    return Secrets(key(0x1234567), b"\x17" * 32, b"\x55" * 12, b"\x77" * 64, b"\xab" * 16)


@dataclass(frozen=True)
class Guest:
    """What a header says of a guest."""

    pld: bytes = b"\x01" * 64
    ald: bytes = b"\x02" * 64
    tld: bytes = b"\x03" * 64
    tag: bytes = b"\x04" * 16

    @property
    def registers(self) -> dict[str, tuple[bytes, ...]]:
        return {name: (getattr(self, name),) for name in ("pld", "ald", "tld", "tag")}

    @property
    def header(self) -> bytes:
        """The bytes of a header of one key slot that nobody can open."""
        head = struct.pack(
            ">8sII12s4xQQQQ160s", b"IBMSecEx", 0x100, 0x290, bytes(12), 1, 144, 1, 0, bytes(160)
        )
        return head + self.pld + self.ald + self.tld + bytes(80) + bytes(144) + self.tag


def answer(
    hosts: list[ec.EllipticCurvePublicKey],
    guest: Guest = Guest(),
    user: bytes = b"",
    own: Secrets | None = None,
    uid: bytes = UID,
    **told: bytes,
) -> bytes:
    """Return an exchange with the answer that a machine gives; `told` is additional data, with underscores."""
    own = own or secrets()
    values = {name.replace("_", "-"): value for name, value in told.items()}
    request = attestation_request(hosts, own, values)
    additional = b"".join(values[name] for name in ADDITIONAL if name in values)
    said = guest.pld + guest.ald + guest.tld + guest.tag + uid
    said += struct.pack(">HHI", len(user), 0, len(additional)) + user + own.nonce + additional
    return exchange.build(request, hmac.new(own.key, said, "sha512").digest(), additional, user, uid)
