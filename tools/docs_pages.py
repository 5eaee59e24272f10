"""Makes the pages that come from the code: one a rule, and the platforms."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sequester.platforms.registry import platforms
from sequester.report.page import markdown
from sequester.report.platforms import one_text
from sequester.rules.catalogue import rules


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    table = ["# Rules", "", "| code | severity | rule |", "|---|---|---|"]
    for rule in rules():
        table.append(f"| [{rule.code}]({rule.code}.md) | {rule.severity.name.lower()} | {rule.title} |")
        files.append(File.generated(config, f"rules/{rule.code}.md", content=markdown(rule)))
    files.append(File.generated(config, "rules/index.md", content="\n".join(table) + "\n"))
    pages = ["# Platforms", *(f"## {p.title}\n\n```text\n{one_text(p)}```" for p in platforms())]
    files.append(File.generated(config, "platforms.md", content="\n\n".join(pages) + "\n"))
    return files
