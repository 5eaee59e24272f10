"""SEV-SNP reports and the certificates of a vendor that is made up, so that every field can be chosen."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BEGIN, END = NOW - timedelta(days=400), NOW + timedelta(days=4000)
ARC = "1.3.6.1.4.1.3704.1."
FAMILIES = {"Milan": (0x19, 0x01, 1), "Genoa": (0x19, 0x11, 1), "Turin": (0x1A, 0x02, 1)}
SPL = {"boot-loader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
TCBS = {
    "Milan": {"boot-loader": 4, "tee": 0, "snp": 22, "microcode": 213},
    "Genoa": {"boot-loader": 9, "tee": 0, "snp": 23, "microcode": 72},
    "Turin": {"fmc": 1, "boot-loader": 1, "tee": 1, "snp": 4, "microcode": 78},
}
LAYOUT = {
    "Milan": ("boot-loader", "tee", "", "", "", "", "snp", "microcode"),
    "Genoa": ("boot-loader", "tee", "", "", "", "", "snp", "microcode"),
    "Turin": ("fmc", "boot-loader", "tee", "snp", "", "", "", "microcode"),
}
VCEK, VLEK, ASK, ARK = (
    bytes.fromhex(guid.replace("-", ""))
    for guid in (
        "63da758d-e664-4564-adc5-f4b93be8accd",
        "a8074bc2-a25a-483e-aae6-39c045a0b8a1",
        "4ab7b379-bbac-4fe4-a02f-05aef327c782",
        "c0b406a4-a803-4952-9743-3fb6014cd0ae",
    )
)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """An RSA key, the same one for the same name."""
    return rsa.generate_private_key(65537, 2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key on P-384, the same one for the same name."""
    return ec.generate_private_key(ec.SECP384R1())


def common(name: str) -> x509.Name:
    """A name as AMD's certificates have it."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def integer(value: int) -> bytes:
    """DER of a number from 0 to 255."""
    contents = bytes((0, value)) if value > 127 else bytes((value,))
    return bytes((2, len(contents))) + contents


def ia5(text: str) -> bytes:
    """DER of an IA5String."""
    return bytes((0x16, len(text))) + text.encode()


def issued(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    by: Any,
    extensions: dict[str, bytes] | None = None,
    authority: int | None = None,
    serial: int = 1,
    begin: datetime = BEGIN,
    end: datetime = END,
    digest: Any = None,
) -> x509.Certificate:
    """A certificate; `authority` is how many CAs may follow, None for none."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(True, authority), True)
    for oid, value in (extensions or {}).items():
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(unknown, False)
    digest = digest or SHA384()
    if isinstance(by, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return builder.sign(by, digest, rsa_padding=pss)
    return builder.sign(by, digest)


def der(certificate: x509.Certificate) -> bytes:
    """A certificate in DER."""
    return certificate.public_bytes(Encoding.DER)


@dataclass
class Vendor:
    """AMD, made up: one product line's root, intermediate keys, one chip and one cloud provider."""

    line: str = "Genoa"
    simulated: bool = True
    chip_id: bytes = bytes(range(64))
    tcb: dict[str, int] = field(default_factory=dict)
    changes: dict[str, bytes | None] = field(default_factory=dict)
    """Extensions by number that are other than they would be; None leaves one out."""

    def __post_init__(self) -> None:
        self.tcb = self.tcb or dict(TCBS[self.line])
        prefix = "SIMULATED " if self.simulated else ""
        if self.line == "Turin":
            self.chip_id = self.chip_id[:8].ljust(64, b"\0")
        self.ark_name, self.ask_name = common(f"{prefix}ARK-{self.line}"), common(f"{prefix}SEV-{self.line}")
        self.asvk_name = common(f"{prefix}SEV-VLEK-{self.line}")
        self.ark_key, self.ask_key, self.asvk_key = (
            rsa_key(f"{self.line} {n}") for n in ("ark", "ask", "asvk")
        )
        self.vcek_key, self.vlek_key = ec_key(f"{self.line} vcek"), ec_key(f"{self.line} vlek")
        self.ark = issued(self.ark_name, self.ark_key, self.ark_name, self.ark_key, authority=1, serial=1)
        self.ask = issued(self.ask_name, self.ask_key, self.ark_name, self.ark_key, authority=0, serial=2)
        self.asvk = issued(self.asvk_name, self.asvk_key, self.ark_name, self.ark_key, authority=0, serial=3)

    def vcek(self, **other: Any) -> x509.Certificate:
        """The chip's certificate."""
        chip = self.chip_id[:8] if self.line == "Turin" else self.chip_id
        extensions = self._extensions(f"{self.line}-B1", {"4": chip})
        made = {"extensions": extensions, "serial": 4} | other
        return issued(common("SEV-VCEK"), made.pop("key", self.vcek_key), self.ask_name, self.ask_key, **made)

    def vlek(self, **other: Any) -> x509.Certificate:
        """The cloud provider's certificate."""
        extensions = self._extensions(self.line, {"5": ia5("CN=cloud.example")})
        made = {"extensions": extensions, "serial": 5} | other
        return issued(common("SEV-VLEK"), self.vlek_key, self.asvk_name, self.asvk_key, **made)

    def _extensions(self, product: str, more: dict[str, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes | None] = {"1": integer(0), "2": ia5(product)}
        found |= {SPL[part]: integer(value) for part, value in self.tcb.items()}
        found |= {number: integer(0) for number in ("3.4", "3.5", "3.6", "3.7")}
        found |= more | self.changes
        return {ARC + number: value for number, value in found.items() if value is not None}

    def documents(self) -> tuple[bytes, ...]:
        """Everything that reports are verified with but the list."""
        return der(self.vcek()), der(self.vlek()), der(self.ask), der(self.asvk), der(self.ark)

    def revocations(
        self,
        *serials: int,
        begin: datetime = NOW - timedelta(days=5),
        end: datetime = NOW + timedelta(days=5),
        key: Any = None,
    ) -> bytes:
        """The root's list."""
        builder = x509.CertificateRevocationListBuilder(self.ark_name, begin, end)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin).build()
            builder = builder.add_revoked_certificate(entry)
        pss = padding.PSS(padding.MGF1(SHA384()), 48)
        return builder.sign(key or self.ark_key, SHA384(), rsa_padding=pss).public_bytes(Encoding.DER)


def tcb_value(line: str, tcb: dict[str, int]) -> int:
    """A TCB_VERSION as 64 bits."""
    return int.from_bytes(bytes(tcb.get(name, 0) for name in LAYOUT[line]), "little")


OFFSETS = {
    "version": (0x0, "<I"),
    "guest_svn": (0x4, "<I"),
    "policy": (0x8, "<Q"),
    "family_id": (0x10, "16s"),
    "image_id": (0x20, "16s"),
    "vmpl": (0x30, "<I"),
    "algorithm": (0x34, "<I"),
    "current_tcb": (0x38, "<Q"),
    "platform_info": (0x40, "<Q"),
    "flags": (0x48, "<I"),
    "report_data": (0x50, "64s"),
    "measurement": (0x90, "48s"),
    "host_data": (0xC0, "32s"),
    "id_key_digest": (0xE0, "48s"),
    "author_key_digest": (0x110, "48s"),
    "report_id": (0x140, "32s"),
    "report_id_agent": (0x160, "32s"),
    "reported_tcb": (0x180, "<Q"),
    "family": (0x188, "B"),
    "model": (0x189, "B"),
    "stepping": (0x18A, "B"),
    "chip_id": (0x1A0, "64s"),
    "committed_tcb": (0x1E0, "<Q"),
    "current_version": (0x1E8, "4s"),
    "committed_version": (0x1EC, "4s"),
    "launch_tcb": (0x1F0, "<Q"),
    "launch_mitigations": (0x1F8, "<Q"),
    "current_mitigations": (0x200, "<Q"),
}
"""Where the tests' own reports have their fields: another list than the one under test."""


def report(vendor: Vendor, key: Any = None, **fields: Any) -> bytes:
    """A signed report of a vendor's chip."""
    family, model, stepping = FAMILIES[vendor.line]
    value = tcb_value(vendor.line, vendor.tcb)
    told: dict[str, Any] = {
        "version": 3,
        "policy": 0x30000,
        "algorithm": 1,
        "platform_info": 0x25,
        "measurement": bytes([0xAB]) * 48,
        "report_id": bytes([0xCD]) * 32,
        "report_id_agent": b"\xff" * 32,
        "chip_id": vendor.chip_id,
        "current_version": bytes((3, 58, 1, 0)),
        "committed_version": bytes((3, 58, 1, 0)),
    }
    told |= dict.fromkeys(("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"), value)
    if fields.get("version", 3) > 2:
        told |= {"family": family, "model": model, "stepping": stepping}
    body = bytearray(0x2A0)
    for name, inside in (told | fields).items():
        offset, form = OFFSETS[name]
        struct.pack_into(form, body, offset, inside)
    return sign(bytes(body), key or vendor.vcek_key)


def sign(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A report's signed part, signed."""
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(SHA384())))
    return body + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)


def table(*entries: tuple[bytes, bytes]) -> bytes:
    """A certificate table as the kernel hands it over."""
    offset = (len(entries) + 1) * 24
    head, body = b"", b""
    for guid, data in entries:
        head += guid + struct.pack("<II", offset + len(body), len(data))
        body += data
    return head + bytes(24) + body


def certificate_table(vendor: Vendor) -> bytes:
    """The table with a chip's certificates."""
    return table((VCEK, der(vendor.vcek())), (ASK, der(vendor.ask)), (ARK, der(vendor.ark)))
