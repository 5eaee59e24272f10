"""SQ7xx: the guest's life: migration, snapshots, replay, reboot and what is plugged in later."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.guest import Guest
from sequester.platforms.limitation import HostTrustLimitation, Limits, MigrationBlock

_READ = int(Limits.READ_MEMORY)
_KATA = "Kata Containers, configuration-qemu.toml, confidential_guest: hot-plug does not work by design"
_WHEN = {
    MigrationBlock.FROM_START: "ends while it starts",
    MigrationBlock.FROM_FIRST_RUN: "ends when the guest is first let run",
    MigrationBlock.FROM_SWITCHOVER: "refuses the CPU feature with which the guest could switch over",
}


def _only_migratable(case: Case) -> Iterator[Breach]:
    option, limitation = case.guest.one("only-migratable"), _engaged(case)
    if option is None or limitation is None:
        return
    blocked = limitation.demands.migration_blocked
    if blocked is not None:
        yield Breach(
            f"-only-migratable: migration with {limitation.title} is blocked {blocked.value}, so QEMU {_WHEN[blocked]}",
            option,
        )


def _incoming(case: Case) -> Iterator[Breach]:
    limitation = _blocked_before_running(case)
    if limitation is None:
        return
    for option in case.guest.of("incoming"):
        live_update = '"cpr"' in option.type.replace(" ", "")
        if live_update and not limitation.demands.guest_memfd:
            continue
        what = "a live update (CPR)" if live_update else "a migration"
        yield Breach(f"-incoming: {what} of a guest with {limitation.title} never leaves its source", option)


def _loadvm(case: Case) -> Iterator[Breach]:
    limitation, option = _blocked_before_running(case), case.guest.one("loadvm")
    if limitation is not None and option is not None:
        yield Breach(
            f"-loadvm {option.type}: no snapshot of a running guest with {limitation.title} can have been made",
            option,
        )


def _replay(case: Case) -> Iterator[Breach]:
    option, limitation = case.guest.one("icount"), _engaged(case)
    if option is not None and limitation is not None and "tcg" not in limitation.demands.accelerators:
        what = "record and replay" if option.text("rr") else "-icount"
        yield Breach(
            f"{what} needs TCG, and {limitation.title} needs {limitation.demands.accelerators[0]}", option
        )


def _colo(case: Case) -> Iterator[Breach]:
    limitation = _blocked_before_running(case)
    if limitation is None:
        return
    for part in case.guest.objects:
        if part.type == "colo-compare":
            yield Breach(f"{part.label()}: replication (COLO) goes by migration, which is blocked", part)


def _launch_not_held(case: Case) -> Iterator[Breach]:
    limitation, guest = _engaged(case), case.guest
    if limitation is None or not limitation.measured_launch or guest.dialect != "qemu" or guest.has("S"):
        return
    given = [prop.name for prop in limitation.properties if prop.file and prop.name in limitation.values]
    if given:
        yield Breach(
            f"{' and '.join(given)} prepare a measured launch, and without -S the guest runs before anyone can "
            "check the measurement",
            guest.limitation,
        )


def _reboot(case: Case) -> Iterator[Breach]:
    limitation, guest = _engaged(case), case.guest
    if limitation is None or not case.qemu_known or guest.dialect != "qemu":
        return
    since = limitation.demands.reset_since
    if since is None or case.qemu_version >= since or _shuts_down_instead(guest):
        return
    end = "stops" if _pauses_at_shutdown(guest) else "ends"
    yield Breach(
        f"a reboot from inside {end} this guest: QEMU {case.qemu_version[0]}.{case.qemu_version[1]} cannot reset "
        f"{limitation.title}",
        remedy=f"add -no-reboot and start the guest anew, or use QEMU {since[0]}.{since[1]} or later",
    )


def _shuts_down_instead(guest: Guest) -> bool:
    if guest.has("no-reboot"):
        return True
    return any(option.text("reboot") == "shutdown" for option in guest.of("action"))


def _pauses_at_shutdown(guest: Guest) -> bool:
    if guest.has("no-shutdown"):
        return True
    return any(option.text("shutdown") == "pause" for option in guest.of("action"))


def _processor_slots(case: Case) -> Iterator[Breach]:
    limitation, smp = case.limitation, case.guest.smp
    if limitation is None or limitation.demands.hot_cpus:
        return
    present, most = smp.type or smp.text("cpus") or "", smp.text("maxcpus") or ""
    if present.isdecimal() and most.isdecimal() and int(most) > int(present):
        yield Breach(
            f"maxcpus={most} leaves room for {int(most) - int(present)} vCPUs more, which cannot be plugged in",
            smp,
        )


def _memory_slots(case: Case) -> Iterator[Breach]:
    limitation, memory = case.limitation, case.guest.memory
    if limitation is None or not limitation.demands.guest_memfd:
        return
    slots = memory.text("slots")
    if slots and slots != "0" and memory.text("maxmem"):
        yield Breach(
            f"slots={slots},maxmem={memory.text('maxmem')} leaves room for memory that the guest would have to "
            "accept as private first",
            memory,
        )


def _engaged(case: Case) -> HostTrustLimitation | None:
    """Return the limitation where its machine property is really given: QEMU acts on nothing else."""
    return case.limitation if case.engaged else None


def _blocked_before_running(case: Case) -> HostTrustLimitation | None:
    limitation = _engaged(case)
    if limitation is None:
        return None
    blocked = limitation.demands.migration_blocked
    return limitation if blocked in (MigrationBlock.FROM_START, MigrationBlock.FROM_FIRST_RUN) else None


RULES = (
    Rule(
        "SQ701",
        "A guest that may only be what can migrate",
        Severity.ERROR,
        _only_migratable,
        why="-only-migratable makes every migration blocker fatal, and protection brings one.",
        broken='QEMU ends at the moment the blocker is added, with "disallowing migration blocker (--only-migratable) '
        'for: ...". Tried with KVM on 7.2, 10.0 and 11.1 for the CPU feature invtsc, which TDX forces; with SEV it '
        "comes at the first `cont`, with PEF at start (from QEMU's source). On s390x 7.2, 10.0 and 11.1 end at start: "
        '"The unpack facility is not compatible with the --only-migratable option".',
        remedy="remove -only-migratable",
        limits=_READ,
    ),
    Rule(
        "SQ702",
        "Waiting for a migration that cannot come",
        Severity.ERROR,
        _incoming,
        why="The source refuses to migrate a protected guest, and the memory of an unprotected one would arrive as "
        "plain text in memory that the guest reads through its key.",
        broken='The source answers `migrate` with its blocker ("SEV: Migration is not implemented", "State blocked by '
        'non-migratable CPU device (invtsc flag)"), for a live update with "Memory region ... uses guest_memfd, which '
        'is not supported with CPR." (messages of 10.0 and 11.1). Before its first run a SEV guest has no blocker yet. '
        "From QEMU's source; not tried with hardware.",
        remedy="remove -incoming and start the guest",
        limits=_READ,
    ),
    Rule(
        "SQ703",
        "Starting from a snapshot",
        Severity.ERROR,
        _loadvm,
        why="savevm has the same blockers as migration, and a snapshot of an unprotected guest holds plain text.",
        broken="From QEMU's source (migration/savevm.c); not tried with hardware.",
        remedy="remove -loadvm; snapshots of the disks alone work (-snapshot, qemu-img)",
        limits=_READ,
    ),
    Rule(
        "SQ704",
        "Counted instructions, record and replay",
        Severity.ERROR,
        _replay,
        why="Only TCG counts instructions, and protection is a feature of the processor that KVM reaches.",
        broken='QEMU 7.2, 10.0 and 11.1 with -accel kvm: "-icount is not allowed with hardware virtualization".',
        remedy="remove -icount",
        limits=_READ,
    ),
    Rule(
        "SQ705",
        "Replication of a protected guest",
        Severity.ERROR,
        _colo,
        why="COLO copies the guest's memory to the other host again and again, as a migration does.",
        broken="The migration that starts it is refused by the platform's blocker, and SEV has taken RAM discard for "
        'itself ("COLO: cannot disable RAM discard" is a message of 7.2, 10.0 and 11.1). From QEMU\'s source; not '
        "tried with hardware.",
        remedy="remove it",
        limits=_READ,
    ),
    Rule(
        "SQ706",
        "A measured launch that nobody can stop at",
        Severity.WARNING,
        _launch_not_held,
        why="The owner compares the measurement and injects a secret between the launch and the first instruction; "
        "only -S keeps QEMU there.",
        broken="Without -S QEMU finishes the launch at once: query-sev-launch-measure still answers, but "
        'sev-inject-launch-secret fails with "SEV: Not in correct state". From QEMU target/i386/sev.c; not tried with '
        "hardware.",
        remedy="add -S, check the measurement over QMP, then send `cont`",
        references=("https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html",),
        limits=_READ,
    ),
    Rule(
        "SQ707",
        "A reboot that ends the guest",
        Severity.NOTE,
        _reboot,
        why="The guest's registers and measured memory cannot be set back to their first state; from 11.0 on QEMU "
        "builds a new virtual machine for it instead.",
        broken='QEMU before 11.0 says "cpus are not resettable, terminating" and ends; with -no-shutdown it stays, '
        "stopped. From system/runstate.c; not tried with hardware.",
        remedy="add -no-reboot, which ends it in good order, and start it anew",
        references=("https://github.com/AMDESE/AMDSEV/issues/61",),
        limits=_READ,
    ),
    Rule(
        "SQ708",
        "Room for vCPUs that cannot be plugged in",
        Severity.NOTE,
        _processor_slots,
        why="A vCPU's first state is encrypted, and measured, when the guest is launched.",
        broken="QEMU 7.2, 10.0 and 11.1 take maxcpus. A vCPU plugged into a TDX guest fails: KVM gives EIO once "
        "the TD is finalised (Linux arch/x86/kvm/vmx/tdx.c, tdx_vcpu_create), and Linux in it has CPU hot-plug off. "
        "SEV-ES and SEV-SNP encrypt only the vCPUs that exist at launch. From source; not tried with hardware.",
        remedy="give the guest all its vCPUs at start",
        references=("https://github.com/kata-containers/kata-containers/issues/11681", _KATA),
        limits=_READ,
    ),
    Rule(
        "SQ709",
        "Room for memory that the guest must accept",
        Severity.NOTE,
        _memory_slots,
        why="Memory of such a guest is unusable until the guest has accepted it; at boot firmware and kernel do.",
        broken="Linux did not accept memory that is plugged in later as of early 2026 (patches for SEV-SNP and for "
        "virtio-mem were under review): it ends the guest when it is touched. QEMU 7.2, 10.0 and 11.1 take the option. "
        "From the kernel's mailing list; not tried with hardware.",
        remedy="give the guest all its memory at start",
        references=("https://lore.kernel.org/all/20251125175753.1428857-1-prsampat@amd.com/", _KATA),
        limits=_READ,
    ),
)
