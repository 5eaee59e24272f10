"""A rule of the monitor: which commands of a running QEMU a limited guest is kept from, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sequester.findings.case import Case, Version
from sequester.findings.rule import Breach, Rule
from sequester.platforms.limitation import HostTrustLimitation


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What a rule of the monitor may look at beside the command.

    `version` is QEMU's; `identity` the id of the protection object, '' where there is none (a simulation); `engaged`
    tells whether the limitation binds now.
    """

    limitation: HostTrustLimitation
    version: Version
    identity: str = ""
    engaged: bool = True


Look = Callable[[Mapping[str, Any], Situation], str]
"""Arguments of a command in, what is wrong with it out; '' where nothing is."""


def _nowhere(_case: Case) -> Iterator[Breach]:
    """A guest that does not run yet has no monitor that anybody could have asked."""
    return iter(())


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MonitorRule(Rule):
    """A rule on commands.

    `commands` are QMP's names, `human` those of the human monitor (``info registers`` is one). `look` says what is
    wrong with one call; without it every call is. A rule with `from_start` binds before a guest has switched over too,
    because what the command does outlives that moment.
    """

    find: Callable[[Case], Iterator[Breach]] = _nowhere
    commands: tuple[str, ...] = ()
    human: tuple[str, ...] = ()
    look: Look | None = None
    from_start: bool = False

    def found(self, arguments: Mapping[str, Any], situation: Situation) -> str:
        """Return what is wrong with one of its commands, '' where nothing is."""
        if not (situation.engaged or self.from_start):
            return ""
        if self.look is None:
            return self.title[0].lower() + self.title[1:]
        return self.look(arguments, situation)
