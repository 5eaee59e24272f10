"""Certificates and revocation lists of the simulated vendors. Every name says SIMULATED."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PSS
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
    from cryptography.x509 import Certificate, KeyUsage, Name

    Key = EllipticCurvePrivateKey | RSAPrivateKey

ORGANIZATION = "SIMULATED, protects nothing"
_AGE = timedelta(days=1)
_LIFE = timedelta(days=3650)
_LIST_LIFE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a certificate is for: `common` name, `unit`, organization, and state and locality where they matter.

    `below` is how many authorities may follow, None for no authority; `extensions` are DER by OID.
    """

    common: str
    unit: str = ""
    below: int | None = None
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    organization: str = ORGANIZATION
    state: str = ""
    locality: str = ""

    def name(self) -> Name:
        """Return it as a certificate has it."""
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        parts = (
            (NameOID.COUNTRY_NAME, "US"),
            (NameOID.STATE_OR_PROVINCE_NAME, self.state),
            (NameOID.LOCALITY_NAME, self.locality),
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.unit),
            (NameOID.COMMON_NAME, self.common),
        )
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: a key, the name in what it signs, and the hash."""

    subject: Subject
    key: Key
    hash: SHA256 | SHA384 | SHA512

    def issue(self, subject: Subject, key: Key, now: datetime) -> Certificate:
        """Return a certificate for a key, valid from a day before `now` for ten years."""
        from cryptography import x509

        serial = int.from_bytes(sha256(subject.common.encode() + _der(key)).digest()[:8], "big") | 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject.name())
            .issuer_name(self.subject.name())
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - _AGE)
            .not_valid_after(now - _AGE + _LIFE)
            .add_extension(x509.BasicConstraints(subject.below is not None, subject.below), True)
            .add_extension(_usage(subject.below is not None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        for oid, value in subject.extensions.items():
            told = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(told, False)
        return builder.sign(self.key, self.hash, rsa_padding=self._padding())

    def own(self, now: datetime) -> Certificate:
        """Return the certificate that it signed for itself."""
        return self.issue(self.subject, self.key, now)

    def revocations(self, now: datetime) -> bytes:
        """Return its revocation list, in DER: empty, valid for a month."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject.name())
            .last_update(now - _AGE)
            .next_update(now + _LIST_LIFE)
            .add_extension(x509.CRLNumber(1), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        signed = builder.sign(self.key, self.hash, rsa_padding=self._padding())
        return signed.public_bytes(Encoding.DER)

    def _padding(self) -> PSS | None:
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

        if not isinstance(self.key, RSAPrivateKey):
            return None
        return padding.PSS(padding.MGF1(self.hash), self.hash.digest_size)


def _usage(authority: bool) -> KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def pem(*certificates: Certificate) -> bytes:
    """Return certificates in PEM, one after the other."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def der(certificate: Certificate) -> bytes:
    """Return a certificate in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _der(key: Key) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
