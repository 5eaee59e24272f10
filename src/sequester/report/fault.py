"""What an error text means, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sequester.faults.fault import Explanation
from sequester.report.style import Style, wrapped

SCHEMA = "sequester-explanations/1"


def as_text(found: Sequence[Explanation], coloured: bool = False) -> str:
    """Return explanations for a person, the most telling first."""
    style = Style(coloured)
    return "\n".join(line for explanation in found for line in _one(explanation, style))


def faults_json(found: Sequence[Explanation]) -> str:
    """Return explanations as JSON (schema `SCHEMA`)."""
    told = [
        {
            "code": explanation.code,
            "known": explanation.known,
            "title": explanation.title,
            "origin": explanation.origin,
            "line": explanation.line,
            "quote": explanation.quote,
            "meaning": explanation.meaning,
            "details": dict(explanation.details),
            "remedy": list(explanation.remedy),
            "rule": explanation.rule or None,
            "sources": list(explanation.sources),
            "nearest": [{"code": near.code, "title": near.title} for near in explanation.nearest],
        }
        for explanation in found
    ]
    return json.dumps({"schema": SCHEMA, "explanations": told}, indent=2) + "\n"


def _one(explanation: Explanation, style: Style) -> Iterator[str]:
    origin = f" [{explanation.origin}]" if explanation.origin else ""
    yield f"{style.paint(explanation.title, 'bold')}{origin}"
    if explanation.quote:
        place = f"line {explanation.line}: " if explanation.line > 1 else ""
        yield style.paint(f"  {place}{explanation.quote}", "dim")
    yield wrapped(explanation.meaning, "  ")
    for name, value in explanation.details:
        yield f"  {name}: {value}"
    for step in explanation.remedy:
        yield wrapped(f"→ {step}", "  ")
    if explanation.rule:
        yield f"  see also: sequester explain {explanation.rule}"
    for near in explanation.nearest:
        yield f"  nearest: {near.title} ({near.code})"
    if explanation.sources:
        yield style.paint(f"  {explanation.code}; {'; '.join(explanation.sources)}", "dim")
    yield ""
