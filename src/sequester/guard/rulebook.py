"""Decides on each command of a monitor, from the limits of the guest's platform. No input or output here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from sequester.findings.case import Version
from sequester.guard import human, plugging
from sequester.guard.commands import HARMLESS, HARMLESS_OBJECTS, QUESTION
from sequester.guard.verdict import ALLOW, Refuse, Verdict
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest, complete
from sequester.guest.part import Part
from sequester.platforms.limitation import Engagement, HostTrustLimitation, MigrationBlock
from sequester.rules.catalogue import rule
from sequester.rules.monitor import MONITOR_RULES
from sequester.rules.monitor_rule import MonitorRule, Situation

HUMAN = "human-monitor-command"
_NOT_HARMLESS, _NOT_JUDGED = "SQ915", "SQ916"

Unknown = Literal["allow", "refuse"]


@dataclass(frozen=True, eq=False)
class Rulebook:
    """The rules for one guest's monitor.

    `guest` is a `plugging.model` of it, `version` that of its QEMU, `identity` the id of its protection object ('' in
    a simulation). `unknown` says what becomes of commands that neither a rule nor the list of harmless ones names.
    """

    limitation: HostTrustLimitation
    guest: Guest
    version: Version
    identity: str = ""
    unknown: Unknown = "refuse"
    _situations: tuple[Situation, Situation] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = tuple(
            Situation(self.limitation, self.version, self.identity, engaged) for engaged in (False, True)
        )
        object.__setattr__(self, "_situations", made)

    @property
    def asks_for_switchover(self) -> bool:
        """Tell whether what binds depends on a switchover that QEMU can be asked about.

        It can where a migration blocker comes with the switchover (s390: `query-migrate` tells it, QEMU 6.0). Where
        nothing in QEMU tells (PEF: the ultravisor and KVM alone know), every rule binds from the start.
        """
        return (
            self.limitation.engages is Engagement.AT_SWITCHOVER
            and self.limitation.demands.migration_blocked is MigrationBlock.FROM_SWITCHOVER
            and self.version >= (6, 0)
        )

    def decide(self, command: str, arguments: Mapping[str, Any], engaged: bool = True) -> Verdict:
        """Decide on one QMP command; `engaged` tells whether the limitation binds now."""
        if command in self._free:
            return ALLOW
        if command == HUMAN:
            return self._human(arguments, engaged)
        situation = self._situations[engaged]
        for candidate in self._by_command.get(command, ()):
            if found := candidate.found(arguments, situation):
                return Refuse(candidate, command, found)
        if command in plugging.IMPLIED_KEY:
            kind = arguments.get("qom-type")
            if isinstance(kind, str) and kind not in HARMLESS_OBJECTS and self.unknown == "refuse":
                return Refuse(rule(_NOT_JUDGED), command, f"nobody has judged objects of type '{kind[:60]}'")
            return plugging.judge(command, arguments, self.guest, self.limitation, self.version)
        return ALLOW if self._known(command) else Refuse(rule(_NOT_JUDGED), command, "nobody has judged it")

    def _human(self, arguments: Mapping[str, Any], engaged: bool) -> Verdict:
        line = arguments.get("command-line")
        if not isinstance(line, str):
            return ALLOW  # QEMU has its own words for this
        name = human.name_of(line)
        candidates = [candidate for candidate in MONITOR_RULES if name in candidate.human]
        for candidate in candidates:
            if found := candidate.found(arguments, self._situations[engaged]):
                return Refuse(candidate, f"'{name}'", found)
        if candidates or human.is_harmless(name) or (self.unknown == "allow" and name not in _IN_QMP):
            return ALLOW
        return Refuse(rule(_NOT_HARMLESS), f"'{name[:60]}'", "it is not on the list of harmless commands")

    def _known(self, command: str) -> bool:
        return (
            self.unknown == "allow"
            or command in HARMLESS
            or command in self._by_command
            or command.startswith(QUESTION)
        )

    @cached_property
    def _by_command(self) -> Mapping[str, tuple[MonitorRule, ...]]:
        limits = int(self.limitation.limits)
        found: dict[str, tuple[MonitorRule, ...]] = {}
        for candidate in MONITOR_RULES:
            if candidate.limits & limits == candidate.limits:
                for command in candidate.commands:
                    found[command] = (*found.get(command, ()), candidate)
        return found

    @cached_property
    def _free(self) -> frozenset[str]:
        """Harmless commands about which nothing has to be looked at: the short way for almost all there are."""
        return HARMLESS - frozenset(self._by_command) - frozenset(plugging.IMPLIED_KEY)


_IN_QMP = frozenset({"device_add", "object_add", "object_del", "qom-set"})
"""Commands of the human monitor whose arguments are judged in QMP only."""


def running_guest(
    arch: str, machine: str, kind: str, identity: str, properties: Mapping[str, Any] | None = None
) -> Guest:
    """Return the model of a guest of which only this is known: its machine type, and its protection object's type,
    id and properties."""
    parts = [
        Part("machine", machine, {LIMITATION_PROPERTIES[0]: identity}, 0),
        Part("object", kind, {"id": identity, **(properties or {})}, 1, identity),
    ]
    return complete(arch, "", parts)


def rulebook(
    guest: Guest, limitation: HostTrustLimitation, version: Version, unknown: Unknown = "refuse"
) -> Rulebook:
    """Return the rules for a guest as it was planned or found."""
    part = guest.limitation
    return Rulebook(limitation, plugging.model(guest), version, part.id if part else "", unknown)
