"""SQ8xx: what weakens the protection although everything runs."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
