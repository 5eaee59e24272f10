"""Certificate chains of attestation keys: read from whatever was handed in, built to a pinned root, and judged.

What is asked of every chain: each certificate is signed by the next one's key, names it as its issuer, and may be
followed by it (a CA, of enough length); the last one is a pinned root; all are valid at the time; none was revoked, as
the issuers' current lists say. Sources: RFC 5280, 4.2.1.9, 5, 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.policy import Policy
from sequester.measure.certificates import (
    Papers,
    describe,
    is_whole_and_signed,
    names_key,
    parse,
    signed_by,
    untimely,
    weakness,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

LARGEST_LIST = 8 << 20
"""Bytes of one document that is read as a certificate or revocation list."""
_LARGEST_CERTIFICATE = 64 << 10
_LONGEST = 5
_MOST_SIGNATURES = 64
"""Signatures that are tried to build one chain."""
_LARGEST_RSA = 8192
_LARGEST_EXPONENT = 1 << 32
SIMULATED = "SIMULATED"
"""What the subject of a simulated vendor's root says."""

ListAddress = Callable[["Certificate"], str]
"""Certificate → where its issuer publishes what it revoked, '' where it publishes nothing."""


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
    for certificate in found.certificates:
        if why := _outsized(certificate):
            raise _malformed(why)
    return found


def _outsized(certificate: Certificate) -> str:
    """Return why a key would take unbounded time to use, or ''."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size > _LARGEST_RSA:
            return f"its RSA key has {key.key_size} bits, more than {_LARGEST_RSA}"
        if key.public_numbers().e >= _LARGEST_EXPONENT:
            return "the exponent of its RSA key is larger than 32 bits"
    return ""


def _malformed(why: str) -> InputError:
    return InputError("this certificate cannot be used", code="certificate.malformed", why=why)


def fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 of a certificate's DER in hex, by which roots are pinned."""
    return sha256(_der(certificate)).hexdigest()


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def is_simulated(root: Certificate) -> bool:
    """Tell whether a self-signed certificate says that its vendor is simulated."""
    return root.issuer == root.subject and SIMULATED in root.subject.rfc4514_string()


@dataclass(frozen=True, slots=True)
class Path:
    """Certificates from the attestation key's to the root; `fault` is why they do not lead to one, or ''."""

    certificates: tuple[Certificate, ...]
    fault: str = ""
    simulated: bool = False


def find_path(leaf: Certificate, others: Iterable[Certificate], pins: Collection[str]) -> Path:
    """Return the way from a certificate to one whose SHA-256 (hex) is pinned, or to a simulated root."""
    pool: dict[bytes, Certificate] = {}
    for each in others:
        pool.setdefault(_der(each), each)
    search = _Search(tuple(pool.values()), pins)
    found = search.extend((leaf,))
    if found is not None:
        return Path(found, simulated=fingerprint(found[-1]) not in pins)
    return Path((leaf,), search.fault)


class _Search:
    """Looks for a path, depth first, within a number of signatures."""

    def __init__(self, pool: tuple[Certificate, ...], pins: Collection[str]) -> None:
        self._pool = pool
        self._pins = pins
        self._left = _MOST_SIGNATURES
        self.fault = ""

    def extend(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        last = path[-1]
        if fingerprint(last) in self._pins:
            return path
        if last.issuer == last.subject and signed_by(last, last):
            if is_simulated(last):
                return path
            self._note(f"'{describe_subject(last)}' signs itself and is no root that is trusted")
            return None
        if len(path) == _LONGEST:
            self._note(f"more than {_LONGEST} certificates")
            return None
        named = [each for each in self._pool if each.subject == last.issuer and each not in path]
        if not named:
            self._note(f"there is no certificate of its issuer '{_common_name(last.issuer)}'")
        for issuer in named:
            why = self._unfit(last, issuer, len(path) - 1)
            if why:
                self._note(why)
                continue
            found = self.extend((*path, issuer))
            if found is not None:
                return found
        return None

    def _unfit(self, of: Certificate, issuer: Certificate, below: int) -> str:
        """Return why one certificate is not the issuer of another, '' where it is; `below` counts CAs between."""
        name = describe_subject(issuer)
        if not names_key(of, issuer):
            return f"'{describe_subject(of)}' names another key of '{name}'"
        why = weakness(issuer) or _no_authority(issuer, below)
        if why:
            return f"'{name}' cannot issue certificates: {why}"
        if self._left == 0:
            return f"more than {_MOST_SIGNATURES} signatures to try"
        self._left -= 1
        if not signed_by(of, issuer):
            return f"'{name}' did not sign the certificate of '{describe_subject(of)}'"
        return ""

    def _note(self, why: str) -> None:
        self.fault = self.fault or why


def _no_authority(issuer: Certificate, below: int) -> str:
    """Return why a certificate may not be followed by another, or ''. Source: RFC 5280, 6.1.4."""
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, KeyUsage, Version

    if issuer.version is not Version.v3:
        return "it is not of version 3"
    try:
        constraints = issuer.extensions.get_extension_for_class(BasicConstraints).value
    except ExtensionNotFound:
        return "it has no basic constraints"
    if not constraints.ca:
        return "it is no CA"
    if constraints.path_length is not None and constraints.path_length < below:
        return f"at most {constraints.path_length} CAs may follow it"
    try:
        if not issuer.extensions.get_extension_for_class(KeyUsage).value.key_cert_sign:
            return "its key may not sign certificates"
    except ExtensionNotFound:
        pass
    unknown = [each for each in issuer.extensions if each.critical and each.oid.dotted_string not in _KNOWN]
    return f"its critical extension {unknown[0].oid.dotted_string} is not known" if unknown else ""


_KNOWN = ("2.5.29.15", "2.5.29.19")
"""Key usage and basic constraints."""


def describe_subject(certificate: Certificate) -> str:
    """Return the common name of a certificate's subject for a message."""
    return _common_name(certificate.subject)


def _common_name(name: object) -> str:
    from cryptography.x509 import Name
    from cryptography.x509.oid import NameOID

    assert isinstance(name, Name)
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        return str(attribute.value)[:100]
    return describe(name)[:100]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a chain. It holds for every time from `since` to before `until` that it `holds` at."""

    path: Path
    checks: tuple[Check, ...]
    since: datetime
    until: datetime

    @property
    def good(self) -> bool:
        """Tell whether every check passed or was waived."""
        return not any(check.failed for check in self.checks)

    def holds_at(self, now: datetime) -> bool:
        """Tell whether it may be used again at another time: good ones only, so that what is missing is looked for."""
        return self.good and self.since <= now < self.until


def appraise_path(
    path: Path,
    lists: Iterable[CertificateRevocationList],
    list_address: ListAddress,
    lookup: Callable[[str], bytes | None],
    policy: Policy,
    now: datetime,
) -> Verdict:
    """Answer for a chain: CHAIN, VALIDITY, SIMULATED, REVOCATION and FRESHNESS, in this order.

    Lists that are not among `lists` are looked up where their issuers publish them.
    """
    since = max(each.not_valid_before_utc for each in path.certificates)
    until = min(each.not_valid_after_utc for each in path.certificates)
    checks = [*_chain(path, policy), _validity(path, now)]
    if path.fault or path.simulated:
        why = "the chain leads to no root" if path.fault else "a simulated vendor revokes nothing"
        checks += [skipped(criteria.REVOCATION, why), skipped(criteria.FRESHNESS, why)]
        return Verdict(path, tuple(checks), since, until)
    revocation = _Revocation(tuple(lists), list_address, lookup, policy, now)
    checks += revocation.checks(path)
    return Verdict(path, tuple(checks), max(since, revocation.since), min(until, revocation.until))


def _chain(path: Path, policy: Policy) -> Iterator[Check]:
    names = " ← ".join(describe_subject(each) for each in path.certificates)
    if path.fault:
        yield failed(
            criteria.CHAIN, path.fault, "a chain to a root that is shipped and pinned", "certificates"
        )
        yield skipped(criteria.SIMULATED, "no root says whether it is")
    elif path.simulated and not policy.simulated:
        yield skipped(criteria.CHAIN, "it leads to a simulated root")
        yield failed(
            criteria.SIMULATED, f"the root is '{describe_subject(path.certificates[-1])}'", "a vendor's root"
        )
    elif path.simulated:
        yield passed(criteria.CHAIN, f"{names}, a simulated root, which the policy trusts")
        yield skipped(criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected")
    else:
        yield passed(criteria.CHAIN, names)
        yield passed(criteria.SIMULATED, "the root is the vendor's")


def _validity(path: Path, now: datetime) -> Check:
    for each in path.certificates:
        if why := untimely(each, now):
            return failed(
                criteria.VALIDITY,
                f"'{describe_subject(each)}': {why}",
                f"valid at {now:%Y-%m-%d %H:%M} UTC",
                "certificates",
            )
    first = min(path.certificates, key=lambda each: each.not_valid_after_utc)
    return passed(
        criteria.VALIDITY, f"until {first.not_valid_after_utc:%Y-%m-%d} ('{describe_subject(first)}')"
    )


class _Revocation:
    """Asks the issuers' lists for each certificate of a path."""

    def __init__(
        self,
        lists: tuple[CertificateRevocationList, ...],
        address: ListAddress,
        lookup: Callable[[str], bytes | None],
        policy: Policy,
        now: datetime,
    ) -> None:
        self._lists = lists
        self._address = address
        self._lookup = lookup
        self._policy = policy
        self._now = now
        self.since = datetime.min.replace(tzinfo=UTC)
        self.until = datetime.max.replace(tzinfo=UTC)

    def checks(self, path: Path) -> tuple[Check, Check]:
        """Return REVOCATION and FRESHNESS for all but the root."""
        asked: list[str] = []
        waived = ""
        for certificate, issuer in zip(path.certificates, path.certificates[1:], strict=False):
            address = self._address(certificate)
            if not address:
                continue
            name, by = describe_subject(certificate), describe_subject(issuer)
            own = self._own(issuer, address)
            if any(each.get_revoked_certificate_by_serial_number(certificate.serial_number) for each in own):
                return (
                    failed(criteria.REVOCATION, f"'{by}' revoked '{name}'", "not revoked", "certificates"),
                    skipped(criteria.FRESHNESS, "a list that revokes need not be current"),
                )
            current = [each for each in own if self._current(each)]
            if current:
                newest = max(current, key=lambda each: each.last_update_utc)
                self._narrow(newest)
                asked.append(f"'{by}' (list of {newest.last_update_utc:%Y-%m-%d})")
            elif self._policy.revocation:
                return self._missing(own, by, address)
            else:
                waived = f"there is no current list of '{by}', and the policy asks for none"
        if waived:
            return skipped(criteria.REVOCATION, waived), skipped(criteria.FRESHNESS, waived)
        if not asked:
            why = "no issuer in this chain publishes a list"
            return skipped(criteria.REVOCATION, why), skipped(criteria.FRESHNESS, why)
        until = f"until {self.until:%Y-%m-%d %H:%M} UTC"
        return passed(criteria.REVOCATION, ", ".join(asked)), passed(criteria.FRESHNESS, until)

    def _own(self, issuer: Certificate, address: str) -> list[CertificateRevocationList]:
        own = [each for each in self._lists if _is_of(each, issuer)]
        if not any(self._current(each) for each in own):
            document = self._lookup(address)
            if document is not None:
                found, _ = papers((document,))
                own += [each for each in found.lists if _is_of(each, issuer)]
        return own

    def _current(self, each: CertificateRevocationList) -> bool:
        end = each.next_update_utc
        return end is not None and each.last_update_utc <= self._now < end

    def _narrow(self, each: CertificateRevocationList) -> None:
        end = each.next_update_utc
        assert end is not None
        self.since, self.until = max(self.since, each.last_update_utc), min(self.until, end)

    def _missing(self, own: list[CertificateRevocationList], by: str, address: str) -> tuple[Check, Check]:
        remedy = f"fetch {address} and give it with --collateral, or say `revocation = false` in the policy"
        if not own:
            return (
                failed(
                    criteria.REVOCATION, f"there is no list of '{by}'", "its current list", address, remedy
                ),
                skipped(criteria.FRESHNESS, "there is no list"),
            )
        newest = max(own, key=lambda each: each.last_update_utc)
        end = newest.next_update_utc
        times = f"from {newest.last_update_utc:%Y-%m-%d} to {f'{end:%Y-%m-%d}' if end else 'an unknown time'}"
        return (
            skipped(criteria.REVOCATION, f"the list of '{by}' is not current"),
            failed(
                criteria.FRESHNESS,
                f"the list of '{by}' is valid {times}",
                f"valid at {self._now:%Y-%m-%d %H:%M} UTC",
                address,
                remedy,
            ),
        )


def _is_of(each: CertificateRevocationList, issuer: Certificate) -> bool:
    return each.issuer == issuer.subject and names_key(each, issuer) and is_whole_and_signed(each, issuer)
