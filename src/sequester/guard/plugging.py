"""A device or object that is plugged in, held to the same rules as if the guest had been started with it.

The new part is put into a model of the running guest, the rules' breaches for that part are collected, and their fixes
carried out where they only say what the client left unsaid. What the client said otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sequester.findings.case import Case, Version
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guard.verdict import ALLOW, Allow, Amend, Refuse, Verdict
from sequester.guest.change import Set, applied, told
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.host.emulator import QemuFacts
from sequester.platforms.limitation import HostTrustLimitation
from sequester.rules.catalogue import rules
from sequester.rules.engine import ROUNDS, breaches

IMPLIED_KEY = {"device_add": ("device", "driver"), "object-add": ("object", "qom-type")}
"""Command → the group of parts that it makes, and the argument that names the part's type."""
_UNSAID = (None, "auto")
"""What leaves the choice to QEMU."""
_FORGOTTEN = ("device", "global", "")


def model(guest: Guest) -> Guest:
    """Return what of a guest the rules need to judge a new part.

    Devices and -global settings are left out: every consequence is then spelled out in the new part itself, whatever
    default or global would have decided it.
    """
    parts = tuple(part for part in guest.parts if part.group not in _FORGOTTEN)
    return replace(guest, parts=parts, dialect="qemu")  # in which a monitor speaks, whatever the source was


def judge(
    command: str,
    arguments: Mapping[str, Any],
    guest: Guest,
    limitation: HostTrustLimitation,
    version: Version,
) -> Verdict:
    """Decide on ``device_add`` or ``object-add``: the arguments as they came, a `model` of the guest."""
    group, implied = IMPLIED_KEY[command]
    kind = arguments.get(implied)
    if not isinstance(kind, str):
        return ALLOW  # QEMU has its own words for this
    given = {name: value for name, value in arguments.items() if name != implied and value not in _UNSAID}
    identity = arguments.get("id")
    part = Part(group, kind, given, guest.next_key, identity if isinstance(identity, str) else "")
    changes: list[str] = []
    for _ in range(ROUNDS):
        found = list(_breaches(part, guest, limitation, version))
        for rule, breach in found:
            if _forbids(rule, breach, part, given):
                return Refuse(rule, command, breach.found, breach.remedy)
        mending = [(rule, breach) for rule, breach in found if breach.fix]
        if not mending:
            break
        for rule, breach in mending:
            changes += [f"{rule.code} {told(change)}" for change in breach.fix]
            mended = applied(part, breach.fix)
            part = mended if mended is not None else part
    notes = tuple(f"{rule.code} {breach.found}" for rule, breach in found if not breach.fix)
    if not changes:
        return Allow(notes) if notes else ALLOW
    return Amend({**arguments, **part.properties}, tuple(dict.fromkeys(changes)), notes)


def _breaches(
    part: Part, guest: Guest, limitation: HostTrustLimitation, version: Version
) -> Iterator[tuple[Rule, Breach]]:
    """Yield what is wrong with the part and not merely worth a note."""
    with_part = replace(guest, parts=(*guest.parts, part))
    case = Case(with_part, limitation, QemuFacts("", version), engaged=False)
    for rule, breach in breaches(case, rules()):
        mine = breach.part is not None and breach.part.key == part.key
        if mine and (breach.severity or rule.severity) > Severity.NOTE:
            yield rule, breach


def _forbids(rule: Rule, breach: Breach, part: Part, given: Mapping[str, Any]) -> bool:
    """Tell whether a breach stops the part: it cannot be mended, or only against what the client said."""
    if not breach.fix:
        return (breach.severity or rule.severity) >= Severity.ERROR
    return any(
        not isinstance(change, Set) or change.key != part.key or change.name in given for change in breach.fix
    )
