"""What a host can do: every platform's requirements judged, and the objects that are ready to be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sequester.formats.argv_write import as_keyval
from sequester.guest.part import Part
from sequester.host.facts import HostFacts
from sequester.host.requirement import Outcome, State, conclude, evaluate, roots
from sequester.platforms.registry import Platform


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host can do with one platform.

    `state` FAILED means it cannot work here; UNKNOWN that nothing speaks against it but not all could be read.
    `outcomes` are its requirements in order, empty where the platform is of `another_arch` or no host can have
    it yet. `ready` is the object to give to QEMU, as ``-object`` takes it.
    """

    platform: Platform
    state: State
    outcomes: tuple[Outcome, ...] = ()
    another_arch: bool = False
    ready: str = ""

    @property
    def to_mend(self) -> tuple[Outcome, ...]:
        """The failures that no earlier one explains."""
        return roots(self.outcomes)


def probe(platforms: Sequence[Platform], facts: HostFacts) -> tuple[Answer, ...]:
    """Judge platforms against a host's facts, the ones of its own architecture first. Pure."""
    answers = [_answer(platform, facts) for platform in platforms]
    return tuple(sorted(answers, key=lambda answer: answer.another_arch))


def _answer(platform: Platform, facts: HostFacts) -> Answer:
    if facts.arch not in platform.architectures:
        return Answer(platform, State.FAILED, another_arch=True)
    outcomes = evaluate(platform.host_requirements(), facts)
    state = conclude(outcomes) if outcomes else State.FAILED
    ready = _ready(platform, facts) if state is not State.FAILED else ""
    return Answer(platform, state, outcomes, False, ready)


def _ready(platform: Platform, facts: HostFacts) -> str:
    properties = platform().completed(facts).object_properties()
    part = Part("object", platform.object_type, {"id": "htl0", **properties})
    return as_keyval(part, "object", "qom-type")
