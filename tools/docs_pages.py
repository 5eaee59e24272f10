"""Makes the pages that come from elsewhere: rules, criteria and platforms from the code, the tour from the README."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sequester.evidence.criteria import CRITERIA
from sequester.platforms.registry import platforms
from sequester.report.criterion import markdown as criterion_page
from sequester.report.page import markdown
from sequester.report.platforms import one_text
from sequester.rules.catalogue import rules


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    readme = (Path(config.config_file_path).parent / "README.md").read_text(encoding="utf-8")
    tour = readme.partition("## A tour in five minutes")[2].partition("\n## ")[0]
    files.append(File.generated(config, "tour.md", content=f"# A tour in five minutes\n{tour}"))
    table = ["# Rules", "", "| code | severity | rule |", "|---|---|---|"]
    for rule in rules():
        table.append(f"| [{rule.code}]({rule.code}.md) | {rule.severity.name.lower()} | {rule.title} |")
        files.append(File.generated(config, f"rules/{rule.code}.md", content=markdown(rule)))
    files.append(File.generated(config, "rules/index.md", content="\n".join(table) + "\n"))
    table = ["# What evidence is asked", "", "| code | what must hold |", "|---|---|"]
    for each in CRITERIA:
        table.append(f"| [{each.code}]({each.code}.md) | {each.title} |")
        files.append(File.generated(config, f"criteria/{each.code}.md", content=criterion_page(each)))
    files.append(File.generated(config, "criteria/index.md", content="\n".join(table) + "\n"))
    pages = ["# Platforms", *(f"## {p.title}\n\n```text\n{one_text(p)}```" for p in platforms())]
    files.append(File.generated(config, "platforms.md", content="\n\n".join(pages) + "\n"))
    return files
