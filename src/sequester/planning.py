"""From a guest as somebody wrote it to one that is protected: choose the platform, apply the rules, write it.

The story: `case_of` gathers what is known, `check` judges it, `make_plan` changes it. Host facts come in as a
record; nothing here looks at the machine except for files that the guest itself names, and only when asked to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sequester.errors import HostError, InputError, RefusedError, printable
from sequester.findings.case import Case, Firmware
from sequester.findings.rule import Finding, Severity
from sequester.formats.argv_read import Argv
from sequester.formats.document import Document, Written
from sequester.formats.sources import FORMATS, write
from sequester.guest.change import Add, Change, Set
from sequester.guest.firmware import images
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest
from sequester.guest.part import Part, Value
from sequester.platforms.limitation import HostTrustLimitation
from sequester.platforms.registry import Platform, named, object_types, of, platforms, resolve
from sequester.rules import engine
from sequester.rules.catalogue import rules
from sequester.rules.engine import Applied, Selection

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts, QemuFacts

AUTO = "auto"
OBJECT_ID = "htl0"
_TRANSIENT = "/var/lib/libvirt/qemu/domain-"
"""libvirt makes these folders when it starts a domain and removes them when it ends; a domain's number and the
beginning of its name follow, -1 for one that does not run (src/conf/domain_conf.c, `virDomainDefGetShortName`)."""
_SHORT_NAME = 20


def check(
    document: Document, host: HostFacts | None = None, selection: Selection | None = None, here: bool = False
) -> tuple[Finding, ...]:
    """Return what of the guest's limitation does not hold.

    `host` are the facts of the host it is to run on; `here` allows looking at the files that the guest names,
    on this machine. Raises InputError for a selection that names no rule.
    """
    return engine.check(case_of(document.guest, host, here), rules(), selection)


def case_of(guest: Guest, host: HostFacts | None = None, here: bool = False) -> Case:
    """Put together what the rules look at."""
    limitation = resolve(guest)
    if limitation is None and not _loose_objects(guest):
        return Case(guest, host=host)
    return Case(
        guest,
        limitation,
        _qemu(guest, host),
        host,
        _firmware(guest) if here else {},
        _absent(limitation) if here and limitation and guest.dialect != "libvirt" else frozenset(),
    )


@dataclass(frozen=True)
class Plan:
    """A guest with its limitation and every consequence.

    `case` holds the guest after all changes; `chosen` are the changes that brought the limitation in where
    the source had none, `applied` those of the rules; `findings` are what the rules could not mend.
    """

    document: Document
    case: Case
    limitation: HostTrustLimitation
    chosen: tuple[Change, ...]
    applied: tuple[Applied, ...]
    findings: tuple[Finding, ...]

    @property
    def guest(self) -> Guest:
        """The protected guest."""
        return self.case.guest

    @property
    def refused(self) -> bool:
        """Tell whether this guest would not start, or would start unprotected."""
        return any(finding.severity >= Severity.ERROR for finding in self.findings)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every change to the source, in order."""
        return (*self.chosen, *(change for applied in self.applied for change in applied.changes))

    def to(self, form: str) -> Written:
        """Write the plan as ``argv``, ``xml`` or ``toml``; in the source's own format only changes are made.

        Raises RefusedError when the format has no way to say this limitation.
        """
        if form == self.document.format:
            self._speakable(form)
            return self.document.edited(self.changes)
        guest, lost = self.spoken(form)
        written = write(guest, form)
        return Written(written.text, (*lost, *written.lost))

    def diff(self) -> str:
        """Return the change to the source as a unified diff."""
        import difflib

        old = self.document.edited(()).text.splitlines(keepends=True)
        new = self.to(self.document.format).text.splitlines(keepends=True)
        name = self.document.name
        name = printable(name)
        return "".join(difflib.unified_diff(old, new, name, f"{name} (planned)"))

    def spoken(self, form: str) -> tuple[Guest, tuple[str, ...]]:
        """Return the guest with its limitation in a format's own dialect, and what that dialect cannot say."""
        if form not in FORMATS:
            raise InputError(
                f"there is no format '{form}'", code="format.unknown", remedy=f"one of {', '.join(FORMATS)}"
            )
        self._speakable(form)
        complete = self.limitation.completed(self.case.host)
        if form == "xml":
            assert complete.libvirt is not None
            part = self._part(complete.libvirt.type, complete.libvirt_properties())
            return self._with(part, "libvirt", {}), complete.unsaid_by_libvirt()
        made: tuple[str, ...] = ()
        if self.guest.dialect == "libvirt":
            complete, made = complete.with_files_in(f"{_TRANSIENT}-1-{self.guest.name[:_SHORT_NAME]}")
        properties = complete.object_properties()
        if form == "toml":
            return self._with(self._part(complete.name, properties), "qemu", {}), made
        spelling = LIMITATION_PROPERTIES[0 if self.case.qemu_version >= (6, 0) else 1]
        identity = self._identity()
        part = self._part(complete.object_type, {"id": identity, **properties})
        return self._with(replace(part, id=identity), "qemu", {spelling: identity}), made

    def argv(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the plan as QEMU's argument vector, the emulator first, and what could not be carried over.

        A guest that came as a command line keeps it, argument for argument, but for the changes.
        """
        if isinstance(self.document, Argv):
            from sequester.formats.argv_edit import edited_argv

            return edited_argv(self.document, self.changes)
        from sequester.formats.argv_write import write_argv

        guest, lost = self.spoken("argv")
        argv, more = write_argv(guest)
        return argv, (*lost, *more)

    def _speakable(self, form: str) -> None:
        if form == "xml" and self.limitation.libvirt is None:
            raise RefusedError(
                f"libvirt has no launchSecurity type for {self.limitation.title}",
                code="plan.unspeakable",
                where=self.document.name,
                remedy="use --to argv",
            )

    def _identity(self) -> str:
        part = self.guest.limitation
        if part is not None and part.id:
            return part.id
        return "lsec0" if self.guest.dialect == "libvirt" else OBJECT_ID

    def _part(self, kind: str, properties: dict[str, Value] | dict[str, str]) -> Part:
        old = self.guest.limitation
        key = old.key if old is not None else self.guest.next_key
        return Part("limitation", kind, dict(properties), key, old.id if old is not None else "")

    def _with(self, limitation: Part, dialect: str, machine: dict[str, Value]) -> Guest:
        parts = []
        for part in self.guest.parts:
            if part.group == "limitation":
                continue
            if part.group == "machine":
                kept = {k: v for k, v in part.properties.items() if k not in LIMITATION_PROPERTIES}
                part = replace(part, properties={**kept, **machine})
            parts.append(part)
        return replace(self.guest, parts=(*parts, limitation), dialect=dialect)


def make_plan(
    document: Document, limit: str | None = None, host: HostFacts | None = None, here: bool = False
) -> Plan:
    """Plan a guest: give it the limitation it asks for, or `limit`, with all consequences.

    `limit` is a platform's name or ``auto``: the strongest that works on `host`. Raises InputError for an
    unknown or contradicting name, RefusedError when the guest asks for nothing, HostError when ``auto``
    finds nothing that works.
    """
    guest = document.guest
    chosen = _choose(document, guest, limit, host)
    if chosen:
        guest = guest.changed(chosen)
    case = case_of(guest, host, here)
    case, applied = engine.apply(case, rules())
    limitation = case.limitation or resolve(case.guest)
    if limitation is None:
        broken = engine.check(case, rules())
        first = next((finding for finding in broken if finding.severity >= Severity.ERROR), None)
        raise RefusedError(
            first.found if first else "this guest's protection cannot be made out",
            code="plan.refused",
            where=_where(document, first.part if first else None),
            remedy=first.remedy if first else "",
        )
    return Plan(document, case, limitation, chosen, applied, engine.check(case, rules()))


def choose_platform(host: HostFacts | None, arch: str) -> Platform:
    """Return the strongest platform that works on a host for an architecture. Raises HostError if none does."""
    from sequester.host.requirement import State, conclude, evaluate, roots

    if host is None:
        raise HostError(
            "auto needs the facts of a host", code="host.unknown", remedy="give --host, or name a platform"
        )
    reasons = []
    for platform in platforms():
        if arch not in platform.architectures:
            continue
        if not platform.host_requirements():
            reasons.append(f"{platform.name}: no host can do it yet")
            continue
        outcomes = evaluate(platform.host_requirements(), host)
        if conclude(outcomes) is not State.FAILED:
            return platform
        first = roots(outcomes)[0]
        reasons.append(f"{platform.name}: {first.requirement.title} ({first.read})")
    raise HostError(
        f"no platform works for a guest of {arch} on this host",
        code="host.unsupported",
        why="; ".join(reasons) or "none exists for that architecture",
        remedy="`sequester probe` says what would mend it",
    )


def _choose(
    document: Document, guest: Guest, limit: str | None, host: HostFacts | None
) -> tuple[Change, ...]:
    declared = guest.limitation
    if declared is not None and declared.type and declared.type != AUTO:
        has = of(declared, guest.dialect)
        if limit is not None and has is not None:
            wanted = choose_platform(host, guest.arch) if limit == AUTO else named(limit)
            if limit != AUTO:
                _agree(document, declared, has, wanted)
        return ()
    loose = _loose_objects(guest)
    if limit is None and declared is None and loose:
        return ()
    if limit is None and declared is None:
        raise RefusedError(
            "this guest asks for no protection",
            code="plan.unlimited",
            where=document.name,
            remedy="give it a limitation, or say --limit auto or --limit NAME",
        )
    if declared is not None and not declared.type:
        return ()
    wanted_name = limit or AUTO
    platform = choose_platform(host, guest.arch) if wanted_name == AUTO else named(wanted_name)
    if guest.arch not in platform.architectures:
        raise InputError(
            f"{platform.title} is a platform of {' and '.join(platform.architectures)}, and this guest is "
            f"{guest.arch}",
            code="plan.architecture",
            where=document.name,
            remedy="use the platform of the guest's architecture, or --limit auto",
        )
    same = next((part for part in loose if part.type == platform.object_type), None)
    if same is not None:
        _agree(document, same, of(same, guest.dialect), platform)
        return ()
    if loose:
        _agree(document, loose[0], of(loose[0], guest.dialect), platform)
    return _brought_in(document, guest, platform, host, declared)


def _agree(document: Document, declared: Part, has: Platform | None, wanted: Platform) -> None:
    if has is not None and has is not wanted:
        raise InputError(
            f"this guest asks for {has.name}, and --limit for {wanted.name}",
            code="plan.contradiction",
            where=_where(document, declared),
            remedy="change one of them: a limitation is never replaced silently",
        )


def _brought_in(
    document: Document, guest: Guest, platform: Platform, host: HostFacts | None, declared: Part | None
) -> tuple[Change, ...]:
    if declared is not None:
        from sequester.guest.change import Retype

        return (Retype(declared.key, platform.name),)
    key = guest.next_key
    if document.format == "xml":
        if platform.libvirt is None:
            return (Add(Part("limitation", platform.name, {}, key)),)
        spelled = platform().completed(host).libvirt_properties()
        return (Add(Part("limitation", platform.libvirt.type, spelled, key)),)
    if document.format == "toml":
        return (Add(Part("limitation", platform.name, {}, key)),)
    identity = OBJECT_ID
    number = 0
    while identity in guest.by_id:
        number += 1
        identity = f"htl{number}"
    # Bits that must be set may be all that tells the platform from another with the same object.
    telling = {
        prop.name: prop.to_qemu(prop.always) for prop in platform.properties if prop.must and prop.always
    }
    machine = Set(guest.machine.key, LIMITATION_PROPERTIES[0], identity)
    return (Add(Part("object", platform.object_type, {"id": identity, **telling}, key, identity)), machine)


def _loose_objects(guest: Guest) -> list[Part]:
    known = object_types()
    return [part for part in guest.objects if part.type in known]


def _qemu(guest: Guest, host: HostFacts | None) -> QemuFacts | None:
    """Return the host's QEMU that will run the guest: the one it names, else the newest of its architecture."""
    if host is None:
        return None
    qemus = [qemu for qemu in host.qemus or () if qemu.version]
    exact = [qemu for qemu in qemus if guest.emulator and qemu.path == guest.emulator]
    fitting = exact or [qemu for qemu in qemus if qemu.arch == guest.arch]
    return max(fitting, key=lambda qemu: qemu.version, default=None)


def _firmware(guest: Guest) -> dict[str, Firmware]:
    paths = sorted({image.path for image in images(guest) if image.path and os.path.exists(image.path)})
    if not paths:
        return {}
    from sequester.host.firmware import inspect  # only where there is an image to look into

    return {path: inspect(path) for path in paths}


def _absent(limitation: HostTrustLimitation) -> frozenset[str]:
    paths: Iterable[str] = (
        limitation.values.get(prop.name, "") for prop in limitation.properties if prop.file
    )
    return frozenset(
        path for path in paths if path and not path.startswith(_TRANSIENT) and not os.path.exists(path)
    )


def _where(document: Document, part: Part | None) -> str:
    return f"{document.name}:{part.line}" if part is not None and part.line else document.name
