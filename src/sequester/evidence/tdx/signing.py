"""Who signed a quote: the attestation key, the quoting enclave that made it, the platform's certificate, Intel's root.

What was found out of a platform's chain is kept while it holds; a quote of a known platform costs the verification of
its own signature, and of the enclave's report where that is a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.certificates import Verdict, appraise_path, describe_subject, find_path, read
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.roots import intel
from sequester.evidence.tdx import pcs
from sequester.evidence.tdx.pck import Platform, platform
from sequester.evidence.tdx.quote import Quote
from sequester.evidence.tdx.shelf import Shelf

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate

PINS = frozenset((intel.ROOT,))
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256's group (FIPS 186-4, D.1.2.3)."""
_MOST_KEPT = 4096
_BLOCK_END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Endorser:
    """The platform's certification key (PCK): its certificates, and what they say of the platform.

    `fault` says why there is none, '' where there is.
    """

    certificates: tuple[Certificate, ...]
    platform: Platform | None
    fault: str = ""


@lru_cache(maxsize=1024)
def endorser(chain: bytes) -> Endorser:
    """Read the PEM in a quote."""
    blocks = [block + _BLOCK_END for block in chain.rstrip(b"\0").split(_BLOCK_END) if block.strip(b"\r\n")]
    try:
        certificates = [_certificate(block) for block in blocks]
        if not certificates:
            return Endorser((), None, "there is no certificate in the quote")
        return Endorser(tuple(certificates), platform(certificates[0]))
    except InputError as error:
        return Endorser((), None, f"{error.what}{f': {error.why}' if error.why else ''}")
    except ValueError as error:
        return Endorser((), None, str(error))


@lru_cache(maxsize=1024)
def _certificate(block: bytes) -> Certificate:
    """Read the PEM of one certificate, with nothing besides: readers of PEM pass over what is none.

    All platforms of a kind have the same authorities, which are read once. Raises ValueError and InputError.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    found = read(block).certificates
    lines = [line for line in block.splitlines() if line]
    if len(found) != 1 or lines != found[0].public_bytes(Encoding.PEM).splitlines():
        raise ValueError("there is something besides certificates, or one that cannot be read")
    return found[0]


def signed(
    quote: Quote, by: Endorser, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime
) -> Iterator[Check]:
    """Answer SIGNATURE, QUOTING (the enclave's report is the platform's), and for the PCK's chain CHAIN and what
    follows from it."""
    good = _attested(quote)
    where = f"signature, offset {len(quote.signed) + 4:#x}"
    if good:
        yield passed(criteria.SIGNATURE, "ECDSA P-256 by the attestation key in the quote", where)
    else:
        yield failed(
            criteria.SIGNATURE, "it is not by the attestation key in the quote", "one that is", where
        )
    if by.platform is None:
        yield failed(criteria.CHAIN, by.fault, "the certificates of the platform's key (PCK)", "certificates")
        return
    yield _enclave(quote, by)
    yield from pck_verdict(by, shelf, collateral, policy, now).checks


def _enclave(quote: Quote, by: Endorser) -> Check:
    """Whether the platform's key signed the enclave's report, and the report names the attestation key."""
    bound = sha256(quote.key + quote.authentication).digest() + bytes(32)
    if quote.enclave["reportdata"] != bound:
        return failed(
            criteria.QUOTING,
            "the enclave's report does not name this attestation key",
            "its digest in the report",
            "the enclave's report",
        )
    if not _by_platform(quote.enclave_raw, quote.enclave_signature, by):
        return failed(
            criteria.QUOTING,
            "the platform's key (PCK) did not sign the enclave's report",
            "a signature that it made",
            "the enclave report's signature",
        )
    return passed(
        criteria.QUOTING,
        "the enclave's report is signed by the platform's key, and names the attestation key",
    )


def pck_verdict(by: Endorser, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime) -> Verdict:
    """Return what is known of the PCK's chain."""
    key = ("pck", by.certificates, policy.simulated, policy.revocation, collateral.enclosed)
    kept = shelf.kept.get(key)
    if kept is not None and kept[0] is collateral.lookup and kept[1].holds_at(now):
        found: Verdict = kept[1]
        return found
    others = (*by.certificates[1:], *shelf.certificates, *_root())
    path = find_path(by.certificates[0], others, PINS)
    for each in by.certificates:
        if not path.fault and each not in path.certificates:
            path = replace(path, fault=f"'{describe_subject(each)}' in the quote is none of its chain")
    made = appraise_path(path, shelf.lists, pcs.list_address, collateral.lookup, policy, now)
    keep(shelf, key, collateral, made)
    return made


def keep(shelf: Shelf, key: tuple[object, ...], collateral: Collateral, value: object) -> None:
    """Keep what was found out, unless too much is kept already."""
    if len(shelf.kept) < _MOST_KEPT:
        shelf.kept[key] = (collateral.lookup, value)


@lru_cache(maxsize=1)
def _root() -> tuple[Certificate, ...]:
    return read(intel.root()).certificates


def _attested(quote: Quote) -> bool:
    return verifies(_point(quote.key), quote.signature, quote.signed)


def _by_platform(report: bytes, signature: bytes, by: Endorser) -> bool:
    return _made_by(by.certificates[0], signature, report)


def made_by(certificate: Certificate, signature: bytes, data: bytes) -> bool:
    """Tell whether a certificate's key signed bytes, as `verifies` does."""
    return verifies(public_key(certificate), signature, data)


_made_by = lru_cache(maxsize=1024)(made_by)


def public_key(certificate: Certificate) -> EllipticCurvePublicKey | None:
    """Return a certificate's key if it is on P-256."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    key = certificate.public_key()
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


@lru_cache(maxsize=256)
def _point(key: bytes) -> EllipticCurvePublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

    x, y = (int.from_bytes(key[at : at + 32], "big") for at in (0, 32))
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError:
        return None


def verifies(key: EllipticCurvePublicKey | None, signature: bytes, data: bytes) -> bool:
    """Tell whether a key signed bytes: R and S, 32 bytes each, big-endian, over SHA-256."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    if key is None or not (0 < r < _ORDER and 0 < s < _ORDER):
        return False
    try:
        key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def unsigned_checks() -> Iterator[Check]:
    """What cannot be answered without the platform's certificates."""
    why = "the platform's certificates cannot be read"
    for criterion in (criteria.BINDING, criteria.FRESHNESS, criteria.TCB, criteria.ADVISORIES):
        yield skipped(criterion, why)
