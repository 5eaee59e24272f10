"""SQ5xx: CPU model and features, vCPUs, interrupt controllers and timers."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
