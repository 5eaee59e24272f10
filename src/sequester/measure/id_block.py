"""The ID block of SEV-SNP: the measurement that an owner expects, signed, for the firmware to check at launch.

Layouts, little-endian (SNP firmware ABI 1.58, 8.18 SNP_LAUNCH_FINISH, tables 75 to 77; 10.7 and 10.8 for keys and
signatures)::

    ID block, 96 bytes                          ID authentication, 4096 bytes
    0x00  launch digest, 48 bytes               0x000  algorithm of the ID key: 1, ECDSA P-384 with SHA-384
    0x30  family ID, image ID, 16 bytes each    0x004  of the author key, 32 bits both
    0x50  version 1, guest SVN, 32 bits each    0x040  signature of the ID block, 512 bytes
    0x58  policy, 64 bits                       0x240  ID key, 1028 bytes
                                                0x680  signature of the ID key, 512 bytes
    a key: curve 2 (P-384), 32 bits; X and Y,   0x880  author key, 1028 bytes
    72 bytes each; zeros up to 1028
    a signature: R and S, 72 bytes each; zeros up to 512
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha384
from typing import TYPE_CHECKING

from sequester.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

VERSION = 1
DEFAULT_POLICY = 0x30000
"""SMT allowed and the bit that must be one: QEMU's own default."""

_BLOCK = struct.Struct("<48s16s16sIIQ")
_AUTH = struct.Struct("<II56x512s1028s60x512s1028s892x")
AUTHENTICATION_SIZE = _AUTH.size
_KEY = struct.Struct("<I72s72s880x")
_SIGNATURE = struct.Struct("<72s72s368x")
_ECDSA_P384 = 1
_P384 = 2
_NUMBER = 72
_KEY_SIZE = 48


@dataclass(frozen=True, slots=True)
class IdBlock:
    """An ID block. `policy` must be the guest's own, or the firmware refuses the launch."""

    digest: bytes
    family: bytes = bytes(16)
    image: bytes = bytes(16)
    svn: int = 0
    policy: int = DEFAULT_POLICY

    def __post_init__(self) -> None:
        sizes = {
            "launch digest": (self.digest, 48),
            "family ID": (self.family, 16),
            "image ID": (self.image, 16),
        }
        for what, (value, size) in sizes.items():
            if len(value) != size:
                raise InputError(f"a {what} has {size} bytes, not {len(value)}", code="id-block.size")
        if not 0 <= self.svn < 1 << 32 or not 0 <= self.policy < 1 << 64:
            raise InputError("a guest SVN has 32 bits and a policy 64", code="id-block.size")

    def pack(self) -> bytes:
        """Return its 96 bytes, as QEMU's ``id-block`` takes them in base64."""
        return _BLOCK.pack(self.digest, self.family, self.image, VERSION, self.svn, self.policy)

    @classmethod
    def unpack(cls, data: bytes) -> IdBlock:
        """Read 96 bytes. Raises InputError for any other number and for another version."""
        if len(data) != _BLOCK.size:
            raise InputError(f"an ID block has {_BLOCK.size} bytes, not {len(data)}", code="id-block.size")
        digest, family, image, version, svn, policy = _BLOCK.unpack(data)
        if version != VERSION:
            raise InputError(f"this ID block is of version {version}, not {VERSION}", code="id-block.version")
        return cls(digest, family, image, svn, policy)


def authenticate(
    block: IdBlock, id_key: EllipticCurvePrivateKey, author_key: EllipticCurvePrivateKey | None = None
) -> bytes:
    """Return the 4096 bytes of ID authentication: the block signed by the ID key, that one by the author key.

    Without an author key its fields stay zero and the launch must not enable it (``author-key-enabled=off``).
    """
    public = pack_key(id_key.public_key())
    signature = _sign(id_key, block.pack())
    if author_key is None:
        return _AUTH.pack(_ECDSA_P384, 0, signature, public, b"", b"")
    author = pack_key(author_key.public_key())
    return _AUTH.pack(_ECDSA_P384, _ECDSA_P384, signature, public, _sign(author_key, public), author)


def check(block: bytes, authentication: bytes) -> str:
    """Return why the firmware would refuse this block with this authentication, '' where it would not.

    Raises InputError where one of them has not its size. The digest and policy are the guest's matter.
    """
    IdBlock.unpack(block)
    if len(authentication) != _AUTH.size:
        raise InputError(
            f"ID authentication has {_AUTH.size} bytes, not {len(authentication)}", code="id-block.size"
        )
    algorithm, author_algorithm, signature, key, key_signature, author = _AUTH.unpack(authentication)
    if algorithm != _ECDSA_P384:
        return f"the ID key's algorithm is {algorithm}, not {_ECDSA_P384}"
    if not _verified(key, signature, block):
        return "the ID key did not sign this ID block"
    if any(author) and (author_algorithm != _ECDSA_P384 or not _verified(author, key_signature, key)):
        return "the author key did not sign this ID key"
    return ""


def key_digests(authentication: bytes) -> tuple[bytes, bytes | None]:
    """Return the SHA-384 by which a report names the ID key and the author key (None without one), of 4096 bytes."""
    _, _, _, key, _, author = _AUTH.unpack(authentication)
    return sha384(key).digest(), sha384(author).digest() if any(author) else None


def pack_key(key: EllipticCurvePublicKey) -> bytes:
    """Return a public key in the firmware's form, 1028 bytes. Raises InputError for a curve other than P-384."""
    _check_curve(key)
    numbers = key.public_numbers()
    return _KEY.pack(_P384, numbers.x.to_bytes(_NUMBER, "little"), numbers.y.to_bytes(_NUMBER, "little"))


def key_digest(key: EllipticCurvePublicKey) -> bytes:
    """Return the SHA-384 by which a report names a key (ID_KEY_DIGEST, AUTHOR_KEY_DIGEST)."""
    return sha384(pack_key(key)).digest()


def read_key(path: str) -> EllipticCurvePrivateKey:
    """Read a P-384 private key, PEM and not encrypted.

    Raises InputError, without a byte of the file's contents in it, where the file holds none.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from sequester.measure.files import read_image

    try:
        key = load_pem_private_key(read_image(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise InputError(
            "this holds no elliptic-curve private key in PEM without a password",
            code="id-block.key",
            where=path,
            remedy="make one with `openssl ecparam -name secp384r1 -genkey -noout`",
        )
    try:
        _check_curve(key.public_key())
    except InputError as error:
        raise InputError(error.what, code=error.code, where=path, remedy=error.remedy) from None
    return key


def _check_curve(key: EllipticCurvePublicKey) -> None:
    if key.curve.name != "secp384r1":
        raise InputError(
            f"this key is on {key.curve.name}, and SNP takes P-384 only",
            code="id-block.key",
            remedy="make one with `openssl ecparam -name secp384r1 -genkey -noout`",
        )


def _sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA384

    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA384())))
    return _SIGNATURE.pack(r.to_bytes(_NUMBER, "little"), s.to_bytes(_NUMBER, "little"))


def _verified(key: bytes, signature: bytes, data: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA384

    curve, x, y = _KEY.unpack(key)
    r, s = (int.from_bytes(number, "little") for number in _SIGNATURE.unpack(signature))
    numbers = EllipticCurvePublicNumbers(
        int.from_bytes(x[:_KEY_SIZE], "little"), int.from_bytes(y[:_KEY_SIZE], "little"), SECP384R1()
    )
    if curve != _P384 or any(x[_KEY_SIZE:] + y[_KEY_SIZE:]):
        return False
    try:
        numbers.public_key().verify(encode_dss_signature(r, s), data, ECDSA(SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True
