"""A criterion's page: what is asked of evidence, why, and what to do when the answer is wrong."""

from __future__ import annotations

from sequester.evidence.appraisal import Criterion
from sequester.report.style import Style, wrapped


def page(criterion: Criterion, coloured: bool = False) -> str:
    """Return a criterion's page for a terminal."""
    style = Style(coloured)
    parts = [f"{style.paint(criterion.code, 'bold')}: {style.paint(criterion.title, 'bold')}"]
    parts += [f"{style.paint(head, 'cyan')}\n{wrapped(text, '  ')}" for head, text in _sections(criterion)]
    if criterion.references:
        parts.append(
            "\n".join([style.paint("References", "cyan"), *(f"  {each}" for each in criterion.references)])
        )
    return "\n\n".join(parts) + "\n"


def markdown(criterion: Criterion) -> str:
    """Return a criterion's page as Markdown."""
    parts = [f"# {criterion.code}: {criterion.title}"]
    parts += [f"## {head}\n\n{text}" for head, text in _sections(criterion)]
    if criterion.references:
        parts.append("## References\n\n" + "\n".join(f"- {each}" for each in criterion.references))
    return "\n\n".join(parts) + "\n"


def told_of(criterion: Criterion) -> dict[str, object]:
    """Return a criterion as JSON holds it."""
    return {
        "code": criterion.code,
        "title": criterion.title,
        "why": criterion.why,
        "remedy": criterion.remedy,
        "references": list(criterion.references),
    }


def _sections(criterion: Criterion) -> tuple[tuple[str, str], ...]:
    told = (("Why it is asked", criterion.why), ("What to do", criterion.remedy))
    return tuple((head, text) for head, text in told if text)
