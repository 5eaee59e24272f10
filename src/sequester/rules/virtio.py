"""SQ3xx: virtio: every device must reach guest memory through the guest's own say."""

from __future__ import annotations

from sequester.findings.rule import Rule

RULES: tuple[Rule, ...] = ()
