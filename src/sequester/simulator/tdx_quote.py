"""A TDX quote as Intel's quoting enclave makes it: version 4, ECDSA on P-256.

Layout, little-endian (Intel TDX DCAP Quoting Library API 1.7, appendix 3)::

    header   version 16, key type 16: 2, TEE type 32: 0x81, 32 bits of zeros; QE vendor, 16 bytes; user data, 20
    body     TEE_TCB_SVN 16 bytes; MRSEAM, MRSIGNERSEAM 48 each; SEAMATTRIBUTES, TDATTRIBUTES, XFAM 64 bits each; MRTD,
             MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to 3 48 each; REPORTDATA 64
    then     length 32; R and S; X and Y of the attestation key, 32 bytes each, big-endian; type 16: 6, length 32:
             the enclave's report 384 bytes, R and S of the PCK, length 16 and authentication data, type 16: 5,
             length 32, PEM of the PCK's chain
    report   CPUSVN 16; MISCSELECT 32; 28 of zeros; ATTRIBUTES 16; MRENCLAVE 32; 32 of zeros; MRSIGNER 32; 96 of zeros;
             ISVPRODID, ISVSVN 16 bits each; 60 of zeros; SHA-256 of attestation key and authentication data, 32; zeros
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TEE_TCB_SVN = bytes((5, 1, 2)).ljust(16, b"\0")
"""TDX module 1, version 5; microcode 2."""
QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_HEADER = struct.Struct("<HHII16s20s")
_BODY = struct.Struct("<16s48s48sQQQ48s48s48s48s48s48s48s48s64s")
_ENCLAVE = struct.Struct("<16sI28x16s32s32x32s96xHH60x32s32x")
_TDX, _ECDSA_P256 = 0x81, 2
_QE_REPORT, _PCK_CHAIN = 6, 5
_ISV_PRODUCT, _ISV_SVN = 2, 4
QE_ATTRIBUTES = bytes.fromhex("1500000000000000e700000000000000")
_AUTHENTICATION = b"SIMULATED".ljust(32, b"\0")


@dataclass(frozen=True, slots=True)
class Body:
    """What the TDX module says of a guest; the registers have 48 bytes each."""

    mrseam: bytes
    attributes: int
    xfam: int
    mrtd: bytes
    owners: tuple[bytes, bytes, bytes]
    """MRCONFIGID, MROWNER, MROWNERCONFIG."""
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes

    def pack(self) -> bytes:
        """Return its 584 bytes."""
        signer = bytes(48)
        head = (TEE_TCB_SVN, self.mrseam, signer, 0, self.attributes, self.xfam, self.mrtd)
        return _BODY.pack(*head, *self.owners, *self.rtmrs, self.report_data.ljust(64, b"\0"))


@dataclass(frozen=True, slots=True)
class QuotingEnclave:
    """Who signs quotes: the attestation key, the platform's certification key (PCK) with its chain in PEM, and what the
    enclave's report says of the platform (16 bytes) and of itself (32 bytes each)."""

    attestation: EllipticCurvePrivateKey
    certification: EllipticCurvePrivateKey
    chain: bytes
    cpusvn: bytes
    mrenclave: bytes
    mrsigner: bytes

    def quote(self, body: Body) -> bytes:
        """Return a quote of a guest."""
        signed = _HEADER.pack(4, _ECDSA_P256, _TDX, 0, QE_VENDOR, bytes(20)) + body.pack()
        key = _point(self.attestation)
        bound = sha256(key + _AUTHENTICATION).digest()
        report = _ENCLAVE.pack(
            self.cpusvn, 0, QE_ATTRIBUTES, self.mrenclave, self.mrsigner, _ISV_PRODUCT, _ISV_SVN, bound
        )
        certification = (
            report
            + signature(self.certification, report)
            + struct.pack("<H", len(_AUTHENTICATION))
            + _AUTHENTICATION
            + struct.pack("<HI", _PCK_CHAIN, len(self.chain))
            + self.chain
        )
        data = (
            signature(self.attestation, signed)
            + key
            + struct.pack("<HI", _QE_REPORT, len(certification))
            + certification
        )
        return signed + struct.pack("<I", len(data)) + data


def signature(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return R and S of a signature on P-256 over SHA-256, 32 bytes each, big-endian."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _point(key: EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
