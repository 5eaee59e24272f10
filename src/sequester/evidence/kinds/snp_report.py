"""SEV-SNP attestation reports, bare or with their table of certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, passed
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.snp import demands as asked
from sequester.evidence.snp.products import COMPONENTS, GENOA
from sequester.evidence.snp.report import Evidence, looks_so, parse
from sequester.evidence.snp.show import claims, fields
from sequester.evidence.snp.signing import signed, signer

if TYPE_CHECKING:
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "snp-report"
PLATFORM = "sev-snp"
TITLE = "AMD SEV-SNP attestation report"
REGISTERS = {"measurement": "launch-digest"}
TCB_COMPONENTS = COMPONENTS
POLICY_KEYS = asked.KEYS

__all__ = ["claims", "fields", "parse"]


def recognises(data: bytes) -> bool:
    """Tell whether bytes are a report."""
    return looks_so(data)


def appraise(evidence: Evidence, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that a report can be asked."""
    version = evidence.report.version
    yield passed(
        criteria.FORM, f"report of version {version}, {len(evidence.certificates)} certificates with it"
    )
    by = signer(evidence, collateral, now)
    yield from signed(evidence, by, collateral, policy, now)
    yield from asked.demanded(evidence.report, policy, by.product or GENOA)


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return what the limitation of a plan asks of a report: policy, host data, and the ID block's contents."""
    from sequester.measure import id_block

    found: dict[str, Any] = {"guest-policy": limitation.value("policy")}
    found["host-data"] = limitation.value("host-data") or bytes(32)
    block = limitation.value("id-block")
    if block is not None:
        told = id_block.IdBlock.unpack(block)
        found |= {"family-id": told.family, "image-id": told.image, "minimum-guest-svn": told.svn}
    authentication = limitation.value("id-auth")
    if authentication is not None and len(authentication) == id_block.AUTHENTICATION_SIZE:
        key, author = id_block.key_digests(authentication)
        found["id-keys"] = (key,)
        if author is not None and limitation.value("author-key-enabled"):
            found["author-keys"] = (author,)
    return found
