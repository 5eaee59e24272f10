"""The parts of an s390 Secure Execution image that are cryptography: encrypted components, key slots and the header.

An image that starts also has IBM's loader in it, machine code of s390-tools; `sequester.measure.se_write` puts the
two together. With these parts a header can be made again for other hosts' keys.

Facts of s390-tools (rust/pv/src/crypto.rs and req/keyslot.rs; rust/pvimg/src/pv_utils/secured_comp.rs and
se_hdr/hdr_v1.rs); the header's layout is in `sequester.measure.se_image`, and its encrypted part, big-endian::

    0x00 customer communication key, 32 bytes        0x60 PSW to start with: mask and address, 64 bits each
    0x20 key of the components, 64 bytes             0x70 secret control flags 64, optional items 32, 32 bits of zeros

A key slot has the SHA-256 of a host key, then the key that protects the header, by AES-256-GCM with an IV of zeros
under SHA-256(X of the ECDH of host's and customer's keys, 66 bytes; 32 bits of 1). Components are in AES-256-XTS, a
page at a time: the tweak is the component's, 64 bits, then the offset of the page in it, 64 bits.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.measure.host_key import pack_key
from sequester.measure.se_image import PAGE, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

    from sequester.measure.se_image import Digests

MOST_HOST_KEYS = 95
"""A header has at most two pages."""

_HEAD = struct.Struct(">8sII12s4xQQQQ160s64s64s64s")
_SECRET = struct.Struct(">32s64sQQQI4x")
_TAG = 16
_SLOT_SIZE = 80
_COUNTER = b"\0\0\0\1"
_SIZES = {"protection": 32, "components": 64, "communication": 32, "iv": 12}


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an image is encrypted with: `customer` is a key on P-521, the others bytes.

    `protection` is the header's key and `iv` its IV, `components` that of the components, `communication` the
    customer's for dumps. None may be used for two images.
    """

    customer: EllipticCurvePrivateKey
    protection: bytes
    components: bytes
    communication: bytes
    iv: bytes

    def __post_init__(self) -> None:
        for name, size in _SIZES.items():
            if len(getattr(self, name)) != size:
                raise InputError(f"the image's '{name}' has {size} bytes", code="image.key")
        if self.customer.curve.name != "secp521r1":
            raise InputError("the customer's key is on the curve P-521", code="image.key")
        if self.components[:32] == self.components[32:]:
            raise InputError("the two halves of an XTS key differ", code="image.key")

    @classmethod
    def random(cls, protection: bytes | None = None, communication: bytes | None = None) -> Secrets:
        """Return new ones from the system's randomness, but for those that the customer keeps himself."""
        from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, generate_private_key

        drawn = {name: os.urandom(size) for name, size in _SIZES.items()}
        if protection is not None:
            drawn["protection"] = protection
        if communication is not None:
            drawn["communication"] = communication
        return cls(generate_private_key(SECP521R1()), **drawn)

    def __repr__(self) -> str:
        return "Secrets(...)"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a header vouches for: the components' pages and digests, and where the guest starts.

    `mask` and `address` are the PSW's; `flags` are plaintext control flags, `secret_flags` the others.
    """

    pages: int
    digests: Digests
    mask: int
    address: int
    flags: int = 0
    secret_flags: int = 0


def encrypt(data: Iterable[bytes], key: bytes, tweak: int) -> Iterator[bytes]:
    """Yield a component's pages, encrypted; `data` is it in parts of 4096 bytes, of which the last may be shorter."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import XTS

    for number, page in enumerate(data):
        mode = XTS(struct.pack(">QQ", tweak, number * PAGE))
        encryptor = Cipher(AES(key), mode).encryptor()
        yield encryptor.update(page.ljust(PAGE, b"\0")) + encryptor.finalize()


def slot_key(private: EllipticCurvePrivateKey, public: EllipticCurvePublicKey) -> bytes:
    """Return the key of a key slot, which the host and the customer work out alike."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDH

    return sha256(private.exchange(ECDH(), public) + _COUNTER).digest()


def key_slot(host: EllipticCurvePublicKey, secrets: Secrets) -> bytes:
    """Return the 80 bytes by which a host key opens a header."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    wrapped = AESGCM(slot_key(secrets.customer, host)).encrypt(bytes(12), secrets.protection, None)
    return sha256(pack_key(host)).digest() + wrapped


def header_size(hosts: int) -> int:
    """Return the bytes of a header that as many hosts' keys open. Raises InputError where it cannot be."""
    if not 0 < hosts <= MOST_HOST_KEYS:
        raise InputError(f"a header has 1 to {MOST_HOST_KEYS} host keys, not {hosts}", code="image.host-keys")
    return _HEAD.size + hosts * _SLOT_SIZE + _SECRET.size + _TAG


def build_header(hosts: Sequence[EllipticCurvePublicKey], contents: Contents, secrets: Secrets) -> bytes:
    """Return a header of version 1 that these hosts' keys open.

    Raises InputError for no host key, more than fit, or one on another curve than P-521.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    size = header_size(len(hosts))
    if any(host.curve.name != "secp521r1" for host in hosts):
        raise InputError("a host key is on the curve P-521, and this is not", code="host-key.key")
    slots = b"".join(key_slot(host, secrets) for host in hosts)
    digests = contents.digests
    head = _HEAD.pack(
        b"IBMSecEx",
        VERSION,
        size,
        secrets.iv,
        len(hosts),
        _SECRET.size,
        contents.pages,
        contents.flags,
        pack_key(secrets.customer.public_key()),
        digests.pld,
        digests.ald,
        digests.tld,
    )
    secret = _SECRET.pack(
        secrets.communication,
        secrets.components,
        contents.mask,
        contents.address,
        contents.secret_flags,
        0,
    )
    return head + slots + AESGCM(secrets.protection).encrypt(secrets.iv, secret, head + slots)
