"""TDX quotes of versions 4 and 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, passed
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.tdx import demands as asked
from sequester.evidence.tdx.quote import Quote, looks_so, parse

if TYPE_CHECKING:
    from sequester.evidence.field import Field
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "tdx-quote"
PLATFORM = "tdx"
TITLE = "Intel TDX quote"
REGISTERS = asked.REGISTERS
TCB_COMPONENTS = ("evaluation-number",)
POLICY_KEYS = asked.KEYS

__all__ = ["parse"]

_OWNERS = ("mrconfigid", "mrowner", "mrownerconfig")


def recognises(data: bytes) -> bool:
    """Tell whether bytes are a quote."""
    return looks_so(data)


def claims(evidence: Quote) -> Mapping[str, Any]:
    """Return what a quote says, fit for JSON."""
    from sequester.evidence.tdx.show import claims as told

    return told(evidence)


def fields(evidence: Quote) -> Iterator[Field]:
    """Yield every field, without loss, in order."""
    from sequester.evidence.tdx.show import fields as told

    return told(evidence)


def appraise(evidence: Quote, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that a quote can be asked."""
    from sequester.evidence.event_log.replay import held_against
    from sequester.evidence.tdx.judging import judged
    from sequester.evidence.tdx.shelf import shelf_of, sort
    from sequester.evidence.tdx.signing import endorser, signed, unsigned_checks

    said = f"quote of version {evidence.version}"
    if evidence.trailing:
        said += f"; {evidence.trailing} bytes follow it that are no part of it"
    yield passed(criteria.FORM, said)
    if collateral.enclosed:
        shelf = sort(collateral.everything)
    else:
        shelf = shelf_of(collateral.documents, collateral.lookup)
    by = endorser(evidence.chain)
    yield from signed(evidence, by, shelf, collateral, policy, now)
    if by.platform is None:
        yield from unsigned_checks()
    else:
        yield from judged(evidence, by, shelf, collateral, policy, now)
    yield from asked.demanded(evidence, policy)
    registers = {name: evidence.body[name] for name in REGISTERS}
    yield from held_against(collateral.event_logs, registers, shelf.logs)


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return what the limitation of a plan asks of a quote: attributes, and the owner's values."""
    attributes: int = limitation.value("attributes")
    if not limitation.value("sept-ve-disable"):
        attributes &= ~(1 << 28)
    found: dict[str, Any] = {"attributes": attributes}
    return {**found, **{name: limitation.value(name) or bytes(48) for name in _OWNERS}}
