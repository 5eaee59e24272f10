"""What an appraisal is made of: criteria, the checks of one piece of evidence against them, and the verdict.

A criterion is one question with a stable code, the same for every platform; a check is its answer for one piece of
evidence. What was not checked is an answer too: nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    """How a check came out."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not asked for by the policy, or not possible for this evidence; `Check.found` says why."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question that evidence has to answer.

    `why` is the reason to ask, `remedy` where to look when the answer is wrong, `references` the manuals.
    """

    code: str
    title: str
    why: str
    remedy: str = ""
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one criterion: what was expected, what was found, where in the evidence (field and offset)."""

    criterion: Criterion
    outcome: Outcome
    found: str = ""
    expected: str = ""
    where: str = ""
    remedy: str = ""

    @property
    def code(self) -> str:
        """The criterion's stable code."""
        return self.criterion.code

    @property
    def failed(self) -> bool:
        """Tell whether this alone makes the evidence unacceptable."""
        return self.outcome is Outcome.FAILED


@dataclass(frozen=True, slots=True)
class Appraisal:
    """One piece of evidence with every check of it.

    `kind` is that of `sequester.evidence.kinds`, `platform` our name of it, `claims` what the evidence says, fit for
    JSON; `simulated` is true for a chain that ends at a simulated root.
    """

    name: str
    kind: str
    platform: str
    checks: tuple[Check, ...]
    claims: Mapping[str, Any] = field(default_factory=dict)
    simulated: bool = False

    @property
    def accepted(self) -> bool:
        """Tell whether every check passed or did not apply, and at least one passed."""
        passed = any(check.outcome is Outcome.PASSED for check in self.checks)
        return passed and not any(check.failed for check in self.checks)


def passed(criterion: Criterion, found: str = "", where: str = "") -> Check:
    """Return a check that came out right."""
    return Check(criterion, Outcome.PASSED, found, where=where)


def failed(criterion: Criterion, found: str, expected: str = "", where: str = "", remedy: str = "") -> Check:
    """Return a check that came out wrong."""
    return Check(criterion, Outcome.FAILED, found, expected, where, remedy or criterion.remedy)


def skipped(criterion: Criterion, why: str) -> Check:
    """Return a check that was not made, and why."""
    return Check(criterion, Outcome.SKIPPED, why)
