"""SQ2xx: memory: merging, pinning, backends, discarding, dumps."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
