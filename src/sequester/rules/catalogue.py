"""All rules, in the order of their codes."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from sequester.errors import InputError
from sequester.findings.rule import Rule
from sequester.platforms.registry import platforms

CONCERNS = (
    "limitation",
    "memory",
    "virtio",
    "boot",
    "processor",
    "devices",
    "lifecycle",
    "security",
    "monitor",
    "running",
)
"""Modules of this package, each with a tuple `RULES`."""


@cache
def rules() -> tuple[Rule, ...]:
    """Return every rule: those of the concerns and those that a platform brings itself."""
    found: dict[str, Rule] = {}
    for concern in CONCERNS:
        for rule in import_module(f"sequester.rules.{concern}").RULES:
            found[rule.code] = rule
    for platform in platforms():
        for rule in platform.rules:
            found[rule.code] = rule
    return tuple(found[code] for code in sorted(found))


def rule(code: str) -> Rule:
    """Return one rule by its code. Raises InputError when there is none."""
    wanted = code.upper()
    for found in rules():
        if found.code == wanted:
            return found
    raise InputError(f"there is no rule {code}", code="rule.unknown", remedy="`sequester explain` lists all")
