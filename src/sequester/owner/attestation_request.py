"""Makes an attestation request for a Secure Execution guest, which only the owner's chosen machines can open.

The layout is in `sequester.evidence.s390.request`; what it protects is the owner's until the answer is verified.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.evidence.s390.request import ADDITIONAL, HMAC_SHA512, NONCE_FLAG, SLOT, SLOTS_AT, TAG, VERSION
from sequester.measure.host_key import pack_key
from sequester.measure.se_build import slot_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

MOST_HOST_KEYS = 255
_HEAD = struct.Struct(">8sII12s11xBIIQII160s")


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a request is made with: `customer` is a key on P-521; ARPK 32, IV 12, key 64 and nonce 16 bytes."""

    customer: EllipticCurvePrivateKey
    protection: bytes
    iv: bytes
    key: bytes
    nonce: bytes

    @classmethod
    def random(cls) -> Secrets:
        """Return new ones from the system's randomness: none may be used for two requests."""
        from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, generate_private_key

        return cls(
            generate_private_key(SECP521R1()), os.urandom(32), os.urandom(12), os.urandom(64), os.urandom(16)
        )


def attestation_request(
    hosts: Sequence[EllipticCurvePublicKey], secrets: Secrets, ask: Iterable[str] = ()
) -> bytes:
    """Return a request that these hosts' keys open; `ask` has names of `ADDITIONAL`.

    Raises InputError for no host key, more than fit, or one on another curve than P-521.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not 0 < len(hosts) <= MOST_HOST_KEYS:
        raise InputError(
            f"a request has 1 to {MOST_HOST_KEYS} host keys, not {len(hosts)}", code="request.host-keys"
        )
    if any(host.curve.name != "secp521r1" for host in hosts):
        raise InputError("a host key is on the curve P-521, and this is not", code="host-key.key")
    wanted = set(ask)
    bits = [NONCE_FLAG, *(flag for flag, (name, _) in ADDITIONAL.items() if name in wanted)]
    plain = secrets.key + secrets.nonce
    size = SLOTS_AT + SLOT * len(hosts) + len(plain) + TAG
    head = _HEAD.pack(
        bytes(8),
        VERSION,
        size,
        secrets.iv,
        len(hosts),
        0,
        len(plain),
        sum(1 << 63 - bit for bit in bits),
        HMAC_SHA512,
        0,
        pack_key(secrets.customer.public_key()),
    )
    slots = b"".join(_slot(host, secrets) for host in hosts)
    return head + slots + AESGCM(secrets.protection).encrypt(secrets.iv, plain, head + slots)


def _slot(host: EllipticCurvePublicKey, secrets: Secrets) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    wrapped = AESGCM(slot_key(secrets.customer, host)).encrypt(bytes(12), secrets.protection, None)
    return sha256(pack_key(host)).digest() + wrapped
