"""Runs the rules in both directions: *check* reports breaches, *apply* carries out their fixes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sequester.errors import InputError
from sequester.findings.case import Case
from sequester.findings.rule import Breach, Finding, Rule, Severity
from sequester.guest.change import Add, Change
from sequester.platforms.registry import resolve

ROUNDS = 6
"""A fix may make another rule apply; no sound set of rules needs more rounds than this to settle."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which rules count: codes or their beginnings, to select, to ignore, and to report as notes only."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    downgrade: tuple[str, ...] = ()

    def of(self, rules: Sequence[Rule]) -> tuple[Rule, ...]:
        """Return the rules that count. Raises InputError for a code that no rule begins with."""
        for wanted in (*self.select, *self.ignore, *self.downgrade):
            if not any(rule.code.startswith(wanted.upper()) for rule in rules):
                raise InputError(
                    f"no rule's code begins with '{wanted}'",
                    code="rule.unknown",
                    remedy="`sequester explain` lists all rules",
                )
        return tuple(
            rule
            for rule in rules
            if (not self.select or _begins(rule, self.select)) and not _begins(rule, self.ignore)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """One change that a rule made: which, where, and what it says."""

    rule: Rule
    breach: Breach

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes themselves."""
        return self.breach.fix


def check(case: Case, rules: Sequence[Rule], selection: Selection | None = None) -> tuple[Finding, ...]:
    """Return what does not hold in a case, in the order of the guest's parts, then of codes."""
    chosen = selection.of(rules) if selection else rules
    lowered = selection.downgrade if selection else ()
    found = [_finding(rule, breach, lowered) for rule, breach in breaches(case, chosen)]
    return tuple(sorted(found, key=_order))


def apply(case: Case, rules: Sequence[Rule]) -> tuple[Case, tuple[Applied, ...]]:
    """Carry out every fix until none is left; return the case with the changed guest, and what was done.

    Raises RuntimeError when two rules undo each other, which is a defect of the rules.
    """
    done: list[Applied] = []
    for _ in range(ROUNDS):
        wanted = [Applied(rule, breach) for rule, breach in breaches(case, rules) if breach.fix]
        if not wanted:
            return case, tuple(done)
        wanted = _numbered(wanted, case.guest.next_key)
        guest = case.guest.changed(change for applied in wanted for change in applied.changes)
        limitation = resolve(guest)
        case = replace(case, guest=guest, limitation=limitation if limitation else case.limitation)
        done += wanted
    raise RuntimeError(f"rules do not settle: {sorted({applied.rule.code for applied in wanted})}")


def _numbered(wanted: Sequence[Applied], key: int) -> list[Applied]:
    """Give the parts that fixes add keys of their own: each rule took the guest's next one, unaware of the others."""
    numbered = []
    for applied in wanted:
        keys: dict[int, int] = {}
        for change in applied.changes:
            if isinstance(change, Add):
                keys[change.part.key] = key
                key += 1
        if keys:
            fix = tuple(_renumbered(change, keys) for change in applied.changes)
            applied = replace(applied, breach=replace(applied.breach, fix=fix))
        numbered.append(applied)
    return numbered


def _renumbered(change: Change, keys: Mapping[int, int]) -> Change:
    if isinstance(change, Add):
        return Add(replace(change.part, key=keys[change.part.key]))
    return replace(change, key=keys.get(change.key, change.key))


def breaches(case: Case, rules: Iterable[Rule]) -> Iterator[tuple[Rule, Breach]]:
    """Yield every breach of the rules that concern this case."""
    limited = case.guest.limitation is not None or case.limitation is not None
    limits = int(case.limitation.limits) if case.limitation is not None else 0
    for rule in _concerning(tuple(rules), limited, limits):
        for breach in rule.find(case):
            yield rule, breach


@lru_cache(maxsize=32)
def _concerning(rules: tuple[Rule, ...], limited: bool, limits: int) -> tuple[Rule, ...]:
    return tuple(
        rule
        for rule in rules
        if (limited or rule.unlimited) and int(rule.limits) & limits == int(rule.limits)
    )


def _finding(rule: Rule, breach: Breach, lowered: tuple[str, ...]) -> Finding:
    severity = breach.severity or rule.severity
    if lowered and _begins(rule, lowered):
        severity = Severity.NOTE
    return Finding(
        rule,
        severity,
        breach.found,
        breach.part,
        breach.remedy or rule.remedy,
        bool(breach.fix),
        breach.change,
        breach.fix,
    )


def _order(finding: Finding) -> tuple[int, int, str]:
    part = finding.part
    return (part.line, part.key, finding.code) if part is not None else (0, -1, finding.code)


def _begins(rule: Rule, codes: tuple[str, ...]) -> bool:
    return any(rule.code.startswith(code.upper()) for code in codes)
