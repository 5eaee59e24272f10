"""SQ95x: what only a running guest shows. `audit` judges by them; a guest that is only planned breaks none."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case, dotted
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.running import Running
from sequester.platforms.limitation import Engagement, HostTrustLimitation, Limits, MigrationBlock
from sequester.platforms.registry import object_types

_READ = int(Limits.READ_MEMORY)
_BLOCKS = {MigrationBlock.FROM_START, MigrationBlock.FROM_FIRST_RUN}
_UNDER_WAY = frozenset(
    {"setup", "active", "postcopy-active", "postcopy-paused", "postcopy-recover", "device", "colo"}
    | {"pre-switchover", "wait-unplug", "completed"}
)
"""States of `query-migrate` in which the guest's state leaves, or has left, this QEMU (qapi/migration.json)."""
_COPIES = frozenset({"x-colo", "background-snapshot"})
"""Migration capabilities that make copies of a guest that runs on."""
_LAUNCHED = "running"
_SWITCHED = "protected VMs"
"""Beginning of the blocker that QEMU adds when an s390 guest switches over (hw/s390x/s390-virtio-ccw.c)."""
_CGS_DOC = "https://www.qemu.org/docs/master/system/confidential-guest-support.html"
_VIRTIO = "Virtual I/O Device (VIRTIO) 1.2, section 6, VIRTIO_F_ACCESS_PLATFORM"


def _unprotected(case: Case) -> Iterator[Breach]:
    running, guest = case.running, case.guest
    if running is None or any(part.type in object_types() for part in guest.objects):
        return  # an object that nothing names is SQ101
    has = case.limitation if case.engaged else None
    if has is not None:
        if running.wanted and running.wanted != has.name:
            yield Breach(
                f"{running.wanted} was asked for, and this guest runs with {has.title}", guest.limitation
            )
    elif running.wanted:
        yield Breach(
            f"{running.wanted} was asked for, and QEMU's machine names no protection object: this guest runs "
            "unprotected",
            guest.machine,
        )
    elif guest.limitation is None:
        yield Breach(
            "this guest has no protection, and asks for none",
            guest.machine,
            severity=Severity.NOTE,
            remedy="nothing, if that is meant; otherwise plan it with --limit, or say here what it should have",
        )


def _merged(case: Case) -> Iterator[Breach]:
    running = case.running
    if running is None or running.merging is None:
        return
    if running.merging.pages:
        yield Breach(
            f"{running.merging.pages} pages of this QEMU are merged with equal ones now", case.guest.machine
        )
    if running.merging.mergeable and not running.says_mergeable:
        yield Breach(
            "QEMU says that merging is off, and the kernel has its memory marked as mergeable",
            case.guest.machine,
        )


def _not_negotiated(case: Case) -> Iterator[Breach]:
    running, limitation = case.running, case.limitation
    if running is None or limitation is None:
        return
    later = limitation.engages is Engagement.AT_SWITCHOVER and not _switched(running)
    for negotiation in running.negotiations:
        part = case.guest.by_key[negotiation.key]
        # What was not offered (SQ301) no driver can take.
        if negotiation.driven and negotiation.accepted is False and part.flag("iommu_platform"):
            yield Breach(
                f"{part.label()}: the guest's driver did not take VIRTIO_F_ACCESS_PLATFORM"
                + (", and stops working once the guest has switched over" if later else ""),
                part,
                severity=Severity.WARNING if later else None,
            )


def _not_told(case: Case) -> Iterator[Breach]:
    running = case.running
    if running is None or case.limitation is None:
        return
    unknown = [one for one in running.negotiations if one.accepted is None]
    if unknown:
        version = dotted(case.qemu_version)
        yield Breach(
            f"QEMU {version} was not asked what the drivers of {len(unknown)} virtio devices negotiated: it dies of "
            "x-query-virtio-status, or does not know it"
        )


def _may_leave(case: Case) -> Iterator[Breach]:
    running, limitation = case.running, case.limitation
    if running is None or limitation is None or limitation.demands.migration_blocked is None:
        return
    machine = case.guest.machine
    if running.migration in _UNDER_WAY and _bound(limitation, running):
        yield Breach(f"a migration of this guest is or was under way: {running.migration}", machine)
    for name in sorted(running.capabilities & _COPIES):
        yield Breach(
            f"the migration capability {name} is on: it copies the guest's memory",
            machine,
            severity=Severity.WARNING,
            remedy=f"switch it off: migrate-set-capabilities {name}=false",
        )
    blocked = limitation.demands.migration_blocked
    due = blocked is MigrationBlock.FROM_START or (blocked in _BLOCKS and running.started)
    if case.engaged and due and running.blockers == ():
        yield Breach(
            f"QEMU has no migration blocker, and {limitation.title} brings one: it would migrate this guest",
            machine,
            severity=Severity.WARNING,
        )


def _bound(limitation: HostTrustLimitation, running: Running) -> bool:
    return limitation.engages is Engagement.AT_START or _switched(running)


def _switched(running: Running) -> bool:
    return any(reason.startswith(_SWITCHED) for reason in running.blockers or ())


def _open_doors(case: Case) -> Iterator[Breach]:
    running, machine = case.running, case.guest.machine
    if running is None:
        return
    if running.gdb and not case.guest.has("gdb"):  # one on the network is SQ805
        yield Breach(f"a gdb stub is open ({running.gdb})", machine, remedy="close it: `gdbserver none`")
    for address in running.listening:
        yield Breach(
            f"QEMU listens on {address}, which is no monitor, console or display",
            machine,
            severity=Severity.NOTE,
            remedy="find out what opened it: an NBD export, an incoming migration, a character device",
        )


def _sev_state(case: Case) -> Iterator[Breach]:
    running, limitation = case.running, case.limitation
    if running is None or running.sev is None or not case.engaged or limitation is None:
        return
    if not limitation.object_type.startswith("sev-"):
        return
    sev, part = running.sev, case.guest.limitation
    if not sev.enabled:
        yield Breach("query-sev says that this guest is not run with SEV", part)
        return
    if running.status == "running" and sev.state != _LAUNCHED:
        yield Breach(f"the guest runs, and its launch is in state {sev.state}", part)
    policy = limitation.values.get("policy")
    if sev.policy is not None and isinstance(policy, int) and sev.policy != policy:
        yield Breach(f"the firmware was given policy {sev.policy:#x}, and the object says {policy:#x}", part)


def _not_switched(case: Case) -> Iterator[Breach]:
    running, limitation = case.running, case.limitation
    if running is None or limitation is None or limitation.engages is not Engagement.AT_SWITCHOVER:
        return
    part = case.guest.limitation
    tells = limitation.demands.migration_blocked is MigrationBlock.FROM_SWITCHOVER
    if not case.engaged or not running.started or _switched(running):
        return
    if tells and running.blockers is not None:
        yield Breach("the guest has not switched over: it runs unprotected", part)
    else:
        yield Breach(
            "nothing in QEMU tells whether the guest has switched over",
            part,
            severity=Severity.NOTE,
            remedy="ask in the guest (/sys/devices/system/cpu/svm, /sys/firmware/uv/prot_virt_guest)",
        )


def _strangers(case: Case) -> Iterator[Breach]:
    running, limitation = case.running, case.limitation
    if running is None:
        return
    for key in sorted(running.strangers | running.plugged):
        part = case.guest.by_key[key]
        if key not in running.plugged:
            yield Breach(f"{part.label()} is not in the plan", part)
        elif part.type.endswith("-cpu") and limitation is not None and not limitation.demands.hot_cpus:
            yield Breach(
                f"{part.label()} was plugged in after the start, and no launch has measured its state",
                part,
                remedy="give the guest all its vCPUs at start",
            )
        elif not running.planned:
            yield Breach(
                f"{part.label()} was plugged in after the start",
                part,
                severity=Severity.NOTE,
                remedy="compare with the plan: audit with --guest",
            )
        elif key in running.strangers:
            yield Breach(f"{part.label()} was plugged in after the start, and is not in the plan", part)


def _missing(case: Case) -> Iterator[Breach]:
    for part in case.running.missing if case.running is not None else ():
        yield Breach(f"{part.label()} is in the plan, and not in the guest", part)


RULES = (
    Rule(
        "SQ950",
        "A guest that runs without the protection asked for",
        Severity.ERROR,
        _unprotected,
        why="Protection hangs on the machine's property, which is set before the machine is made and never after: a "
        "guest that started without it stays without it.",
        broken="Such a guest runs as any other, and its host reads all of it. Seen on QEMU 7.2, 10.0 and 11.1: qom-get "
        "of the machine's confidential-guest-support is then empty. In a simulation it is always so.",
        remedy="stop the guest and start it from a plan with its limitation",
        references=(_CGS_DOC,),
        unlimited=True,
    ),
    Rule(
        "SQ951",
        "The kernel merges this guest's memory",
        Severity.WARNING,
        _merged,
        why="KSM acts on what the kernel was told of the process (madvise, or prctl by whoever started it), not on "
        "what QEMU remembers: with a protection object QEMU 7.2, 10.0 and 11.1 answer that mem-merge is off after "
        "having marked all memory. /proc/PID/ksm_stat and smaps tell; they are read where QEMU runs on this machine.",
        broken="Equal pages of two guests become one. Whoever writes to such a page waits for its copy, and so learns "
        "that the other has it. Seen on Linux 6.18 with guests of QEMU 7.2, 10.0 and 11.1: ksm_mergeable says yes.",
        remedy="start the guest with mem-merge=off, and KSM off for its service (MemoryKSM= of systemd)",
        references=("https://docs.kernel.org/admin-guide/mm/ksm.html",),
        limits=_READ,
    ),
    Rule(
        "SQ952",
        "A driver that goes around the platform's DMA interface",
        Severity.ERROR,
        _not_negotiated,
        why="QEMU offers access-platform, and the guest's driver decides. One that set the device up without it hands "
        "the device addresses of private memory.",
        broken="What the device reads is cipher text, or nothing; a driver of Linux 5.13 or later refuses the device "
        "instead. x-query-virtio-status tells the features that were taken (QEMU 7.2 and 10.0).",
        remedy="give the guest a newer kernel or driver, or start the device anew with iommu_platform=on",
        references=(_VIRTIO,),
        limits=_READ,
    ),
    Rule(
        "SQ953",
        "What the guest's drivers negotiated is not known",
        Severity.NOTE,
        _not_told,
        why="Only x-query-virtio-status tells it, and some releases do not survive the question.",
        broken="QEMU 11.1.2 dies of it (\"visit_start_struct: Assertion `!(v->type & VISITOR_OUTPUT) || *obj' "
        'failed"), on x86_64, s390x, ppc64 and aarch64; 7.2 and 10.0 answer. `audit` asks releases from 7.2 to before '
        "10.1 alone, so on others silence about a driver is no proof.",
        remedy="look in the guest: /sys/bus/virtio/devices/*/features, the 34th digit is access-platform",
        limits=_READ,
    ),
    Rule(
        "SQ954",
        "A guest that QEMU would let go",
        Severity.ERROR,
        _may_leave,
        why="QEMU keeps a protected guest from migration with a blocker that the platform's code adds; where that is "
        "missing, protection is not at work as it should be, or a migration would send memory that nobody can use.",
        broken="query-migrate lists the blockers (blocked-reasons, since QEMU 6.0); an unprotected guest of 7.2, 10.0 "
        "and 11.1 has none, a SEV guest has one from its first run on. From QEMU's source; not tried with hardware.",
        remedy="do not migrate it; find out why the blocker is not there",
        limits=_READ,
    ),
    Rule(
        "SQ955",
        "A door that was opened at run time",
        Severity.WARNING,
        _open_doors,
        why="A gdb stub, an export or another monitor can be opened by a command long after the start, and no "
        "configuration shows it.",
        broken="QEMU 7.2, 10.0 and 11.1 open a gdb stub on `gdbserver` of the human monitor; with SEV it reads and "
        "sets the registers of a running guest.",
        remedy="close it, and put `sequester guard` before the monitor",
        limits=_READ,
    ),
    Rule(
        "SQ956",
        "The firmware's state is not that of a protected guest",
        Severity.ERROR,
        _sev_state,
        why="query-sev asks what was really launched, and not what was configured.",
        broken="An unprotected guest answers enabled: false and state uninit (QEMU 7.2, 10.0, 11.1). A launch that "
        "runs has state running, from the first `cont` on; until then measurement and secrets have their time.",
        remedy="stop the guest; audit the plan with `sequester check`",
        references=("https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html",),
        limits=_READ,
    ),
    Rule(
        "SQ957",
        "A guest that has not switched over",
        Severity.WARNING,
        _not_switched,
        why="With s390 Protected Virtualization and PEF the property only permits the switch: an image that does not "
        "ask for it runs as an ordinary guest, and nothing warns.",
        broken='QEMU on s390x adds the migration blocker "protected VMs are currently not migratable." at the switch '
        "and takes it away at a reboot, so that a running guest without it is not protected. For PEF nothing tells. "
        "From QEMU's source; not tried with hardware.",
        remedy="boot an image for protected guests (genprotimg, or svm=on)",
        references=("https://www.qemu.org/docs/master/system/s390x/protvirt.html",),
        limits=_READ,
    ),
    Rule(
        "SQ958",
        "A device that the plan does not have",
        Severity.WARNING,
        _strangers,
        why="What was plugged in later went through no plan. QEMU gives it the same defaults, which whoever plugs it "
        "in can override.",
        broken="device_add of QEMU 7.2, 10.0 and 11.1 takes a device with iommu_platform=off without a word.",
        remedy="unplug it, or put it into the plan",
        unlimited=True,
    ),
    Rule(
        "SQ959",
        "A device of the plan that is not there",
        Severity.WARNING,
        _missing,
        why="It was unplugged, or the guest was started from something else than the plan.",
        broken="The guest runs without it.",
        remedy="plug it in, or start the guest from its plan",
        unlimited=True,
    ),
)
