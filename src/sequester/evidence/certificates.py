"""Certificate chains of attestation keys: read from whatever was handed in, built to a pinned root, and judged.

What is asked of every chain: each certificate is signed by the next one's key, names it as its issuer, and may be
followed by it (a CA, of enough length); the last one is a pinned root; all are valid at the time; none was revoked, as
the issuers' current lists say. Sources: RFC 5280, 4.2.1.9, 5, 6.1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.papers import common_name, der, describe_subject, fingerprint, papers, read
from sequester.evidence.policy import Policy
from sequester.evidence.revocation import ListAddress, Revocation
from sequester.measure.certificates import names_key, signed_by, untimely, weakness

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

__all__ = [
    "ListAddress",
    "Path",
    "Verdict",
    "appraise_path",
    "describe_subject",
    "find_path",
    "fingerprint",
    "is_simulated",
    "papers",
    "read",
]

_LONGEST = 5
_FEW = 32
"""Certificates that a way is looked for among, up to which it is kept: evidence may bring any number."""
_MOST_SIGNATURES = 64
"""Signatures that are tried to build one chain."""
SIMULATED = "SIMULATED"
"""What the subject of a simulated vendor's root says."""


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
    pool = tuple(others)
    find = _found_before if len(pool) <= _FEW else _found
    return find(leaf, pool, frozenset(pins))


def _found(leaf: Certificate, others: tuple[Certificate, ...], pins: frozenset[str]) -> Path:
    """Find the path: it depends on neither time nor lists, and many pieces of evidence have the same."""
    pool: dict[bytes, Certificate] = {}
    for each in others:
        pool.setdefault(der(each), each)
    search = _Search(tuple(pool.values()), pins)
    found = search.extend((leaf,))
    if found is not None:
        return Path(found, simulated=fingerprint(found[-1]) not in pins)
    return Path((leaf,), search.fault)


_found_before = lru_cache(maxsize=16)(_found)
_signed_by = lru_cache(maxsize=256)(signed_by)
"""The few authorities of a vendor stand in every chain, and are verified once."""


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
        if last.issuer == last.subject and _signed_by(last, last):
            if is_simulated(last):
                return path
            self._note(f"'{describe_subject(last)}' signs itself and is no root that is trusted")
            return None
        if len(path) == _LONGEST:
            self._note(f"more than {_LONGEST} certificates")
            return None
        named = [each for each in self._pool if each.subject == last.issuer and each not in path]
        if not named:
            self._note(f"there is no certificate of its issuer '{common_name(last.issuer)}'")
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
        if not _signed_by(of, issuer):
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
    revocation = Revocation(tuple(lists), list_address, lookup, policy, now)
    checks += revocation.checks(path.certificates)
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
