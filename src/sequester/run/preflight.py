"""Everything that would fail is said before QEMU starts: by the rules, by the host, and by QEMU's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sequester.errors import GuestError, HostError, InputError, RefusedError, SequesterError
from sequester.findings.rule import Severity

if TYPE_CHECKING:
    from sequester.guest.guest import Guest
    from sequester.host.facts import HostFacts
    from sequester.planning import Plan
    from sequester.platforms.limitation import HostTrustLimitation

_MONITORS = ("qmp", "qmp-pretty", "monitor", "mon")
_AWAY = ("daemonize", "pidfile", "incoming")
_QEMUS_WORDS = ("qemu.start", "qemu.ended", "qmp.error", "simulator.launch")


def ahead(plan: Plan, simulated: bool) -> tuple[str, ...]:
    """Return what whoever runs a plan should know; in a simulation also why the plan would be refused otherwise.

    Raises RefusedError for a plan that would not start or not protect, InputError for options that a run cannot have.
    """
    errors = [finding for finding in plan.findings if finding.severity >= Severity.ERROR]
    if errors and not simulated:
        first, more = errors[0], len(errors) - 1
        raise RefusedError(
            f"{first.code}: {first.found}" + (f", and {more} more" if more else ""),
            code="run.refused",
            where=plan.document.name,
            remedy=first.remedy or "`sequester plan` shows all of it",
        )
    for name in _AWAY:
        if plan.guest.has(name):
            raise InputError(
                f"a guest with -{name} cannot be followed",
                code="run.option",
                where=plan.document.name,
                remedy="leave the option out: `run` stays with the guest until it ends",
            )
    refused = [f"on hardware this is refused: {finding.code} {finding.found}" for finding in errors]
    return (*refused, *_around(plan.guest))


def _around(guest: Guest) -> list[str]:
    return [
        f"{part.label()} goes around the guard: who connects there is held to no rule"
        for part in guest.parts
        if part.group in _MONITORS and part.type != "none" and not part.implied
    ]


def demand(limitation: HostTrustLimitation, host: HostFacts) -> None:
    """Raise HostError, with every cause and what would mend it, where this host cannot run the platform."""
    from sequester.host.requirement import State
    from sequester.probing import probe

    (answer,) = probe((type(limitation),), host)
    if answer.state is not State.FAILED:
        return
    if answer.another_arch:
        why = f"it is one of {' and '.join(limitation.architectures)}, and this host is {host.arch}"
    else:
        causes = [f"{each.requirement.title}: {each.read}" for each in answer.to_mend]
        why = "; ".join(causes) or "no host can run it yet"
    mending = [each.remedy for each in answer.to_mend if each.remedy]
    raise HostError(
        f"this host cannot run a guest with {limitation.title}",
        code="host.unsupported",
        why=why,
        remedy="; ".join([*mending[:2], "`sequester probe` says more, --simulate tries it without"]),
    )


def explained(error: SequesterError, limitation: HostTrustLimitation) -> SequesterError:
    """Return an error that has QEMU's words in it with what they mean; any other as it is."""
    if error.code not in _QEMUS_WORDS or error.remedy or not error.why:
        return error
    from sequester.faults import catalog, explain

    found = explain(error.why, catalog((limitation.fault_table,) if limitation.fault_table else ()))
    known = next((each for each in found if each.known), None)
    if known is None:
        return error
    step = f": {known.remedy[0]}" if known.remedy else ""
    return GuestError(
        error.what, code=error.code, where=error.where, why=error.why, remedy=f"{known.title}{step}"
    )
