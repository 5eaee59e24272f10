"""A rule: one consequence of the trust limitation, told once, checked and applied from one definition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from sequester.guest.change import Change
from sequester.guest.part import Part

if TYPE_CHECKING:
    from sequester.findings.case import Case


class Severity(IntEnum):
    """How bad a breach is. Notes never make a check fail."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True, eq=False)
class Breach:
    """One place where a rule does not hold.

    `part` is where (None: the guest as a whole), `found` one line of what is there, `fix` the changes that
    make the rule hold, empty where nothing safe can be done. `change` says in a few words what the fix does
    (``mem-merge=off``). `severity` and `remedy` take the place of the rule's own in this case.
    """

    found: str
    part: Part | None = None
    fix: tuple[Change, ...] = ()
    change: str = ""
    severity: Severity | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One consequence.

    `find` yields the breaches in a case: *check* reports them, *apply* carries out their fixes and reports
    what remains. It is called only when the guest's platform has all of `limits` (bits of
    `platforms.limitation.Limits`; 0 for any platform), and for a guest with no limitation only when
    `unlimited` is true.

    `why` is the reason, `broken` what really happens when the rule is broken, with the versions on which that
    was tried, `remedy` what to do, `references` where to read on. They make the rule's page.
    """

    code: str
    title: str
    severity: Severity
    find: Callable[[Case], Iterable[Breach]]
    why: str
    broken: str
    remedy: str
    references: tuple[str, ...] = ()
    limits: int = 0
    unlimited: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """A breach as it is reported: the rule, the place and what was found there, and the changes that would mend it."""

    rule: Rule
    severity: Severity
    found: str
    part: Part | None = None
    remedy: str = ""
    fixable: bool = False
    change: str = ""
    fix: tuple[Change, ...] = ()

    @property
    def code(self) -> str:
        """The rule's stable code."""
        return self.rule.code
