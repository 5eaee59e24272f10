"""SQ7xx: starting from a stream, snapshots, migration, reboot."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
