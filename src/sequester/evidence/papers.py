"""Certificates and revocation lists out of whatever was handed in: bounded in size, strict, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.measure.certificates import Papers, describe, parse

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList, Name

LARGEST_LIST = 8 << 20
"""Bytes of one document that is read as a certificate or revocation list."""
_LARGEST_CERTIFICATE = 64 << 10
_LARGEST_RSA = 8192
_LARGEST_EXPONENT = 1 << 32
_VERSION, _INTEGER = 0xA0, 0x02
"""DER tags."""


def papers(documents: Iterable[bytes]) -> tuple[Papers, tuple[str, ...]]:
    """Return the certificates and revocation lists among documents, and why others that look so were not read."""
    certificates: list[Certificate] = []
    lists: list[CertificateRevocationList] = []
    faults: list[str] = []
    for number, document in enumerate(documents, 1):
        if not looks_so(document):
            continue
        try:
            found = read(document)
        except InputError as error:
            faults.append(f"document {number}: {error.what}{f' ({error.why})' if error.why else ''}")
            continue
        certificates += found.certificates
        lists += found.lists
    return Papers(tuple(certificates), tuple(lists)), tuple(faults)


def looks_so(document: bytes) -> bool:
    """Tell whether a document may be a certificate or list: PEM that says so, or a DER sequence."""
    if document[:1] == b"\x30":
        return len(document) > 4
    head = document[: 1 << 16]
    return b"-----BEGIN CERTIFICATE" in head or b"-----BEGIN X509 CRL" in head


def read(document: bytes) -> Papers:
    """Read one document, strictly. Raises InputError for what is malformed, too large, or has an outsized key."""
    return _read_small(document) if len(document) <= _LARGEST_CERTIFICATE else _read(document)


@lru_cache(maxsize=1024)
def _read_small(document: bytes) -> Papers:
    return _read(document)


def _read(document: bytes) -> Papers:
    import warnings

    if len(document) > LARGEST_LIST:
        raise _malformed(f"{len(document)} bytes are too many")
    with warnings.catch_warnings():
        # AMD's and others' certificates of chips have the serial number 0, against RFC 5280.
        warnings.simplefilter("ignore")
        found = parse(document, "certificate")
    signed = [(der(each), each.tbs_certificate_bytes) for each in found.certificates]
    for certificate, (whole, _) in zip(found.certificates, signed, strict=True):
        if why := _outsized(certificate, len(whole)):
            raise _malformed(why)
    signed += [(der(each), each.tbs_certlist_bytes) for each in found.lists]
    if not all(_says_one_algorithm(*each) for each in signed):
        raise _malformed("it names two signature algorithms")
    if not all(_is_whole_bytes(*each) for each in signed):
        raise _malformed("its signature is no whole number of bytes")
    return found


def _says_one_algorithm(whole: bytes, inner: bytes) -> bool:
    """Tell whether the algorithm outside of what is signed is the one inside, byte for byte (RFC 5280, 4.1.1.2)."""
    at = whole.index(inner) + len(inner)
    outside = whole[at : _end(whole, at)]
    at = _contents(inner, 0)
    while inner[at] in (
        _VERSION,
        _INTEGER,
    ):  # of a certificate [0] and the serial number, of a list one number
        at = _end(inner, at)
    return inner[at : _end(inner, at)] == outside


def _is_whole_bytes(whole: bytes, inner: bytes) -> bool:
    """Tell whether no bit of the signature, a bit string, is unused: readers pass over how many are said to be."""
    signature = _end(whole, whole.index(inner) + len(inner))
    return whole[_contents(whole, signature)] == 0


def _contents(data: bytes, at: int) -> int:
    """Return where the contents of a DER value begin. What comes here was parsed before: its lengths are good."""
    return at + 2 + (data[at + 1] & 0x7F if data[at + 1] & 0x80 else 0)


def _end(data: bytes, at: int) -> int:
    """Return where a DER value ends."""
    begin = _contents(data, at)
    length = int.from_bytes(data[at + 2 : begin], "big") if data[at + 1] & 0x80 else data[at + 1]
    return begin + length


def _outsized(certificate: Certificate, size: int) -> str:
    """Return why a certificate would take unbounded memory to keep, or its key unbounded time to use, or ''."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if size > _LARGEST_CERTIFICATE:
        return f"it has {size} bytes, more than {_LARGEST_CERTIFICATE}"
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size > _LARGEST_RSA:
            return f"its RSA key has {key.key_size} bits, more than {_LARGEST_RSA}"
        if key.public_numbers().e >= _LARGEST_EXPONENT:
            return "the exponent of its RSA key is larger than 32 bits"
    return ""


def _malformed(why: str) -> InputError:
    return InputError("this certificate cannot be used", code="certificate.malformed", why=why)


@lru_cache(maxsize=256)
def fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 of a certificate's DER in hex, by which roots are pinned."""
    return sha256(der(certificate)).hexdigest()


def der(certificate: Certificate | CertificateRevocationList) -> bytes:
    """Return a certificate or list in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def describe_subject(certificate: Certificate) -> str:
    """Return the common name of a certificate's subject for a message."""
    return common_name(certificate.subject)


def common_name(name: Name) -> str:
    """Return a name's common name for a message, or what else tells it best."""
    from cryptography.x509.oid import NameOID

    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)[:100]
    return describe(name)[:100]
