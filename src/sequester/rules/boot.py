"""SQ4xx: firmware, kernel and what measures them."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
