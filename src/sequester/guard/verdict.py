"""What is decided about one command: it passes, it passes with other arguments, or it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sequester.findings.rule import Rule


@dataclass(frozen=True, slots=True)
class Allow:
    """The command goes to QEMU as it came. `notes` are findings that did not stop it, code first."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Amend:
    """The command goes to QEMU with these arguments. `changes` tells each change with its rule's code."""

    arguments: Mapping[str, Any]
    changes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Refuse:
    """The command does not reach QEMU. `found` is what is wrong with it."""

    rule: Rule
    command: str
    found: str
    remedy: str = ""

    @property
    def code(self) -> str:
        """The rule's code."""
        return self.rule.code

    @property
    def description(self) -> str:
        """The error's text for the client: one line that names the rule, the reason and what to do."""
        why = self.rule.why.rstrip(".")
        return f"{self.code}: {self.command} refused: {self.found}. {why} ({self.remedy or self.rule.remedy})"


ALLOW = Allow()

Verdict = Allow | Amend | Refuse
