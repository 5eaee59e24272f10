"""SQ6xx: devices that reach guest memory behind QEMU's back."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
