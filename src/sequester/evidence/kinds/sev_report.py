"""Attestation reports of SEV and SEV-ES guests, which their host asks for (``query-sev-attestation-report``).

Layout, 208 bytes, little-endian (SEV API 0.24, ATTESTATION)::

    0x00 nonce of the caller, 16    0x10 launch digest, 32    0x30 policy, 32 bits    0x34 usage of the signing key
    0x38 algorithm, 32 bits each    0x40 R and S, 72 bytes each; signed are the first 52 bytes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.field import Field
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, number

if TYPE_CHECKING:
    from sequester.owner.sev_chain import SevChain
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "sev-report"
PLATFORM = "sev"
VARIANTS = ("sev-es",)
TITLE = "AMD SEV attestation report"
REGISTERS = {"digest": "launch-digest"}
TCB_COMPONENTS: tuple[str, ...] = ()
POLICY_KEYS: Mapping[str, Key] = {"guest-policy": Key(number((1 << 32) - 1), "the guest's policy, exactly")}

SIZE, SIGNED, NONCE = 208, 52, 16
_PEK = 0x1002
_ALGORITHMS = {0x2: "SHA-256", 0x102: "SHA-384"}
_FIELDS = (
    ("nonce", 16),
    ("launch-digest", 32),
    ("policy", 4),
    ("usage", 4),
    ("algorithm", 4),
    ("reserved", 4),
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report; `signature` has R and S, 72 bytes each."""

    nonce: bytes
    digest: bytes
    policy: int
    algorithm: int
    signature: bytes
    data: bytes


def recognises(data: bytes) -> bool:
    """Tell whether bytes are such a report: by size, and one of usage and algorithm."""
    if len(data) != SIZE:
        return False
    usage, algorithm = (int.from_bytes(data[at : at + 4], "little") for at in (0x34, 0x38))
    return usage == _PEK or algorithm in _ALGORITHMS


def parse(data: bytes, where: str) -> Report:
    """Read a report. Raises InputError naming the field."""

    def fault(what: str, at: int) -> InputError:
        return InputError(what, code="evidence.form", where=f"{where}: offset {at:#x}")

    if len(data) != SIZE:
        raise fault(f"a SEV attestation report has {SIZE} bytes, not {len(data)}", 0)
    policy, usage, algorithm, reserved = (
        int.from_bytes(data[at : at + 4], "little") for at in (0x30, 0x34, 0x38, 0x3C)
    )
    if usage != _PEK:
        raise fault(f"the signing key's usage is {usage:#x}, not that of a PEK", 0x34)
    if algorithm not in _ALGORITHMS:
        raise fault(f"algorithm {algorithm:#x} is not known", 0x38)
    if reserved:
        raise fault("a reserved field is not zero", 0x3C)
    return Report(data[:16], data[16:48], policy, algorithm, data[0x40:], data)


def claims(evidence: Report) -> Mapping[str, Any]:
    """Return what a report says, fit for JSON."""
    return {
        "nonce": evidence.nonce.hex(),
        "digest": evidence.digest.hex(),
        "policy": evidence.policy,
        "encrypted-state": bool(evidence.policy & 4),
    }


def fields(evidence: Report) -> Iterator[Field]:
    """Yield every field, without loss, in order."""
    at = 0
    for name, size in _FIELDS:
        raw = evidence.data[at : at + size]
        yield Field(name, at, raw, int.from_bytes(raw, "little") if size == 4 else raw.hex())
        at += size
    for name in ("r", "s"):
        yield Field(name, at, evidence.data[at : at + 72], evidence.data[at : at + 72].hex())
        at += 72


def appraise(evidence: Report, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that a report can be asked."""
    from sequester.evidence.sev.chain import chains, demanded, trusted

    yield passed(criteria.FORM, f"{SIZE} bytes, ECDSA P-384 with {_ALGORITHMS[evidence.algorithm]}")
    found = chains(collateral.everything)
    signer = next((chain for chain in found if _signed(evidence, chain)), None)
    if signer is not None:
        yield passed(criteria.SIGNATURE, "by the platform's endorsement key (PEK)", "offset 0x40")
        yield from trusted(signer, policy)
    else:
        had = f"none of {len(found)} platforms" if found else "no platform's certificates are here, and none"
        remedy = "give the chain of the platform, as `sevctl export` or `sequester owner chain -o` saves it"
        yield failed(criteria.SIGNATURE, f"{had} signed it", "by a PEK", "offset 0x40", remedy)
        yield skipped(criteria.CHAIN, "who signed it is not known")
    yield skipped(criteria.TCB, "the report names no firmware version")
    yield from demanded(evidence.policy, evidence.digest, policy)
    yield _nonce(evidence, policy)


def _signed(evidence: Report, chain: SevChain) -> bool:
    from sequester.owner.sev_certificate import ecdsa_verifies

    return ecdsa_verifies(chain.pek, evidence.data[:SIGNED], evidence.signature, evidence.algorithm)


def _nonce(evidence: Report, policy: Policy) -> Check:
    expected = policy.report_data
    if expected is None:
        return skipped(criteria.REPORT_DATA, "the policy has no report-data: this may be old evidence")
    if evidence.nonce != expected.ljust(NONCE, b"\0"):
        return failed(criteria.REPORT_DATA, evidence.nonce.hex(), expected.ljust(NONCE, b"\0").hex(), "NONCE")
    return passed(criteria.REPORT_DATA, evidence.nonce.hex(), "NONCE")


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return what the limitation of a plan asks of a report: its policy."""
    return {"guest-policy": limitation.value("policy")}
