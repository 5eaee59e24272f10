"""Findings as SARIF 2.1.0, which code hosts and editors show beside the lines they are about.

Source: OASIS SARIF 2.1.0 (errata 01); what GitHub's code scanning and others make of it is more than the standard
asks for: rules with help in Markdown, a severity for sorting, fingerprints that outlive a change of lines.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sequester import __version__
from sequester.findings.rule import Finding, Rule, Severity
from sequester.formats.document import Document
from sequester.report.page import markdown
from sequester.report.text import Checked

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {Severity.NOTE: "note", Severity.WARNING: "warning", Severity.ERROR: "error"}
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
_LONGEST = 1000
_MOST_FIXES = 100
"""Findings of one document that get their fix worked out: each is an edit of the whole document."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Lines of a document, from `first` to before `behind` (from 1), and the text that would take their place."""

    first: int
    behind: int
    text: str


def replacements(document: Document, findings: Sequence[Finding]) -> dict[Finding, Replacement]:
    """Return what the fix of each finding would do to its document's lines.

    Findings whose fix the document's format cannot say in full are left out, and those of an argument vector.
    """
    found: dict[Finding, Replacement] = {}
    before = document.edited(()).text
    if not is_file(document.name):
        return found
    for finding in [finding for finding in findings if finding.fix][:_MOST_FIXES]:
        written = document.edited(finding.fix)
        if not written.lost and written.text != before:
            found[finding] = _replacement(_lines(before), _lines(written.text))
    return found


def report(checked: Checked, fixes: Mapping[Finding, Replacement] | None = None) -> str:
    """Return one SARIF log with one run: the rules that found something, and what they found where.

    `fixes` are the replacements that would mend findings, for those that have one.
    """
    rules = _rules(checked)
    index = {rule.code: i for i, rule in enumerate(rules)}
    results = [
        result for name, findings in checked for result in _results(name, findings, index, fixes or {})
    ]
    run = {
        "tool": {"driver": {**_driver(), "rules": [_rule(rule) for rule in rules]}},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": artifact(name)} for name, _ in checked if is_file(name)],
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": VERSION, "runs": [run]}, indent=2) + "\n"


def _driver() -> dict[str, Any]:
    return {
        "name": "sequester",
        "semanticVersion": __version__,
        "version": __version__,
    }


def _rules(checked: Checked) -> list[Rule]:
    found = {finding.code: finding.rule for _, findings in checked for finding in findings}
    return [found[code] for code in sorted(found)]


def _rule(rule: Rule) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": rule.code,
        "name": pascal(rule.title),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": cut(rule.why)},
        "help": {"text": cut(f"{rule.broken} {rule.remedy}"), "markdown": markdown(rule)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["security", "confidential-computing"], "precision": "very-high"},
    }
    link = next((reference for reference in rule.references if reference.startswith("https://")), None)
    if link is not None:
        told["helpUri"] = link
    return told


def _results(
    name: str, findings: Iterable[Finding], index: dict[str, int], fixes: Mapping[Finding, Replacement]
) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for finding in findings:
        stem = _fingerprint(name, finding)
        seen[stem] = seen.get(stem, 0) + 1
        yield {
            "ruleId": finding.code,
            "ruleIndex": index[finding.code],
            "level": _LEVELS[finding.severity],
            "message": {"text": _message(finding)},
            "locations": [_location(name, finding)],
            "partialFingerprints": {"finding/v1": f"{stem}:{seen[stem]}"},
            **({"fixes": [_fix(name, finding, fixes[finding])]} if finding in fixes else {}),
            **({"properties": {"change": finding.change}} if finding.change else {}),
        }


def _message(finding: Finding) -> str:
    text = finding.found
    if finding.part is not None and finding.part.type and (label := finding.part.label()) not in text:
        text = f"{label}: {text}"
    remedy = finding.remedy[:1].upper() + finding.remedy[1:]
    return cut(" ".join(f"{said.rstrip('.')}." for said in (text, remedy) if said))


def _location(name: str, finding: Finding) -> dict[str, Any]:
    part = finding.part
    found: dict[str, Any] = {}
    if is_file(name):
        found["physicalLocation"] = {"artifactLocation": artifact(name)}
        if part is not None and part.line:
            region: dict[str, Any] = {"startLine": part.line}
            if part.spelled:
                region["snippet"] = {"text": part.spelled}
            found["physicalLocation"]["region"] = region
    label = part.label() if part is not None else "guest"
    found["logicalLocations"] = [{"name": label, "fullyQualifiedName": f"{name}/{label}", "kind": "resource"}]
    return found


def _fix(name: str, finding: Finding, new: Replacement) -> dict[str, Any]:
    region = {"startLine": new.first, "startColumn": 1, "endLine": new.behind, "endColumn": 1}
    replacement: dict[str, Any] = {"deletedRegion": region}
    if new.text:
        replacement["insertedContent"] = {"text": new.text}
    change = {"artifactLocation": artifact(name), "replacements": [replacement]}
    return {
        "description": {"text": finding.change or finding.remedy or finding.found},
        "artifactChanges": [change],
    }


def _lines(text: str) -> list[str]:
    lines = [f"{line}\n" for line in text.split("\n")]
    return [*lines[:-1], lines[-1][:-1]] if lines[-1] != "\n" else lines[:-1]


def _replacement(old: list[str], new: list[str]) -> Replacement:
    shortest = min(len(old), len(new))
    start = 0
    while start < shortest and old[start] == new[start]:
        start += 1
    end = 0
    while end < shortest - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return Replacement(start + 1, len(old) - end + 1, "".join(new[start : len(new) - end]))


def _fingerprint(name: str, finding: Finding) -> str:
    """Return what tells a finding apart from others wherever its line moves: rule, document and part."""
    part = finding.part
    said = (
        finding.code,
        name,
        part.group if part else "",
        part.id if part else "",
        part.type if part else "",
    )
    return hashlib.sha256("\0".join(said).encode(errors="surrogateescape")).hexdigest()[:32]


def is_file(name: str) -> bool:
    """Tell whether a document is a file, and neither standard input, an argument vector nor a libvirt domain."""
    return not name.startswith(("<", "libvirt:"))


def artifact(name: str) -> dict[str, Any]:
    """Return where a file is, as a URI: relative for a relative path, so that a root can be put before it."""
    data = name.removeprefix("./").encode(errors="surrogateescape")
    path = "".join(chr(byte) if chr(byte) in _SAFE else f"%{byte:02X}" for byte in data)
    return {"uri": f"file://{path}" if name.startswith("/") else path}


def pascal(title: str) -> str:
    """Return a title as a rule's name."""
    words = re.findall(r"[A-Za-z0-9]+", title)
    return "".join(word[:1].upper() + word[1:] for word in words)[:120] or "Rule"


def cut(text: str) -> str:
    """Return text on one line, of a length that viewers show."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
