"""Findings, plans and rules as JSON: stable and versioned."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sequester.findings.rule import Finding, Rule
from sequester.formats.sources import FORMATS
from sequester.guest.part import Part
from sequester.planning import Plan
from sequester.report.text import Checked

FINDINGS = "sequester-findings/1"
PLAN = "sequester-plan/1"
RULES = "sequester-rules/1"


def report(checked: Checked) -> str:
    """Return findings by guest (schema `FINDINGS`)."""
    guests = [
        {"guest": name, "findings": [finding_told(finding) for finding in found]} for name, found in checked
    ]
    return _text({"schema": FINDINGS, "guests": guests})


def plan_json(plan: Plan) -> str:
    """Return a plan (schema `PLAN`): its changes, what remains, and QEMU's argument vector."""
    argv, lost = plan.argv()
    return _text(
        {
            "schema": PLAN,
            "guest": plan.document.name,
            "format": plan.document.format,
            "limitation": {
                "platform": plan.limitation.name,
                "object": plan.limitation.object_type,
                "properties": dict(plan.limitation.completed(plan.case.host).object_properties()),
            },
            "refused": plan.refused,
            "changes": [
                {
                    "rule": a.rule.code,
                    "where": _where(a.breach.part),
                    "change": a.breach.change,
                    "why": a.breach.found,
                }
                for a in plan.applied
            ],
            "findings": [finding_told(finding) for finding in plan.findings],
            "argv": argv,
            "not_carried_over": list(lost),
            "formats": [form for form in FORMATS if form != "xml" or plan.limitation.libvirt is not None],
        }
    )


def rules_json(rules: Iterable[Rule]) -> str:
    """Return rules with their texts (schema `RULES`)."""
    told = [
        {
            "code": rule.code,
            "title": rule.title,
            "severity": rule.severity.name.lower(),
            "why": rule.why,
            "broken": rule.broken,
            "remedy": rule.remedy,
            "references": list(rule.references),
        }
        for rule in rules
    ]
    return _text({"schema": RULES, "rules": told})


def finding_told(finding: Finding) -> dict[str, Any]:
    """Return one finding as JSON holds it."""
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "title": finding.rule.title,
        "found": finding.found,
        "where": _where(finding.part),
        "remedy": finding.remedy,
        "change": finding.change or None,
        "fixable": finding.fixable,
    }


def _where(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "line": part.line or None,
        "part": part.label(),
        "id": part.id or None,
        "text": part.spelled or None,
    }


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2) + "\n"
