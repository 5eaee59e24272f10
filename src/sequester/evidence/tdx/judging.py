"""What Intel says of a platform at a time: by its tables, if they are its own and current."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, Criterion, failed, passed, skipped
from sequester.evidence.certificates import Verdict, appraise_path, find_path
from sequester.evidence.collateral import Collateral
from sequester.evidence.papers import papers
from sequester.evidence.policy import Policy
from sequester.evidence.tdx import pcs
from sequester.evidence.tdx.levels import Standing, enclave_level, evaluated, relaunched
from sequester.evidence.tdx.pck import Platform
from sequester.evidence.tdx.quote import Quote
from sequester.evidence.tdx.shelf import Shelf, sort
from sequester.evidence.tdx.shortfall import shortfall
from sequester.evidence.tdx.signing import PINS, Endorser, keep, made_by
from sequester.evidence.tdx.tables import QeIdentity, Table, TcbInfo

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Kind = TypeVar("Kind", TcbInfo, QeIdentity)

_TCB, _IDENTITY = "TCB info", "identity of the quoting enclave"
_SIGNER = "TCB Signing"


@dataclass(frozen=True, slots=True)
class Judged:
    """A table and what is known of it: the checks of its signer's chain, and its own signature."""

    table: Table
    checks: tuple[Check, ...]
    good: bool
    since: datetime
    until: datetime

    def holds_at(self, now: datetime) -> bool:
        """Tell whether it may be used again at another time."""
        return self.good and self.since <= now < self.until


def judged(
    quote: Quote, by: Endorser, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime
) -> Iterator[Check]:
    """Answer BINDING, QUOTING (the enclave's level), FRESHNESS, TCB and ADVISORIES."""
    assert by.platform is not None
    info = _info(by.platform, shelf, collateral, now)
    identity = _identity(shelf, collateral, now)
    missing = [
        (name, address)
        for name, table, address in (
            (_TCB, info, pcs.tcb_address(by.platform.fmspc)),
            (_IDENTITY, identity, pcs.identity_address()),
        )
        if table is None
    ]
    for name, address in missing:
        yield failed(
            criteria.FRESHNESS,
            f"there is no {name}",
            "Intel's, current",
            address,
            f"fetch {address} and give it with --collateral",
        )
    if info is None or identity is None:
        for criterion in (criteria.TCB, criteria.ADVISORIES):
            yield skipped(criterion, "without Intel's tables nobody can tell")
        return
    tables = [
        _judged(table, name, shelf, collateral, policy, now)
        for name, table in ((_TCB, info), (_IDENTITY, identity))
    ]
    # One key signs both tables as a rule: what was found of its chain is told once.
    yield from dict.fromkeys(check for each in tables for check in each.checks)
    if not all(each.good for each in tables):
        for criterion in (criteria.TCB, criteria.ADVISORIES):
            yield skipped(criterion, "Intel's tables are not good, and so are not looked at")
        return
    yield _binding(by.platform, info)
    yield from _standing(quote, by.platform, info, identity, policy)


def _info(platform: Platform, shelf: Shelf, collateral: Collateral, now: datetime) -> TcbInfo | None:
    def own() -> list[TcbInfo]:
        return [each for each in shelf.tcb if (each.fmspc, each.pce_id) == (platform.fmspc, platform.pce_id)]

    if not _current(own(), now):
        _fetch(pcs.tcb_address(platform.fmspc), shelf, collateral)
    return _newest(own() or shelf.tcb, now)


def _identity(shelf: Shelf, collateral: Collateral, now: datetime) -> QeIdentity | None:
    if not _current(shelf.identities, now):
        _fetch(pcs.identity_address(), shelf, collateral)
    return _newest(shelf.identities, now)


def _current(tables: list[Kind], now: datetime) -> list[Kind]:
    return [each for each in tables if each.issued <= now < each.until]


def _newest(tables: list[Kind], now: datetime) -> Kind | None:
    """Return the newest that is current; where none is, the newest."""
    chosen = _current(tables, now) or tables
    return max(chosen, key=lambda each: (each.issued, each.evaluation), default=None)


def _fetch(address: str, shelf: Shelf, collateral: Collateral) -> None:
    """Put a table and the chain of its signer on the shelf, if they are to be had and not there yet."""
    documents = [collateral.lookup(address), collateral.lookup(address + pcs.ISSUER_CHAIN)]
    fetched: Shelf = sort(tuple(document for document in documents if document is not None))
    shelf.certificates += [each for each in fetched.certificates if each not in shelf.certificates]
    shelf.tcb += [each for each in fetched.tcb if each not in shelf.tcb]
    shelf.identities += [each for each in fetched.identities if each not in shelf.identities]


def _judged(
    table: Table, name: str, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime
) -> Judged:
    key = ("table", table.signature, table.text, policy.simulated, policy.revocation)
    kept = shelf.kept.get(key)
    if kept is not None and kept[0] is collateral.lookup and kept[1].holds_at(now):
        found: Judged = kept[1]
        return found
    made = _judge(table, name, shelf, collateral, policy, now)
    keep(shelf, key, collateral, made)
    return made


def _judge(
    table: Table, name: str, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime
) -> Judged:
    verdict = _signer(table, shelf, collateral, policy, now)
    if verdict is None:
        why = failed(
            criteria.QUOTING,
            f"no certificate at hand is that of the key which signed the {name}",
            "Intel's TCB signing certificate",
            name,
            "give the chain that Intel's service sends with it (TCB-Info-Issuer-Chain)",
        )
        return Judged(table, (why,), False, table.issued, table.until)
    current = table.issued <= now < table.until
    times = f"from {table.issued:%Y-%m-%d} to {table.until:%Y-%m-%d}"
    if current:
        own = passed(criteria.FRESHNESS, f"{name} number {table.evaluation}, good {times}")
    else:
        own = failed(
            criteria.FRESHNESS, f"the {name} is good {times}", f"good at {now:%Y-%m-%d %H:%M} UTC", name
        )
    good = current and verdict.good
    since, until = max(table.issued, verdict.since), min(table.until, verdict.until)
    return Judged(table, (*verdict.checks, own), good, since, until)


def _signer(
    table: Table, shelf: Shelf, collateral: Collateral, policy: Policy, now: datetime
) -> Verdict | None:
    """Return the chain of the certificate whose key signed a table; the one that is good where there are several."""
    found = None
    for certificate in _candidates(shelf, collateral):
        if not _made_by(certificate, table.signature, table.text):
            continue
        path = find_path(certificate, shelf.certificates + _shipped(), PINS)
        verdict = appraise_path(path, shelf.lists, pcs.list_address, collateral.lookup, policy, now)
        if verdict.good:
            return verdict
        found = found or verdict
    return found


_made_by = lru_cache(maxsize=16)(made_by)
"""A table has up to 1 MiB: few are kept."""


def _candidates(shelf: Shelf, collateral: Collateral) -> list[Certificate]:
    named = [each for each in shelf.certificates if _SIGNER in each.subject.rfc4514_string()]
    return named[:64]


def _shipped() -> list[Certificate]:
    from sequester.evidence.roots import intel

    return list(papers((intel.root(),))[0].certificates)


def _binding(platform: Platform, info: TcbInfo) -> Check:
    found = f"FMSPC {platform.fmspc.hex()}, PCE ID {platform.pce_id.hex()}"
    if (info.fmspc, info.pce_id) != (platform.fmspc, platform.pce_id):
        expected = f"FMSPC {info.fmspc.hex()}, PCE ID {info.pce_id.hex()}, as the TCB info has it"
        return failed(criteria.BINDING, found, expected, "the PCK's SGX extension")
    return passed(criteria.BINDING, found, "the PCK's SGX extension")


def _standing(
    quote: Quote, platform: Platform, info: TcbInfo, identity: QeIdentity, policy: Policy
) -> Iterator[Check]:
    enclave = enclave_level(quote, identity)
    svn = int.from_bytes(quote.enclave["isvsvn"], "little")
    if enclave.fault:
        yield failed(criteria.QUOTING, enclave.fault, "the enclave of Intel's table", "the enclave's report")
    else:
        yield passed(criteria.QUOTING, f"the quoting enclave is Intel's, SVN {svn}: {enclave.status}")
    if (info.fmspc, info.pce_id) != (platform.fmspc, platform.pce_id):
        for criterion in (criteria.TCB, criteria.ADVISORIES):
            yield skipped(criterion, "the TCB info is that of another platform")
        return
    yield from _levels(quote, platform, info, identity, policy)
    least = policy.minimum_tcb.get("evaluation-number")
    if least is not None and min(info.evaluation, identity.evaluation) < least:
        yield failed(
            criteria.FRESHNESS,
            f"evaluation number {min(info.evaluation, identity.evaluation)}",
            f"{least} or later",
        )


def _levels(
    quote: Quote, platform: Platform, info: TcbInfo, identity: QeIdentity, policy: Policy
) -> Iterator[Check]:
    """Answer TCB and ADVISORIES, by the level at the launch, and the present one where the quote tells it."""
    where = quote.where("tee_tcb_svn")
    enclave = enclave_level(quote, identity)
    launch = evaluated(quote.body["tee_tcb_svn"], quote, platform, info, enclave)
    whole, said = launch.whole, str(launch)
    fault = launch.fault
    if not fault and "tee_tcb_svn_2" in quote.body:
        current = evaluated(quote.body["tee_tcb_svn_2"], quote, platform, info, enclave)
        fault = current.fault
        if current != launch:
            whole = relaunched(whole, current.whole)
            said = f"at the launch {launch.whole.status}: {launch}; now {current.whole.status}: {current}"
    if not fault and whole.status in policy.tcb_statuses and whole.status != "Revoked":
        yield passed(criteria.TCB, f"{whole.status} ({said})", where)
        yield _advisories(criteria.ADVISORIES, whole, policy)
        return
    lacks = shortfall(quote, platform, info, identity)
    better = f"; the best level asks for {'; '.join(lacks)}" if lacks else ""
    if fault:
        yield failed(criteria.TCB, fault, f"a level of Intel's table{better}", where)
        yield skipped(criteria.ADVISORIES, "there is no level")
        return
    expected = f"{' or '.join(policy.tcb_statuses)}{better}"
    yield failed(criteria.TCB, f"{whole.status} ({said})", expected, where)
    yield _advisories(criteria.ADVISORIES, whole, policy)


def _advisories(criterion: Criterion, whole: Standing, policy: Policy) -> Check:
    if not whole.advisories:
        return passed(criterion, "none")
    unknown = [name for name in whole.advisories if name not in policy.advisories]
    said = ", ".join(whole.advisories)
    if unknown and whole.status == "UpToDate":
        return skipped(criterion, f"{said}; at the newest level, where Intel names what else must be set up")
    if unknown:
        return failed(criterion, said, "none that the policy does not accept by name")
    return passed(criterion, f"{said}, which the policy accepts")
