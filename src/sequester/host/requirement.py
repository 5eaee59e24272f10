"""What a platform needs of a host: requirements as data, judged in order against the facts.

A check is a pure function from facts to a verdict. It answers *unknown* where the record cannot tell, with
what would. `first_of` joins several sources of evidence for one requirement: the firmware's own register needs
root, the kernel's log may be closed, but a module parameter that only stays on when all went well is open to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sequester.host.printable import shown

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts

LINE = 1000
"""Characters in a line of an outcome at most."""


class State(Enum):
    """Whether a requirement is met; UNKNOWN where the record does not tell."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    `read`: what was read and where, one line. `why`: the cause, where it is narrower than the requirement's
    own reason. `remedy`: what would mend it, or for UNKNOWN what would tell.
    """

    state: State
    read: str
    why: str = ""
    remedy: str = ""


Check = Callable[["HostFacts"], Verdict]
Advice = Callable[["HostFacts"], str]
"""Advice that depends on the host, such as the names of settings in its vendor's firmware."""


def passed(read: str) -> Verdict:
    """Return a verdict that the requirement is met."""
    return Verdict(State.PASSED, read)


def failed(read: str, why: str = "", remedy: str = "") -> Verdict:
    """Return a verdict that the requirement is not met."""
    return Verdict(State.FAILED, read, why, remedy)


def unknown(read: str, why: str = "", remedy: str = "") -> Verdict:
    """Return a verdict that the record does not tell."""
    return Verdict(State.UNKNOWN, read, why, remedy)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a platform needs.

    `name` is stable and short (``snp-rmp``), `title` what a person calls it. `why`: what it is for, shown
    when it is not met. `remedy`: what mends it, a text or a function of the facts; a verdict's own
    remedy stands in its place, because it knows the case. `after`: names of requirements
    that this one follows from, so that a report can show the root of a row of failures. `needed`: false for
    what only helps (it never makes a host unfit). `root_would_tell`: where the answer is unknown, what root
    would add; '' where root would not.
    """

    name: str
    title: str
    check: Check
    why: str = ""
    remedy: str | Advice = ""
    after: tuple[str, ...] = ()
    needed: bool = True
    root_would_tell: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A requirement as judged: its state, what was read, and for all but PASSED why it matters and what mends it.

    `after_failed`: those of `requirement.after` that failed. With any, this is most likely their consequence.
    """

    requirement: Requirement
    state: State
    read: str
    why: str = ""
    remedy: str = ""
    after_failed: tuple[str, ...] = ()


def evaluate(requirements: Iterable[Requirement], facts: HostFacts) -> tuple[Outcome, ...]:
    """Judge requirements in order. Every one is evaluated, whatever became of those it follows from.

    What ends up in outcomes is printable, whatever is in the record.
    """
    verdicts = [(requirement, requirement.check(facts)) for requirement in requirements]
    failures = {requirement.name for requirement, verdict in verdicts if verdict.state is State.FAILED}
    outcomes: list[Outcome] = []
    for requirement, verdict in verdicts:
        if verdict.state is State.PASSED:
            outcomes.append(Outcome(requirement, verdict.state, shown(verdict.read, LINE)))
            continue
        after = tuple(name for name in requirement.after if name in failures)
        lines = (verdict.read, _joined(verdict.why, requirement.why), _remedy(requirement, verdict, facts))
        read, why, remedy = (shown(line, LINE) for line in lines)
        outcomes.append(Outcome(requirement, verdict.state, read, why, remedy, after))
    return tuple(outcomes)


def conclude(outcomes: Iterable[Outcome]) -> State:
    """Return whether the host is fit: FAILED with any needed requirement failed, else UNKNOWN with any unknown."""
    states = {outcome.state for outcome in outcomes if outcome.requirement.needed}
    return next((state for state in (State.FAILED, State.UNKNOWN) if state in states), State.PASSED)


def roots(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Return the failures that no earlier failure explains: what to mend first."""
    failures = (
        outcome for outcome in outcomes if outcome.state is State.FAILED and outcome.requirement.needed
    )
    return tuple(outcome for outcome in failures if not outcome.after_failed)


def first_of(*checks: Check) -> Check:
    """Return the check whose verdict is the first that tells; UNKNOWN, with all that was read, if none does."""

    def check(facts: HostFacts) -> Verdict:
        verdicts: list[Verdict] = []
        for one in checks:
            verdict = one(facts)
            if verdict.state is not State.UNKNOWN:
                return verdict
            verdicts.append(verdict)
        reads = dict.fromkeys(verdict.read for verdict in verdicts if verdict.read)
        whys = dict.fromkeys(verdict.why for verdict in verdicts if verdict.why)
        remedies = dict.fromkeys(verdict.remedy for verdict in verdicts if verdict.remedy)
        return unknown("; ".join(reads), "; ".join(whys), "; or ".join(remedies))

    return check


def all_of(*checks: Check) -> Check:
    """Return the check that passes when all do; the first FAILED tells, else the first UNKNOWN."""

    def check(facts: HostFacts) -> Verdict:
        verdicts = [one(facts) for one in checks]
        for state in (State.FAILED, State.UNKNOWN):
            for verdict in verdicts:
                if verdict.state is state:
                    return verdict
        return passed("; ".join(verdict.read for verdict in verdicts))

    return check


def when(condition: Check, check: Check) -> Check:
    """Return the check for hosts that pass a condition; of others it says nothing."""

    def conditional(facts: HostFacts) -> Verdict:
        return check(facts) if condition(facts).state is State.PASSED else unknown("")

    return conditional


def proves(check: Check) -> Check:
    """Return the check as evidence of one kind only: where it passes it tells, where it does not it says nothing.

    For what follows from success further on: KVM offers a VM type only when firmware and kernel did their part.
    """

    def positive(facts: HostFacts) -> Verdict:
        verdict = check(facts)
        return verdict if verdict.state is State.PASSED else unknown("")

    return positive


def disproves(check: Check) -> Check:
    """Return the check as evidence of one kind only: where it fails it tells, where it does not it says nothing."""

    def negative(facts: HostFacts) -> Verdict:
        verdict = check(facts)
        return verdict if verdict.state is State.FAILED else unknown("")

    return negative


def firmware_setup(usual: str, vendors: Mapping[str, str] | None = None) -> Advice:
    """Return advice on the machine's firmware setup (BIOS) in the words of its vendor.

    `usual` are the names in the processor vendor's reference firmware, `vendors` others by the beginning of
    the DMI system vendor's name.
    """

    def advice(facts: HostFacts) -> str:
        vendor = facts.machine_vendor
        words = next((text for name, text in (vendors or {}).items() if vendor.startswith(name)), usual)
        product = facts.file("/sys/class/dmi/id/product_name").text or ""
        version = facts.file("/sys/class/dmi/id/bios_version").text or ""
        about = " ".join(part for part in (vendor, product, f"BIOS {version}" if version else "") if part)
        return f"in the firmware's setup{f' ({shown(about)})' if about else ''}: {words}"

    return advice


def _joined(*parts: str) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))


def _remedy(requirement: Requirement, verdict: Verdict, facts: HostFacts) -> str:
    if verdict.state is State.UNKNOWN:
        told = requirement.root_would_tell and not facts.is_root
        return _joined(verdict.remedy, f"as root: {requirement.root_would_tell}" if told else "")
    own = requirement.remedy if isinstance(requirement.remedy, str) else requirement.remedy(facts)
    return verdict.remedy or own
