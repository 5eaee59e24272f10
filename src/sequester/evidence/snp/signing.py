"""Who signed a report: finds the certificate of its key, checks the signature, the chain, and what the key is bound to.

What was found out of a chain is kept for as long as it holds, since a fleet's reports have few chains: a report that
is signed by a known key costs one ECDSA verification.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.certificates import Path, Verdict, appraise_path, describe_subject, find_path, papers
from sequester.evidence.collateral import Collateral, Lookup
from sequester.evidence.policy import Policy
from sequester.evidence.roots import amd
from sequester.evidence.snp import kds
from sequester.evidence.snp.endorsement import VCEK, VLEK, Endorsement, endorsement
from sequester.evidence.snp.products import GENOA, MILAN, spelled, tcb
from sequester.evidence.snp.report import ECDSA_P384_SHA384, SIGNED, UNSIGNED, Evidence, Report
from sequester.evidence.snp.report import VLEK as VLEK_SIGNED
from sequester.evidence.snp.shelf import Shelf, shelf_of, shelf_of_enclosed, shipped

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
"""Order of P-384's group (FIPS 186-4, D.1.2.4): R and S lie between 0 and it."""
_PINS = frozenset(amd.ARKS.values())
_WHERE = "SIGNATURE, offset 0x2a0"
_MOST_TRIED = 64
"""Keys whose signature is tried."""
_MOST_KEPT, _LARGEST_KEPT = 4096, 32 << 10
"""Verdicts that are kept for one set of documents, and bytes of what came with a report whose is."""


class Signer(NamedTuple):
    """Who may have signed a report: the certificate that fits best, None where none is at hand, and what is at hand.

    `enclosed` are the certificates that came with it, `own` the same ones sorted, `given` those of the collateral.
    """

    key: Endorsement | None
    enclosed: tuple[bytes, ...]
    own: Shelf
    given: Shelf
    product: str
    """The product line, as the report or else the certificate tells it; '' where neither does."""


def signer(evidence: Evidence, collateral: Collateral, now: datetime) -> Signer:
    """Find the certificate of the key that signed a report."""
    report = evidence.report
    enclosed = tuple(data for _, data in evidence.certificates) + collateral.enclosed
    own, given = shelf_of_enclosed(enclosed), shelf_of(collateral.documents)
    key = None if _is_unsigned(report) else _find_key(evidence, (own, given), collateral.lookup, now)
    return Signer(key, enclosed, own, given, report.product or (key.line if key is not None else ""))


def signed(
    evidence: Evidence, by: Signer, collateral: Collateral, policy: Policy, now: datetime
) -> Iterator[Check]:
    """Answer SIGNATURE, CHAIN, VALIDITY, SIMULATED, REVOCATION, FRESHNESS and BINDING."""
    report, key = evidence.report, by.key
    if _is_unsigned(report):
        yield from _unsigned(report)
    elif key is None:
        yield from _keyless(report, (*by.own.faults, *by.given.faults))
    else:
        yield _signature(evidence, key)
        yield from _known_verdict(key, by, collateral, policy, now).checks
        yield _binding(report, key)


def _is_unsigned(report: Report) -> bool:
    return report.signing_key == UNSIGNED or report.signature_algorithm != ECDSA_P384_SHA384


def _unsigned(report: Report) -> Iterator[Check]:
    if report.signing_key == UNSIGNED:
        found, where = (
            "the report is not signed: the host has the chip's key masked",
            "SIGNING_KEY, offset 0x48",
        )
    else:
        found, where = f"algorithm {report.signature_algorithm}", "SIGNATURE_ALGO, offset 0x34"
    yield failed(criteria.SIGNATURE, found, "1, ECDSA P-384 with SHA-384", where)
    for criterion in (*_OF_CHAIN, criteria.BINDING):
        yield skipped(criterion, "nothing was signed")


_OF_CHAIN = (
    criteria.CHAIN,
    criteria.VALIDITY,
    criteria.SIMULATED,
    criteria.REVOCATION,
    criteria.FRESHNESS,
)


def _keyless(report: Report, faults: tuple[str, ...]) -> Iterator[Check]:
    name = "VLEK" if report.signing_key == VLEK_SIGNED else "VCEK"
    found = f"no certificate of a {name} is at hand"
    if faults:
        found += f"; not read: {faults[0]}"
    yield failed(criteria.SIGNATURE, found, f"the {name}'s certificate", _WHERE, _remedy(report))
    for criterion in (*_OF_CHAIN, criteria.BINDING):
        yield skipped(criterion, f"no certificate of a {name} is at hand")


def _remedy(report: Report) -> str:
    if report.signing_key == VLEK_SIGNED:
        return "give the provider's VLEK certificate with --collateral: guests get it with an extended report"
    if not any(report.chip_id):
        return "the host masks the chip's ID: give its VCEK certificate with --collateral"
    line = report.product or "{Milan or Genoa}"
    return (
        f"fetch {kds.vcek_address(line, report.chip_id, report.reported_tcb)} and give it with --collateral"
    )


def _find_key(
    evidence: Evidence, shelves: tuple[Shelf, ...], lookup: Lookup, now: datetime
) -> Endorsement | None:
    """Return the certificate that fits a report best: of its chip and TCB, else of its chip, else any of its kind.

    Of several that fit, as those of several providers or of chips that are masked do, it is the one that signed.
    """
    report = evidence.report
    vlek = report.signing_key == VLEK_SIGNED
    name = VLEK if vlek else VCEK
    named = [key for shelf in shelves for key in shelf.of(name, report.chip_id)]
    fitting = [key for key in named if _fits(report, key)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and not vlek and any(report.chip_id):
        looked_up = _look_up(report, lookup)
        if looked_up is not None:
            return looked_up

    def rank(key: Endorsement) -> tuple[bool, datetime]:
        timely = key.certificate.not_valid_before_utc <= now < key.certificate.not_valid_after_utc
        return timely, key.certificate.not_valid_before_utc

    if fitting:
        best = sorted(fitting, key=rank, reverse=True)[:_MOST_TRIED]
        return next((key for key in best if not _signature(evidence, key).failed), best[0])
    others = named or [key for shelf in shelves for key in shelf.every_key() if key.name == name]
    return max(others, key=rank, default=None)


def _fits(report: Report, key: Endorsement) -> bool:
    product = report.product or key.line
    return key.tcb == tcb(report.reported_tcb, product) and key.line in (product, "")


def _look_up(report: Report, lookup: Lookup) -> Endorsement | None:
    for product in (report.product,) if report.product else (MILAN, GENOA):
        document = lookup(kds.vcek_address(product, report.chip_id, report.reported_tcb))
        if document is None:
            continue
        try:
            return endorsement(document)
        except InputError:
            continue
    return None


def _algorithm() -> ECDSA:
    global _ecdsa
    if _ecdsa is None:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA384

        _ecdsa = ECDSA(SHA384())
    return _ecdsa


_ecdsa: ECDSA | None = None


def _signature(evidence: Evidence, key: Endorsement) -> Check:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    r, s = int.from_bytes(evidence.report.r, "little"), int.from_bytes(evidence.report.s, "little")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        which = "S" if 0 < r < _ORDER else "R"
        return failed(
            criteria.SIGNATURE, f"{which} is not between 0 and the group's order", "a signature", _WHERE
        )
    try:
        key.key.verify(encode_dss_signature(r, s), evidence.data[:SIGNED], _algorithm())
    except InvalidSignature:
        return failed(
            criteria.SIGNATURE,
            f"it is not by the key of this {key.name[4:]}",
            f"one by {_named(key)}",
            _WHERE,
        )
    return passed(criteria.SIGNATURE, f"ECDSA P-384 by {_named(key)}", _WHERE)


def _named(key: Endorsement) -> str:
    if key.provider:
        return f"the VLEK of {key.provider}"
    return f"the VCEK of {key.product or 'chip'} {key.chip_id[:8].hex()}…"


def _known_verdict(
    key: Endorsement, by: Signer, collateral: Collateral, policy: Policy, now: datetime
) -> Verdict:
    """Return what is known of the chain of a signing key, with the certificates at hand."""
    lookup, kept = collateral.lookup, by.given.verdicts
    # A lookup is known by identity, and kept with the verdict so that no other one takes its place.
    known = key.der, by.enclosed, id(lookup), policy.revocation, policy.simulated
    found = kept.get(known)
    if found is not None and found[1].holds_at(now):
        return found[1]
    made = _verdict(key, (by.own, by.given, shipped()), lookup, policy, now)
    if made.good and sum(map(len, by.enclosed)) <= _LARGEST_KEPT:
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[known] = lookup, made
    return made


def _verdict(
    key: Endorsement, shelves: tuple[Shelf, ...], lookup: Lookup, policy: Policy, now: datetime
) -> Verdict:
    authorities = [each for shelf in shelves for each in shelf.authorities]
    path = find_path(key.certificate, authorities, _PINS)
    kind = "vlek" if key.name == VLEK else "vcek"
    if path.fault and key.line:
        document = lookup(kds.chain_address(key.line, kind))
        if document is not None:
            path = find_path(key.certificate, [*authorities, *papers((document,))[0].certificates], _PINS)
    path = _of_line(path, key)
    lists = [each for shelf in shelves for each in shelf.lists]

    def address(certificate: object) -> str:
        """AMD's root key publishes what it revoked; the keys below it let TCB versions supersede certificates."""
        return "" if certificate is key.certificate else kds.list_address(key.line, kind)

    return appraise_path(path, lists, address, lookup, policy, now)


def _of_line(path: Path, key: Endorsement) -> Path:
    """Return a path with its fault if it is another product line's than the certificate says, or another key's."""
    if path.fault or len(path.certificates) < 3:
        return path if path.fault else Path(path.certificates, "it was not issued by an intermediate key")
    issuer, root = (describe_subject(each) for each in path.certificates[1:3])
    expected = f"SEV-VLEK-{key.line}" if key.name == VLEK else f"SEV-{key.line}"
    if path.simulated or not key.line or (issuer == expected and root == f"ARK-{key.line}"):
        return path
    return Path(
        path.certificates, f"a {key.name[4:]} of {key.line} is issued by '{expected}', not '{issuer}'"
    )


def _binding(report: Report, key: Endorsement) -> Check:
    product = report.product or key.line
    expected = spelled(report.reported_tcb, product)
    if report.version > 2 and not report.product:
        processor = f"family {report.family:x}h, model {report.model:x}h"
        return failed(
            criteria.BINDING, f"{processor} is of no product line that is known", "", "CPUID, offset 0x188"
        )
    if not key.line:
        return failed(
            criteria.BINDING, f"the certificate's product is '{key.product}'", "a product line with SEV-SNP"
        )
    if key.line != product:
        return failed(criteria.BINDING, f"the certificate is {key.product}'s", product, "CPUID, offset 0x188")
    if key.tcb != tcb(report.reported_tcb, product):
        said = ", ".join(f"{name} {value}" for name, value in key.tcb.items())
        return failed(
            criteria.BINDING, f"the certificate is for {said}", expected, "REPORTED_TCB, offset 0x180"
        )
    if key.chip_id and any(report.chip_id) and key.chip_id.ljust(64, b"\0") != report.chip_id:
        return failed(
            criteria.BINDING,
            f"the certificate is chip {key.chip_id[:16].hex()}…'s",
            f"{report.chip_id[:16].hex()}…",
            "CHIP_ID, offset 0x1a0",
        )
    chip = (
        "the provider's key" if not key.chip_id else "this chip" if any(report.chip_id) else "a masked chip"
    )
    return passed(criteria.BINDING, f"{chip}, {expected}")
