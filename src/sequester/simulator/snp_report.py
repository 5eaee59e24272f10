"""A SEV-SNP attestation report as firmware writes it, unsigned and signed.

Layout of version 3, little-endian, 1184 bytes (SNP firmware ABI 1.58, table 23, ATTESTATION_REPORT)::

    0x000 version, guest SVN, 32 bits   0x050 report data, 64 bytes        0x188 CPUID family, model, stepping
    0x008 policy, 64 bits               0x090 measurement, 48 bytes        0x1a0 chip ID, 64 bytes
    0x010 family ID, image ID, 16 each  0x0c0 host data, 32 bytes          0x1e0 committed TCB
    0x030 VMPL, signature algorithm     0x0e0 ID key digest, 48 bytes      0x1e8 build, minor, major, current and
    0x038 current TCB, 64 bits          0x110 author key digest, 48 bytes        committed, 32 bits each
    0x040 platform info, 64 bits        0x140 report ID, and the agent's   0x1f0 launch TCB
    0x048 flags: author key, bits 2-4   0x180 reported TCB                 0x2a0 R and S, 72 bytes each; zeros
          the signing key
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

VERSION = 3
SIGNED = 0x2A0
"""Bytes that the signature is over."""
_BODY = struct.Struct("<IIQ16s16sIIQQII64s48s32s48s48s32s32sQ3B21x64sQ4B4BQ168x")
_SIGNATURE = struct.Struct("<72s72s368x")
_ECDSA_P384_SHA384 = 1
_NO_AGENT = b"\xff" * 32


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of one guest. `tcb` is a TCB_VERSION as 64 bits; `processor` CPUID 1 EAX."""

    measurement: bytes
    policy: int
    report_data: bytes
    report_id: bytes
    chip_id: bytes
    tcb: int
    api: tuple[int, int, int]
    """Major, minor, build."""
    platform_info: int
    processor: int
    guest_svn: int = 0
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    host_data: bytes = bytes(32)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    author_key: bool = False

    def body(self) -> bytes:
        """Return the bytes that are signed."""
        major, minor, build = self.api
        firmware = (build, minor, major, 0)
        return _BODY.pack(
            VERSION,
            self.guest_svn,
            self.policy,
            self.family_id,
            self.image_id,
            0,
            _ECDSA_P384_SHA384,
            self.tcb,
            self.platform_info,
            int(self.author_key),
            0,
            self.report_data.ljust(64, b"\0"),
            self.measurement,
            self.host_data,
            self.id_key_digest,
            self.author_key_digest,
            self.report_id,
            _NO_AGENT,
            self.tcb,
            *family_model_stepping(self.processor),
            self.chip_id,
            self.tcb,
            *firmware,
            *firmware,
            self.tcb,
        )

    def signed(self, key: EllipticCurvePrivateKey) -> bytes:
        """Return the report, signed with a chip's key on P-384."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA384

        body = self.body()
        r, s = decode_dss_signature(key.sign(body, ECDSA(SHA384())))
        return body + _SIGNATURE.pack(r.to_bytes(72, "little"), s.to_bytes(72, "little"))


def family_model_stepping(signature: int) -> tuple[int, int, int]:
    """Return a processor's combined numbers of CPUID 1 EAX, as a report has them."""
    family, model = signature >> 8 & 0xF, signature >> 4 & 0xF
    if family == 0xF:
        family += signature >> 20 & 0xFF
        model |= (signature >> 16 & 0xF) << 4
    return family, model, signature & 0xF
