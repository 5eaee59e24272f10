"""One rule's page: what, why, what really happens, what to do. For `explain` and for the documentation."""

from __future__ import annotations

from sequester.findings.rule import Rule
from sequester.report.style import Style, wrapped


def page(rule: Rule, coloured: bool = False) -> str:
    """Return a rule's page for a terminal."""
    style = Style(coloured)
    parts = [
        f"{style.paint(rule.code, 'bold')} ({rule.severity.name.lower()}): {style.paint(rule.title, 'bold')}"
    ]
    for head, text in _sections(rule):
        parts.append(f"{style.paint(head, 'cyan')}\n{wrapped(text, '  ')}")
    if rule.references:
        parts.append("\n".join([style.paint("References", "cyan"), *(f"  {ref}" for ref in rule.references)]))
    return "\n\n".join(parts) + "\n"


def markdown(rule: Rule) -> str:
    """Return a rule's page as Markdown."""
    parts = [f"# {rule.code}: {rule.title}", f"*Severity: {rule.severity.name.lower()}*"]
    parts += [f"## {head}\n\n{text}" for head, text in _sections(rule)]
    if rule.references:
        parts.append(
            "## References\n\n" + "\n".join(f"- {_linked(reference)}" for reference in rule.references)
        )
    return "\n\n".join(parts) + "\n"


def _sections(rule: Rule) -> tuple[tuple[str, str], ...]:
    return (("Why", rule.why), ("What really happens", rule.broken), ("What to do", rule.remedy))


def _linked(reference: str) -> str:
    return f"<{reference}>" if reference.startswith("https://") else reference
