"""X.509 certificates and revocation lists: read from files, and the questions that every chain of them asks.

A file may hold several of both (PEM), or one of either (DER).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sequester.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from cryptography.x509 import Certificate, CertificateRevocationList, Name

_LARGEST = 1 << 20
"""A revocation list of some ten thousand entries."""
_WEAK_HASHES = ("md5", "sha1")
_SMALLEST_RSA = 2048
_SMALLEST_CURVE = 224
"""112 bits of security: OpenSSL's level 2, which s390-tools asks for (rust/pv/src/verify/helper.rs)."""


@dataclass(frozen=True, slots=True)
class Papers:
    """Certificates and revocation lists, in the order of their files."""

    certificates: tuple[Certificate, ...] = ()
    lists: tuple[CertificateRevocationList, ...] = ()


def read_papers(paths: Iterable[str]) -> Papers:
    """Read files of certificates and revocation lists. Raises InputError for one that is neither, or malformed."""
    from sequester.measure.files import read_image

    certificates: list[Certificate] = []
    lists: list[CertificateRevocationList] = []
    for path in paths:
        found = parse(read_image(path, _LARGEST), path)
        certificates += found.certificates
        lists += found.lists
    return Papers(tuple(certificates), tuple(lists))


def parse(data: bytes, name: str) -> Papers:
    """Return what a file's bytes hold. Raises InputError where that is nothing, or malformed."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    def loaded() -> Papers:
        if b"-----BEGIN " not in data:
            return _parse_der(data)
        certificates = x509.load_pem_x509_certificates(data) if b"BEGIN CERTIFICATE" in data else []
        return Papers(tuple(certificates), tuple(_pem_lists(data)))

    try:
        found = loaded()
        for certificate in found.certificates:
            _ = certificate.extensions, certificate.issuer, certificate.signature_hash_algorithm
            _ = certificate.subject, certificate.public_key()
        for each in found.lists:
            _ = each.extensions, each.issuer, each.signature_hash_algorithm
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise InputError(
            "this certificate or revocation list cannot be read",
            code="certificate.malformed",
            where=name,
            why=str(error)[:200],
        ) from None
    if not found.certificates and not found.lists:
        raise InputError(
            "this holds neither a certificate nor a revocation list", code="certificate.malformed", where=name
        )
    return found


def _parse_der(data: bytes) -> Papers:
    from cryptography import x509

    try:
        return Papers((x509.load_der_x509_certificate(data),))
    except ValueError:
        return Papers((), (x509.load_der_x509_crl(data),))


def _pem_lists(data: bytes) -> Iterable[CertificateRevocationList]:
    from cryptography import x509

    begin, end = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
    for part in data.split(begin)[1:]:
        yield x509.load_pem_x509_crl(begin + part.partition(end)[0] + end)


def describe(name: Name) -> str:
    """Return a name for a message: its unit, or its common name, or all of it."""
    from cryptography.x509.oid import NameOID

    for oid in (NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME):
        for attribute in name.get_attributes_for_oid(oid):
            return str(attribute.value)
    return name.rfc4514_string()


def weakness(certificate: Certificate) -> str:
    """Return why a certificate is too weak to be trusted, or ''."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _SMALLEST_RSA:
            return f"its RSA key has {key.key_size} bits, fewer than {_SMALLEST_RSA}"
    elif not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size < _SMALLEST_CURVE:
        return "its key is neither RSA nor on a curve of 224 bits or more"
    digest = certificate.signature_hash_algorithm
    if digest is None or digest.name in _WEAK_HASHES:
        return f"it is signed over {digest.name if digest else 'no hash'}"
    return ""


def untimely(certificate: Certificate, now: datetime) -> str:
    """Return why a certificate is not valid at a time, or ''."""
    if now < certificate.not_valid_before_utc:
        return f"it is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}"
    if now >= certificate.not_valid_after_utc:
        return f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return ""


def signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Tell whether the issuer's key made the certificate's signature; names are another question."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    key, digest = issuer.public_key(), certificate.signature_hash_algorithm
    try:
        parameters = certificate.signature_algorithm_parameters
        signature, body = certificate.signature, certificate.tbs_certificate_bytes
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            if not isinstance(parameters, padding.PKCS1v15 | padding.PSS):
                return False
            key.verify(signature, body, parameters, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(signature, body, parameters)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def names_key(of: Certificate | CertificateRevocationList, issuer: Certificate) -> bool:
    """Tell whether the authority key identifier, where there is one, is the issuer's own."""
    from cryptography.x509 import AuthorityKeyIdentifier, ExtensionNotFound, SubjectKeyIdentifier

    try:
        wanted = of.extensions.get_extension_for_class(AuthorityKeyIdentifier).value.key_identifier
        own = issuer.extensions.get_extension_for_class(SubjectKeyIdentifier).value.digest
    except ExtensionNotFound:
        return True
    return wanted is None or wanted == own


def current_lists(
    lists: Iterable[CertificateRevocationList],
    issuer: Certificate,
    now: datetime,
    alike: Callable[[Name, Name], bool],
) -> tuple[CertificateRevocationList, ...]:
    """Return those lists that are an issuer's own, signed with its key, whole, and valid at a time.

    `alike` compares a list's issuer with the issuer's subject.
    """
    return tuple(
        each
        for each in lists
        if alike(each.issuer, issuer.subject) and names_key(each, issuer) and _is_current(each, issuer, now)
    )


def _is_current(each: CertificateRevocationList, issuer: Certificate, now: datetime) -> bool:
    end = each.next_update_utc
    return end is not None and each.last_update_utc <= now < end and is_whole_and_signed(each, issuer)


def is_whole_and_signed(each: CertificateRevocationList, issuer: Certificate) -> bool:
    """Tell whether a list is all of an issuer's, for certificates of its own, under its own good signature."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = issuer.public_key()
    if any(
        extension.critical for extension in each.extensions
    ):  # part of a list, or of another's certificates
        return False
    digest = each.signature_hash_algorithm
    if digest is None or digest.name in _WEAK_HASHES:
        return False
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    try:
        return each.is_signature_valid(key)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
