"""What a rule is, what it finds, and the case it looks at. The rules themselves are in `sequester.rules`."""

from sequester.findings.case import Case, Firmware
from sequester.findings.rule import Breach, Finding, Rule, Severity

__all__ = ["Breach", "Case", "Finding", "Firmware", "Rule", "Severity"]
