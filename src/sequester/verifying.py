"""Evidence, appraised: the story that `sequester verify` tells.

    from sequester.verifying import verify

    appraisal = verify(data, Policy(report_data=nonce), Collateral(documents), now)
    appraisal.accepted, [check for check in appraisal.checks if check.failed]

Nothing here reads a file, a clock or the network: all of it is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Appraisal, Check, Outcome, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import is_of
from sequester.evidence.policy import Policy
from sequester.evidence.recognise import Recognised, kinds, recognise

if TYPE_CHECKING:
    from sequester.evidence.kinds import Field
    from sequester.planning import Plan


def verify(
    data: bytes,
    policy: Policy,
    collateral: Collateral,
    now: datetime,
    name: str = "evidence",
    platform: str = "",
) -> Appraisal:
    """Appraise one piece of evidence at a time.

    Raises InputError for what is no evidence of a kind that is known. Evidence of a known kind that is malformed, or
    of another platform than the one that is asked for, is refused: an appraisal whose FORM or MEASUREMENT failed.
    """
    found = recognise(data, name)
    kind = found.kind
    if platform and not is_of(kind, platform):
        check = failed(
            criteria.MEASUREMENT, f"this is evidence of {kind.PLATFORM}", f"evidence of {platform}"
        )
        return Appraisal(name, kind.NAME, kind.PLATFORM, (check,))
    try:
        evidence = kind.parse(found.data, name)
    except InputError as error:
        return Appraisal(name, kind.NAME, kind.PLATFORM, (_malformed(error, name),))
    own = collateral.with_enclosed(found.documents, found.event_logs)
    checks = (*kind.appraise(evidence, own, policy, now), *found.checks)
    if found.nonce is not None:
        # The evidence's own field has what binds the key that signed the nonce.
        checks = (
            *(each for each in checks if each.criterion is not criteria.REPORT_DATA),
            _nonce(found.nonce, policy),
        )
    return Appraisal(name, kind.NAME, kind.PLATFORM, checks, kind.claims(evidence), _simulated(checks))


def shown(data: bytes, name: str = "evidence") -> tuple[Recognised, Iterator[Field]]:
    """Return what evidence is, and every field of it, without loss.

    Raises InputError for what no kind knows, or what is malformed.
    """
    found = recognise(data, name)
    return found, found.kind.fields(found.kind.parse(found.data, name))


def policy_of_plan(plan: Plan, policy: Policy) -> Policy:
    """Return a policy that also asks for what a plan would start: its measurement, and what its limitation says.

    What the policy itself says of the same thing stays. Raises InputError where the measurement cannot be known.
    """
    from sequester.measuring import measure

    platform = own = plan.limitation.name
    values = {each.name: each.value for each in measure(plan).registers if each.value is not None}
    measurements: dict[str, tuple[bytes, ...]] = {}
    demands: dict[str, Any] = {}
    for kind in kinds():
        if not is_of(kind, platform):
            continue
        own = kind.PLATFORM
        measurements |= {
            name: (values[measured],) for name, measured in kind.REGISTERS.items() if measured in values
        }
        demands |= kind.demands(plan.limitation.completed(plan.case.host))
    if not measurements:
        raise InputError(
            f"evidence of {plan.limitation.title} cannot be held against a plan",
            code="verify.plan",
            where=plan.document.name,
        )
    return replace(
        policy,
        measurements={**measurements, **policy.measurements},
        platforms={**policy.platforms, own: {**demands, **policy.of(own)}},
    )


def _nonce(found: bytes, policy: Policy) -> Check:
    if policy.report_data is None:
        return skipped(criteria.REPORT_DATA, "the policy has no report-data: this may be old evidence")
    if found.rstrip(b"\0") != policy.report_data.rstrip(b"\0"):
        return failed(criteria.REPORT_DATA, found.hex(), policy.report_data.hex(), "the vTPM's quote")
    return passed(criteria.REPORT_DATA, f"{found.hex()[:16]}…", "the vTPM's quote")


def _malformed(error: InputError, name: str) -> Check:
    where = error.where.removeprefix(name).removeprefix(": ")
    return failed(criteria.FORM, f"{error.what}{f': {error.why}' if error.why else ''}", where=where)


def _simulated(checks: tuple[Check, ...]) -> bool:
    """Tell whether the chain ended at a simulated root, which was refused, or accepted because the policy says so."""
    chain = told = None
    for check in checks:
        if check.criterion is criteria.SIMULATED:
            told = check.outcome
        elif check.criterion is criteria.CHAIN:
            chain = check.outcome
    return told is Outcome.FAILED or (told is Outcome.SKIPPED and chain is Outcome.PASSED)
