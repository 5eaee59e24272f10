"""Certificates of the SEV firmware: of platforms (PDH, PEK, OCA, CEK) and of AMD (ASK, ARK), in two formats.

Layouts, little-endian (SEV API 0.24, appendix C, and appendix B for AMD's)::

    platform, 2084 bytes                            AMD, 64 bytes and three numbers of the key's size
    0x000 version 1, 32 bits; API major, minor      0x00 version 1, 32 bits
    0x008 usage, algorithm, 32 bits each            0x04 key ID, 16 bytes; ID of the key that signed, 16 bytes
    0x010 key, 1028 bytes: curve, X, Y              0x24 usage, 32 bits; zeros, 16 bytes
    0x414 two signatures: usage, algorithm, 32      0x38 bits of exponent, of modulus, 32 bits each
          bits each, 512 bytes: R, S of 72 bytes,   0x40 exponent, modulus, signature
          or an RSA signature
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.measure.id_block import pack_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

SIZE = 2084
SIGNED = 0x414
_HEAD = struct.Struct("<IBBHII1028s")
_SIGNATURE = struct.Struct("<II512s")
_POINT = struct.Struct("<I72s72s880x")
_NUMBER = struct.Struct("<72s72s368x")
_AMD = struct.Struct("<I16s16sI16xII")
_AMD_SIZES = (2048, 4096)
_P384 = 2
_VERSION = 1


class Usage(IntEnum):
    """Whose key it is (table C-2)."""

    ARK = 0x0
    ASK = 0x13
    NONE = 0x1000
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


class Algorithm(IntEnum):
    """What a key is for (table C-3)."""

    NONE = 0x0
    RSA_SHA256 = 0x1
    ECDSA_SHA256 = 0x2
    ECDH_SHA256 = 0x3
    RSA_SHA384 = 0x101
    ECDSA_SHA384 = 0x102
    ECDH_SHA384 = 0x103


@dataclass(frozen=True, slots=True)
class Signature:
    """One of a certificate's two signatures; `value` has 512 bytes."""

    usage: int = Usage.NONE
    algorithm: int = Algorithm.NONE
    value: bytes = bytes(512)


@dataclass(frozen=True, slots=True)
class SevCertificate:
    """A platform's certificate. `key` has 1028 bytes; `api` is the firmware's version, major and minor."""

    usage: Usage
    algorithm: int
    key: bytes
    api: tuple[int, int] = (0, 0)
    signatures: tuple[Signature, Signature] = (Signature(), Signature())

    @classmethod
    def of(cls, usage: Usage, key: EllipticCurvePublicKey, api: tuple[int, int] = (0, 0)) -> SevCertificate:
        """Return a certificate of a key on P-384 that nobody signed yet."""
        algorithm = Algorithm.ECDH_SHA256 if usage is Usage.PDH else Algorithm.ECDSA_SHA256
        return cls(usage, algorithm, pack_key(key), api)

    @classmethod
    def unpack(cls, data: bytes, where: str = "certificate") -> SevCertificate:
        """Read 2084 bytes. Raises InputError for any other number, another version or usage."""
        if len(data) != SIZE:
            raise _malformed(where, f"a SEV certificate has {SIZE} bytes, not {len(data)}")
        version, major, minor, reserved, usage, algorithm, key = _HEAD.unpack_from(data)
        if version != _VERSION or reserved:
            raise _malformed(where, f"this is no SEV certificate of version {_VERSION}")
        try:
            named = Usage(usage)
        except ValueError:
            raise _malformed(where, f"no SEV key has usage {usage:#x}") from None
        one, other = (Signature(*_SIGNATURE.unpack_from(data, SIGNED + at)) for at in (0, _SIGNATURE.size))
        return cls(named, algorithm, key, (major, minor), (one, other))

    def body(self) -> bytes:
        """Return the bytes that are signed."""
        return _HEAD.pack(_VERSION, *self.api, 0, self.usage, self.algorithm, self.key)

    def pack(self) -> bytes:
        """Return its 2084 bytes."""
        signed = (_SIGNATURE.pack(each.usage, each.algorithm, each.value) for each in self.signatures)
        return self.body() + b"".join(signed)

    def public_key(self, where: str = "certificate") -> EllipticCurvePublicKey:
        """Return the key. Raises InputError where it is no point of P-384."""
        from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicNumbers

        curve, x, y = _POINT.unpack(self.key)
        point = EllipticCurvePublicNumbers(
            int.from_bytes(x, "little"), int.from_bytes(y, "little"), SECP384R1()
        )
        try:
            if curve != _P384 or any(self.key[_POINT.size - 880 :]):
                raise ValueError
            return point.public_key()
        except ValueError:
            raise _malformed(where, "its key is no point of P-384") from None

    def signed(self, usage: Usage, key: EllipticCurvePrivateKey | RSAPrivateKey) -> SevCertificate:
        """Return it with one signature more. ValueError where it has two."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(key, RSAPrivateKey):
            value = rsa_sign(key, self.body(), SHA256())
            made = Signature(usage, Algorithm.RSA_SHA256, value.ljust(512, b"\0"))
        else:
            made = Signature(usage, Algorithm.ECDSA_SHA256, ecdsa_sign(key, self.body()))
        first, second = self.signatures
        if first.usage == Usage.NONE:
            return replace(self, signatures=(made, second))
        if second.usage == Usage.NONE:
            return replace(self, signatures=(first, made))
        raise ValueError("a certificate has two signatures at most")

    def signed_by(self, signer: SevCertificate | AmdCertificate) -> bool:
        """Tell whether one of its signatures is by this key."""
        mine = [each for each in self.signatures if each.usage == signer.usage]
        if isinstance(signer, AmdCertificate):
            return any(signer.verifies(self.body(), each.value, each.algorithm) for each in mine)
        return any(
            each.algorithm in _HASHES and ecdsa_verifies(signer, self.body(), each.value, each.algorithm)
            for each in mine
        )


_HASHES = {Algorithm.ECDSA_SHA256: "SHA256", Algorithm.ECDSA_SHA384: "SHA384"}
_RSA_HASHES = {Algorithm.RSA_SHA256: "SHA256", Algorithm.RSA_SHA384: "SHA384"}


@dataclass(frozen=True, slots=True)
class AmdCertificate:
    """AMD's certificate of a key of its own: SEV signing key (ASK) or root (ARK)."""

    usage: Usage
    key_id: bytes
    signer_id: bytes
    bits: int
    exponent: int
    modulus: int
    signature: bytes
    body: bytes

    @classmethod
    def unpack(cls, data: bytes, where: str = "certificate") -> tuple[AmdCertificate, bytes]:
        """Read one from the first byte on; return it and what follows. Raises InputError for what is none."""
        if len(data) < _AMD.size:
            raise _malformed(where, f"AMD's certificates have more than {len(data)} bytes")
        version, key_id, signer_id, usage, exponent_bits, bits = _AMD.unpack_from(data)
        if version != _VERSION or bits not in _AMD_SIZES or exponent_bits != bits:
            raise _malformed(where, "this is no certificate of AMD's for SEV")
        if usage not in (Usage.ARK, Usage.ASK):
            raise _malformed(where, f"usage {usage:#x} is neither that of an ARK nor of an ASK")
        size, start = bits // 8, _AMD.size
        end = start + 3 * size
        if len(data) < end:
            raise _malformed(where, f"this certificate has {end} bytes, and {len(data)} are here")
        exponent, modulus = (
            int.from_bytes(data[start + size * number : start + size * (number + 1)], "little")
            for number in (0, 1)
        )
        made = cls(
            Usage(usage),
            key_id,
            signer_id,
            bits,
            exponent,
            modulus,
            data[end - size : end],
            data[: end - size],
        )
        return made, data[end:]

    @classmethod
    def of(
        cls, usage: Usage, key: RSAPrivateKey, key_id: bytes, signer: RSAPrivateKey, signer_id: bytes
    ) -> AmdCertificate:
        """Return the certificate of a key, signed by another or by itself."""
        from cryptography.hazmat.primitives import hashes

        numbers, bits = key.public_key().public_numbers(), key.key_size
        size = bits // 8
        body = _AMD.pack(_VERSION, key_id, signer_id, usage, bits, bits)
        body += numbers.e.to_bytes(size, "little") + numbers.n.to_bytes(size, "little")
        hash_name = hashes.SHA384() if bits == max(_AMD_SIZES) else hashes.SHA256()
        signature = rsa_sign(signer, body, hash_name)
        return cls(usage, key_id, signer_id, bits, numbers.e, numbers.n, signature, body)

    def pack(self) -> bytes:
        """Return its bytes."""
        return self.body + self.signature

    def signed_by(self, signer: AmdCertificate) -> bool:
        """Tell whether this key signed it."""
        algorithm = Algorithm.RSA_SHA384 if signer.bits == max(_AMD_SIZES) else Algorithm.RSA_SHA256
        return self.signer_id == signer.key_id and signer.verifies(self.body, self.signature, algorithm)

    def verifies(self, data: bytes, signature: bytes, algorithm: int) -> bool:
        """Tell whether this key signed bytes: RSASSA-PSS with a salt as long as the hash."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS

        if algorithm not in _RSA_HASHES:
            return False
        used = getattr(hashes, _RSA_HASHES[Algorithm(algorithm)])()
        number = signature[: self.bits // 8][::-1]
        if any(signature[self.bits // 8 :]):
            return False
        try:
            self._public().verify(number, data, PSS(MGF1(used), used.digest_size), used)
        except (InvalidSignature, ValueError):
            return False
        return True

    def _public(self) -> RSAPublicKey:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

        return RSAPublicNumbers(self.exponent, self.modulus).public_key()


def rsa_sign(key: RSAPrivateKey, data: bytes, used: object) -> bytes:
    """Return an RSASSA-PSS signature, little-endian, as long as the key."""
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    assert isinstance(used, HashAlgorithm)
    return key.sign(data, PSS(MGF1(used), used.digest_size), used)[::-1]


def ecdsa_sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return R and S of a signature over SHA-256, little-endian, 72 bytes each, and zeros up to 512."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA256())))
    return _NUMBER.pack(r.to_bytes(72, "little"), s.to_bytes(72, "little"))


def ecdsa_verifies(signer: SevCertificate, data: bytes, signature: bytes, algorithm: int) -> bool:
    """Tell whether a platform's key signed bytes; `signature` has R and S, 72 bytes each, first."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    r, s = (int.from_bytes(signature[at : at + 72], "little") for at in (0, 72))
    if any(signature[144:]):
        return False
    try:
        used = getattr(hashes, _HASHES[Algorithm(algorithm)])()
        signer.public_key().verify(encode_dss_signature(r, s), data, ECDSA(used))
    except (InvalidSignature, InputError, ValueError, KeyError):
        return False
    return True


def _malformed(where: str, what: str) -> InputError:
    return InputError(
        what,
        code="sev-certificate.malformed",
        where=where,
        remedy="export it anew: `sevctl export`, or query-sev-capabilities",
    )
