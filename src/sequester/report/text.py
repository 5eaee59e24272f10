"""Findings and plans for people: short, by place, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sequester.errors import printable
from sequester.findings.rule import Finding, Severity
from sequester.report.style import Style, wrapped

if TYPE_CHECKING:
    from sequester.planning import Plan

Checked = Sequence[tuple[str, Sequence[Finding]]]
"""What was checked: (name of the document, its findings)."""

_COLOURS = {Severity.ERROR: ("red", "bold"), Severity.WARNING: ("yellow",), Severity.NOTE: ("cyan",)}


def report(checked: Checked, coloured: bool = False) -> str:
    """Return findings, one paragraph each, and a closing line."""
    style = Style(coloured)
    lines = [
        line for name, findings in checked for finding in findings for line in _finding(name, finding, style)
    ]
    return "\n".join([*lines, _summary(checked, style)]) + "\n"


def plan_report(plan: Plan, lost: Sequence[str], coloured: bool = False) -> str:
    """Return what a plan changed, what it could not mend, and what the format could not say."""
    style = Style(coloured)
    name = plan.document.name
    lines = [style.paint(printable(f"{name}: {plan.limitation.title}"), "bold")]
    if plan.chosen:
        lines.append(f"  + limitation {plan.limitation.name}")
    lines += [f"  + {a.rule.code}  {printable(a.breach.change or a.breach.found)}" for a in plan.applied]
    if not plan.changes:
        lines.append("  nothing had to be changed")
    for finding in plan.findings:
        lines += _finding(name, finding, style)
    lines += [style.paint(f"  not carried over: {printable(what)}", "yellow") for what in lost]
    if plan.refused:
        lines.append(
            style.paint("refused: this guest would not start, or would start unprotected", "red", "bold")
        )
    return "\n".join(lines) + "\n"


def place(name: str, finding: Finding) -> str:
    """Return where a finding is: the document, and the line where there is one."""
    line = finding.part.line if finding.part is not None else 0
    return f"{name}:{line}" if line else name


def _finding(name: str, finding: Finding, style: Style) -> Iterator[str]:
    word = style.paint(finding.severity.name.lower(), *_COLOURS[finding.severity])
    label = finding.part.label() if finding.part is not None and finding.part.type else ""
    of = f"{label}: " if label and label not in finding.found else ""
    where = style.paint(printable(place(name, finding)), "bold")
    yield f"{where}: {word} {finding.code}: {printable(of + finding.found)}"
    if finding.remedy:
        yield wrapped(printable(f"→ {finding.remedy}"), "    ")


def _summary(checked: Checked, style: Style) -> str:
    counts = dict.fromkeys(sorted(Severity, reverse=True), 0)
    for _, findings in checked:
        for finding in findings:
            counts[finding.severity] += 1
    guests = f"{len(checked)} guest{'' if len(checked) == 1 else 's'} checked"
    said = [
        style.paint(f"{count} {severity.name.lower()}{'' if count == 1 else 's'}", *_COLOURS[severity])
        for severity, count in counts.items()
        if count
    ]
    return f"{guests}: {', '.join(said) if said else style.paint('nothing found', 'green')}"
