"""SQ1xx: the limitation itself: is there an object, is it named, can this machine and QEMU have it?"""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case, dotted
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Change, Retype, Set, Unset
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest
from sequester.guest.part import Part
from sequester.platforms.registry import object_types, platforms

TODAY, OLDER, PROPOSED = LIMITATION_PROPERTIES
_RENAMED_IN = (6, 0)
_CGS_DOC = "https://www.qemu.org/docs/master/system/confidential-guest-support.html"


def _unnamed_object(case: Case) -> Iterator[Breach]:
    guest = case.guest
    known = object_types()
    loose = [part for part in guest.objects if part.type in known]
    for part in loose:
        if guest.limitation is not None and guest.limitation.type:
            yield Breach(
                f"{part.label()} is a second protection object, and no machine property names it",
                part,
                severity=Severity.WARNING,
                remedy="remove it",
            )
            continue
        spelling = TODAY if case.qemu_version >= _RENAMED_IN else OLDER
        if guest.dialect == "libvirt":
            yield Breach(
                f"nothing names {part.label()}: this guest runs unprotected",
                part,
                remedy=f"use <launchSecurity> instead, or pass -machine {spelling}={part.id} in two more <qemu:arg>",
            )
            continue
        fix: tuple[Change, ...] = ()
        if guest.limitation is None and len(loose) == 1 and part.id:
            fix = (Set(guest.machine.key, spelling, part.id),)
        yield Breach(
            f"no machine property names {part.label()}: this guest runs unprotected",
            part,
            fix,
            f"machine {spelling}={part.id}",
            remedy=f"add {spelling}={part.id} to -machine"
            if part.id
            else f"give it an id, and add {spelling}=ID to -machine",
        )


def _no_such_object(case: Case) -> Iterator[Breach]:
    limitation = case.guest.limitation
    if limitation is not None and not limitation.type:
        yield Breach(
            f"the machine names '{limitation.id}' as its protection, and there is no such object",
            case.guest.machine,
        )


def _no_protection(case: Case) -> Iterator[Breach]:
    limitation = case.guest.limitation
    if limitation is not None and limitation.type and case.limitation is None:
        if case.guest.dialect == "libvirt":
            types = sorted({platform.libvirt.type for platform in platforms() if platform.libvirt})
            yield Breach(
                f"<launchSecurity type='{limitation.type}'>: there is no such type",
                limitation,
                remedy="use one of: " + ", ".join(types),
            )
            return
        if not limitation.id:  # TOML names the platform itself
            yield Breach(
                f"limit '{limitation.type}': there is no such platform",
                limitation,
                remedy="use one of: " + ", ".join(platform.name for platform in platforms()),
            )
            return
        yield Breach(
            f"an object of type {limitation.type} protects no guest",
            limitation,
            remedy="name an object of one of: " + ", ".join(sorted(object_types())),
        )


def _spelling(case: Case) -> Iterator[Breach]:
    machine = case.guest.machine
    given = [name for name in LIMITATION_PROPERTIES if name in machine.properties]
    if not given:
        return
    right = TODAY if case.qemu_version >= _RENAMED_IN else OLDER
    value = machine.text(given[0])
    for name in given:
        if machine.text(name) != value:
            yield Breach(f"{given[0]}={value} and {name}={machine.text(name)} contradict each other", machine)
            return
    if given == [right]:
        return
    wrong = [name for name in given if name != right]
    never = PROPOSED in wrong
    fix: tuple[Change, ...] = (*(Unset(machine.key, name) for name in wrong), Set(machine.key, right, value))
    yield Breach(
        f"{wrong[-1]} "
        + (
            "was proposed and never released: QEMU refuses it"
            if never
            else "is the spelling of QEMU before 6.0, deprecated since"
            if right == TODAY
            else f"is not known to QEMU {dotted(case.qemu_version)}"
        ),
        machine,
        fix,
        f"machine {right}={value} instead of {', '.join(wrong)}",
        severity=Severity.ERROR if never or right == OLDER else Severity.NOTE,
        remedy=f"remove it: {right}={value} is there" if right in given else f"write {right}={value}",
    )


def _missing_property(case: Case) -> Iterator[Breach]:
    limitation, part = case.limitation, case.guest.limitation
    if limitation is None or part is None or case.guest.dialect == "libvirt":
        return
    if part.type != limitation.object_type:  # TOML's short name: whoever writes the object completes it
        return
    complete = limitation.completed(case.host).values
    for prop in limitation.properties:
        if prop.name in limitation.values or any(fault.name == prop.name for fault in limitation.faults):
            continue
        if prop.name in complete:
            value = prop.to_qemu(complete[prop.name])
            yield Breach(
                f"{prop.name} is not given",
                part,
                (Set(part.key, prop.name, value),),
                f"{part.label()} {prop.name}={value}",
                remedy=f"add {prop.name}={value}: {prop.about}",
            )
        elif prop.from_host:
            yield Breach(
                f"{prop.name} is not given and no host's facts are at hand",
                part,
                remedy=f"add {prop.name} ({prop.about}), or plan with --host",
            )


def _bad_property(case: Case) -> Iterator[Breach]:
    if case.limitation is None:
        return
    known = {prop.name for prop in case.limitation.properties}
    for fault in case.limitation.faults:
        yield Breach(
            fault.text,
            case.guest.limitation,
            severity=Severity.ERROR if fault.fatal else Severity.WARNING,
            remedy="" if fault.name in known else "correct its name, or remove it",
        )


def _absent_file(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None:
        return
    for prop in limitation.properties:
        path = limitation.values.get(prop.name) if prop.file else None
        if path and path in case.absent:
            yield Breach(f"{prop.name}: there is no file {path}", case.guest.limitation)


def _wrong_arch(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is not None and case.guest.arch not in limitation.architectures:
        yield Breach(
            f"{limitation.title} is a platform of {' and '.join(limitation.architectures)}, "
            f"and this guest is {case.guest.arch}",
            case.guest.limitation,
        )


def _wrong_machine(case: Case) -> Iterator[Breach]:
    limitation, machine = case.limitation, case.guest.machine
    if limitation is None or not machine.type or case.guest.arch not in limitation.architectures:
        return
    families = limitation.demands.machines
    if families and not any(_of_family(machine.type, family) for family in families):
        yield Breach(
            f"machine {machine.type} cannot carry {limitation.title}",
            machine,
            remedy=f"use one of: {', '.join(families)}",
        )


def _of_family(machine: str, family: str) -> bool:
    """Tell whether a machine type is the family itself or a version of it (``pc-q35-8.2``, ``pc+pve0``)."""
    stem = machine.split("+")[0]
    if stem == family:
        return True
    return stem.startswith(family + "-") and any(char.isdigit() for char in stem[len(family) :])


def _accelerator(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not case.engaged:
        return
    guest, works = case.guest, limitation.demands.accelerators
    if guest.accelerators[0] in works:
        spare = [name for name in guest.accelerators[1:] if name not in works]
        if spare:
            yield Breach(
                f"accelerator {spare[0]} is named as a fallback: with it QEMU refuses to start or dies",
                _accelerator_part(guest),
                severity=Severity.NOTE,
                remedy=f"name {works[0]} alone",
            )
        return
    fix, part = _use_accelerator(guest, works[0])
    yield Breach(
        f"accelerator {guest.accelerators[0]}: {limitation.title} needs {' or '.join(works)}",
        part,
        fix,
        f"accelerator {works[0]}",
        remedy=f"use -accel {works[0]}",
    )


def _accelerator_part(guest: Guest) -> Part:
    options = guest.of("accel")
    return options[0] if options else guest.machine


def _use_accelerator(guest: Guest, name: str) -> tuple[tuple[Change, ...], Part]:
    options = guest.of("accel")
    if options:
        return (Retype(options[0].key, name),), options[0]
    return (Set(guest.machine.key, "accel", name),), guest.machine


def _qemu_lacks(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not case.engaged:
        return
    if not limitation.qemu_since:
        yield Breach(
            f"no released QEMU has {limitation.object_type} yet",
            case.guest.limitation,
            remedy=f"a QEMU built with patches that bring {limitation.object_type} is needed",
        )
    elif case.qemu is not None and case.qemu_known:
        since = dotted(limitation.qemu_since)
        if case.qemu_version < limitation.qemu_since:
            yield Breach(
                f"{case.qemu.path} is QEMU {dotted(case.qemu_version)}; {limitation.object_type} came with {since}",
                case.guest.limitation,
                remedy=f"use QEMU {since} or later",
            )
        elif case.qemu.types and limitation.object_type not in case.qemu.types:
            yield Breach(
                f"{case.qemu.path} was built without {limitation.object_type}",
                case.guest.limitation,
                remedy="use a build with KVM for this architecture",
            )


def _property_too_new(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not case.qemu_known:
        return
    for prop in limitation.properties:
        if prop.name in limitation.values and prop.since > case.qemu_version >= limitation.qemu_since:
            yield Breach(
                f"{prop.name} came with QEMU {dotted(prop.since)}, and this is {dotted(case.qemu_version)}",
                case.guest.limitation,
                remedy=f"leave {prop.name} out, or use QEMU {dotted(prop.since)} or later",
            )


RULES = (
    Rule(
        "SQ101",
        "A protection object that no machine property names",
        Severity.ERROR,
        _unnamed_object,
        why="QEMU creates the object and then nothing uses it: protection hangs on the machine property alone.",
        broken="With sev-guest, QEMU 7.2, 10.0 and 11.1 start an ordinary, unprotected guest, under KVM and TCG alike, "
        "without a word. With a tdx-guest that nothing names, 11.1 dies (SIGABRT under TCG, SIGSEGV under KVM).",
        remedy="name the object in -machine confidential-guest-support=ID",
        references=(_CGS_DOC,),
        unlimited=True,
    ),
    Rule(
        "SQ102",
        "The machine names an object that does not exist",
        Severity.ERROR,
        _no_such_object,
        why="The property is a link to an object by its id.",
        broken="QEMU 7.2, 10.0 and 11.1 refuse to start: \"Device 'ID' not found\"; by the older spelling "
        "\"No such memory encryption object 'ID'\".",
        remedy="declare the object, or correct its id",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ103",
        "The machine names an object that protects nothing",
        Severity.ERROR,
        _no_protection,
        why="Only a type that implements confidential-guest-support can be linked.",
        broken="QEMU refuses to start: \"Invalid parameter type for 'confidential-guest-support', expected: "
        'confidential-guest-support".',
        remedy="name a protection object",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ104",
        "A spelling of the machine property that does not fit this QEMU",
        Severity.NOTE,
        _spelling,
        why="The property was `memory-encryption` in QEMU 2.12 to 5.2, is `confidential-guest-support` since 6.0, "
        "and was proposed as `host-trust-limitation`, which no release ever took.",
        broken='QEMU 11.1 warns of `memory-encryption` ("memory-encryption is deprecated, use '
        'confidential-guest-support instead"), 7.2 takes it silently; all refuse `host-trust-limitation` with '
        '"Property ... not found".',
        remedy="write confidential-guest-support",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ105",
        "A property that the object cannot do without is missing",
        Severity.ERROR,
        _missing_property,
        why="The value depends on the host's processor, or QEMU has no default that could work.",
        broken="QEMU 7.2 and 11.1: \"Parameter 'reduced-phys-bits' is missing\"; without cbitpos the launch fails "
        "with \"cbitpos check failed, host '51' requested '0'\".",
        remedy="give the property, or plan on the host itself",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ106",
        "A property of the object that cannot be right",
        Severity.ERROR,
        _bad_property,
        why="QEMU stores most properties without looking at them; the firmware or the kernel refuses them at "
        "launch, or they never take effect.",
        broken="QEMU 11.1 takes an SNP policy without its mandatory bit 17, an id-auth of 3 bytes, a mrconfigid of "
        "3 bytes, TDX attributes with the debug bit and reduced-phys-bits=99 at object creation; all of them fail "
        "at launch with a number for a reason, a short id-auth not even then.",
        remedy="correct the value",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ107",
        "A file that the object needs is not there",
        Severity.WARNING,
        _absent_file,
        why="The owner's certificate and session are read when the launch starts, after everything else.",
        broken="QEMU 7.2 and 11.1 take the path at object creation, whatever it is, and fail at launch.",
        remedy="put the file there, or correct the path",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ108",
        "A platform of another architecture",
        Severity.ERROR,
        _wrong_arch,
        why="Each platform is a feature of one processor family.",
        broken='QEMU\'s binary for the other architecture does not have the type: "invalid object type" or '
        "\"Parameter 'qom-type' does not accept value\".",
        remedy="use the platform of the guest's architecture, or --limit auto",
    ),
    Rule(
        "SQ109",
        "A machine that cannot carry this platform",
        Severity.ERROR,
        _wrong_machine,
        why="Only some machines call the platform's hooks when they start.",
        broken="A machine without the hook runs the guest unprotected or dies: powernv with pef-guest aborts in "
        'QEMU 7.2 and says "accelerator does not support confidential guest pef-guest" in 11.1.',
        remedy="use a machine of the platform",
    ),
    Rule(
        "SQ110",
        "An accelerator that cannot protect",
        Severity.ERROR,
        _accelerator,
        why="The platforms are features of the processor, reached through KVM.",
        broken='With TCG, QEMU 7.2 aborts ("qemu_machine_creation_done: Assertion `machine->cgs->ready\' failed"), '
        '11.1 ends with "accelerator does not support confidential guest sev-guest", and for sev-snp-guest and '
        'tdx-guest "cannot set up private guest memory for tdx-guest: KVM required".',
        remedy="use -accel kvm",
    ),
    Rule(
        "SQ111",
        "A QEMU that does not have the platform's object",
        Severity.ERROR,
        _qemu_lacks,
        why="Each object came with a release, and some only exist in builds with KVM for their architecture.",
        broken="QEMU refuses to start: \"Parameter 'qom-type' does not accept value 'tdx-guest'\" or \"invalid "
        'object type: s390-pv-guest".',
        remedy="use a newer QEMU",
        references=(_CGS_DOC,),
    ),
    Rule(
        "SQ112",
        "A property that this QEMU does not know yet",
        Severity.ERROR,
        _property_too_new,
        why="Properties were added to the objects over the releases.",
        broken="QEMU refuses to start: \"Property 'sev-guest.legacy-vm-type' not found\".",
        remedy="leave the property out, or use a newer QEMU",
        references=(_CGS_DOC,),
    ),
)
