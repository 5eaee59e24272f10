"""Whose host keys open a request: only such a machine learns the key of the measurement, so each must be trusted.

A host key is trusted because the policy names its hash, or because its document leads to a root that the policy pins,
by the rules of `sequester.measure.host_key`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, Criterion, failed, passed, skipped
from sequester.evidence.certificates import fingerprint, is_simulated, papers
from sequester.evidence.policy import Policy
from sequester.measure.certificates import Papers, signed_by
from sequester.measure.host_key import Authority, is_signing_key, key_hash

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_CRITERIA = {
    "host-key.expired": criteria.VALIDITY,
    "host-key.no-list": criteria.REVOCATION,
    "host-key.revoked": criteria.REVOCATION,
}
_MOST_DOCUMENTS = 8
"""Documents of one host key that are tried: it is certified anew from time to time."""
_REMEDY = (
    "give its host key document, IBM's signing key certificate and their chain and lists, and pin the root: "
    "`roots` in [s390-pv]; or name the host key: `host-keys` in [s390-pv]"
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Certificates and lists at hand: host key documents by the hash of their key, and the others."""

    documents: Mapping[bytes, list[Certificate]]
    others: Papers
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class _Findings:
    refused: tuple[Criterion, str, str] | None = None
    chained: int = 0
    named: int = 0
    simulated: bool = False


@lru_cache(maxsize=4)
def shelf(documents: tuple[bytes, ...]) -> Shelf:
    """Sort what is at hand."""
    found, faults = papers(documents)
    machines: dict[bytes, list[Certificate]] = {}
    others: list[Certificate] = []
    for certificate in found.certificates:
        try:
            machines.setdefault(key_hash(certificate), []).append(certificate)
        except InputError:
            others.append(certificate)
    return Shelf(machines, Papers(tuple(others), found.lists), faults)


def trusted(host_keys: tuple[bytes, ...], own: Shelf, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer CHAIN, VALIDITY, REVOCATION and FRESHNESS, and SIMULATED where a chain says so."""
    found = _looked_at(host_keys, own, policy, now)
    if found.refused is not None:
        criterion, what, expected = found.refused
        yield failed(criterion, what, expected, "the request's key slots", _REMEDY)
    elif found.simulated:
        yield passed(criteria.CHAIN, f"{_host_keys(found.chained)} under a simulated root")
    else:
        ways = [f"{found.chained} by IBM's signing key"] * bool(found.chained)
        ways += [f"{found.named} that the policy names"] * bool(found.named)
        yield passed(criteria.CHAIN, f"every host key of the request is trusted: {', '.join(ways)}")
    if found.simulated and policy.simulated:
        yield skipped(criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected")
    elif found.simulated:
        yield failed(criteria.SIMULATED, "the host key's root says SIMULATED", "a root that is trusted")
    failure = found.refused[0] if found.refused else None
    for criterion in (criteria.VALIDITY, criteria.REVOCATION):
        if criterion is failure:
            continue
        if failure is not None or not found.chained:
            yield skipped(criterion, "no chain of certificates was followed to its end")
        elif criterion is criteria.REVOCATION and not policy.revocation:
            yield skipped(criterion, "the policy asks for no lists")
        else:
            yield passed(criterion, "of every host key document and its chain")


def _host_keys(count: int) -> str:
    return f"{count} host key{'s' if count != 1 else ''}"


def _looked_at(host_keys: tuple[bytes, ...], own: Shelf, policy: Policy, now: datetime) -> _Findings:
    asked = policy.of("s390-pv")
    names, pins = asked.get("host-keys", ()), {each.hex() for each in asked.get("roots", ())}
    found = _Findings()
    for key in host_keys:
        if key in names:
            found.named += 1
            continue
        documents = own.documents.get(key)
        if not documents:
            why = f"; {own.faults[0]}" if own.faults else ""
            found.refused = (
                criteria.CHAIN,
                f"there is no document of the host key {key.hex()[:16]}…{why}",
                "a host key that is trusted",
            )
            return found
        tried = [_error(document, own, pins, policy, now) for document in documents[:_MOST_DOCUMENTS]]
        error, simulated = next((each for each in tried if each[0] is None), tried[-1])
        if error is not None:
            where = f"host key {key.hex()[:16]}…: {error.what}"
            found.refused = (_CRITERIA.get(error.code, criteria.CHAIN), where, "a host key that is trusted")
            return found
        found.chained += 1
        found.simulated = found.simulated or simulated
    return found


def _error(
    document: Certificate, own: Shelf, pins: set[str], policy: Policy, now: datetime
) -> tuple[InputError | None, bool]:
    """Return why a document is not trusted, and whether its root is a simulated one."""
    pinned = [each for each in own.others.certificates if fingerprint(each) in pins]
    played = [each for each in own.others.certificates if is_simulated(each)]
    error = _checked(document, own, pinned, policy, now)
    if error is not None and played and _checked(document, own, played, policy, now) is None:
        return None, True
    return error, False


def _checked(
    document: Certificate, own: Shelf, roots: list[Certificate], policy: Policy, now: datetime
) -> InputError | None:
    """Return why a document is not trusted under these roots; each signing key at hand is tried alone."""
    others = [each for each in own.others.certificates if each not in roots]
    signing = [each for each in others if is_signing_key(each.subject) and signed_by(document, each)]
    between = [each for each in others if not is_signing_key(each.subject)]
    first = None
    for keys in [[each] for each in signing[:_MOST_DOCUMENTS]] or [[]]:
        at_hand = Papers((*keys, *between), own.others.lists)
        try:
            Authority(Papers(tuple(roots)), at_hand, policy.revocation).check(document, now)
        except InputError as error:
            first = first or error
        else:
            return None
    return first
