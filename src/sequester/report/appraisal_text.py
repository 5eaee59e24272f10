"""Appraisals for people: the verdict, one line a check, and for a failed one what was expected and found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sequester.errors import printable
from sequester.evidence import criteria
from sequester.evidence.appraisal import Appraisal, Check, Criterion, Outcome
from sequester.report.style import Style, wrapped

_MARKS = {Outcome.PASSED: ("ok", "green"), Outcome.FAILED: ("NO", "red"), Outcome.SKIPPED: ("--", "dim")}
_WEIGHTY = {
    criteria.MEASUREMENT: "any guest (give --guest, or measurements in a policy)",
    criteria.REPORT_DATA: "evidence of any age (give --report-data)",
}
"""What is worth a note when it was not asked."""


def report(appraisals: Sequence[Appraisal], coloured: bool = False) -> str:
    """Return appraisals, and with several of them a closing line."""
    style = Style(coloured)
    lines = [line for appraisal in appraisals for line in _appraisal(appraisal, style)]
    if len(appraisals) > 1:
        accepted = sum(appraisal.accepted for appraisal in appraisals)
        lines.append(
            f"{len(appraisals)} pieces of evidence: {accepted} accepted, {len(appraisals) - accepted} refused"
        )
    return "\n".join(lines) + "\n"


def _appraisal(appraisal: Appraisal, style: Style) -> Iterator[str]:
    if not appraisal.accepted:
        verdict = style.paint("refused", "red", "bold")
    elif appraisal.simulated:
        verdict = style.paint("accepted, but simulated: this guest is not protected", "yellow", "bold")
    else:
        verdict = style.paint("accepted", "green", "bold")
    yield f"{style.paint(printable(appraisal.name), 'bold')}: {verdict} ({appraisal.kind})"
    for check in appraisal.checks:
        yield from _check(check, style)
    unasked = [text for criterion, text in _WEIGHTY.items() if _skipped(appraisal, criterion)]
    if appraisal.accepted and unasked:
        yield style.paint(wrapped(f"note: this policy accepts {' and '.join(unasked)}", "  "), "yellow")


def _skipped(appraisal: Appraisal, criterion: Criterion) -> bool:
    outcomes = {check.outcome for check in appraisal.checks if check.criterion is criterion}
    return outcomes == {Outcome.SKIPPED}


def _check(check: Check, style: Style) -> Iterator[str]:
    mark, colour = _MARKS[check.outcome]
    line = f"  {style.paint(mark, colour)}  {check.code}  {check.criterion.title}"
    if not check.failed:
        yield f"{line}: {style.paint(printable(check.found), 'dim')}" if check.found else line
        return
    yield line
    for name, value in (("found", check.found), ("expected", check.expected), ("where", check.where)):
        if value:
            yield f"             {name:<9} {printable(value)}"
    if check.remedy:
        yield wrapped(printable(f"→ {check.remedy}"), "             ")
