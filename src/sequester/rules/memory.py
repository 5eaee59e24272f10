"""SQ2xx: memory: merging, pinning, backends, discarding, dumps."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Retype, Set, Unset
from sequester.guest.memory import MIB, huge_pages, in_file, ram_bytes, taken_at_once
from sequester.guest.part import Part
from sequester.platforms.limitation import Demands, Engagement, Limits

_READ = int(Limits.READ_MEMORY)
_BESIDE_RAM = 256 * MIB
"""What a guest pins beside its main memory: firmware, ROMs, video memory (libvirt's advice, a rule of thumb)."""
_KBASE = "https://libvirt.org/kbase/launch_security_sev.html"
_MARKS = "marks all guest memory as mergeable, for KSM"
_UNRELEASED_TYPE = "memory-backend-memfd-private"
"""Of the patched QEMUs for SEV-SNP and TDX of 2022 and 2023 (AMDESE/qemu snp-v3, intel/qemu-tdx)."""
_DEMANDS_NOTHING = Demands()


def _demands(case: Case) -> Demands:
    return case.limitation.demands if case.limitation is not None else _DEMANDS_NOTHING


def _at_switchover(case: Case) -> bool:
    return case.limitation is not None and case.limitation.engages is Engagement.AT_SWITCHOVER


def _merged_machine(case: Case) -> Iterator[Breach]:
    machine = case.guest.machine
    merge = machine.flag("mem-merge")
    if merge is False:
        return
    said = f"with mem-merge=on QEMU {_MARKS}" if merge else f"without mem-merge=off QEMU {_MARKS}"
    fix = (Set(machine.key, "mem-merge", "off"),)
    if _at_switchover(case):
        yield Breach(
            f"{said}, which matters once the guest has switched over",
            machine,
            fix,
            "machine mem-merge=off",
            severity=Severity.NOTE,
        )
    else:
        yield Breach(said, machine, fix, "machine mem-merge=off")


def _merged_backend(case: Case) -> Iterator[Breach]:
    severity = Severity.NOTE if _at_switchover(case) else None
    for part in case.guest.memory_backends:
        if part.flag("merge"):
            yield Breach(
                f"{part.label()} has merge={part.text('merge')}, which goes before the machine's mem-merge",
                part,
                (Set(part.key, "merge", _like(part, False)),),
                f"{part.label()} merge=off",
                severity=severity,
            )


def _huge_pages(case: Case) -> Iterator[Breach]:
    if _demands(case).huge_pages:
        return
    for part in (*case.guest.memory_backends, *case.guest.of("mem-path")):
        if by := huge_pages(part):
            yield Breach(f"{part.label()} is on huge pages ({by})", part)


def _plugged(case: Case) -> Iterator[Breach]:
    demands = _demands(case)
    if demands.discard and not demands.guest_memfd:
        return
    for part in case.guest.devices:
        if part.type.startswith("virtio-mem"):
            if demands.discard:
                yield Breach(f"{part.label()} plugs in memory that the guest has to accept first", part)
            elif _at_switchover(case):
                yield Breach(f"{part.label()} needs to discard memory, so the guest cannot switch over", part)
            else:
                yield Breach(
                    f"{part.label()} needs to discard memory, which this platform pins",
                    part,
                    severity=Severity.ERROR,
                )
        elif part.type == "pc-dimm" and demands.guest_memfd:
            yield Breach(f"{part.label()} plugs in memory that the guest has to accept first", part)


def _balloon(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if part.type.startswith("virtio-balloon"):
            more = ", and reports no free pages either" if part.flag("free-page-reporting") else ""
            yield Breach(f"{part.label()}: a Linux guest cannot use it{more}", part)


def _locked_memory(case: Case) -> Iterator[Breach]:
    guest, host = case.guest, case.host
    if not _demands(case).pinned:
        return
    size = ram_bytes(guest)
    if guest.dialect == "libvirt":
        lock = guest.one("overcommit")
        tuned = any("<memtune>" in left.what or "hard_limit" in left.what for left in guest.not_carried)
        if not tuned and not (lock is not None and lock.flag("mem-lock")):
            yield Breach(
                "all memory will be pinned, and the domain says nothing of how much may be",
                guest.memory,
                remedy="add <memoryBacking><locked/></memoryBacking>, or <memtune><hard_limit> of the memory "
                f"and {_BESIDE_RAM // MIB} MiB more",
            )
    elif host is not None and host.memlock is not None and not host.is_root and size is not None:
        wanted = size + _BESIDE_RAM
        if host.memlock < wanted:
            yield Breach(
                f"about {wanted // MIB} MiB will be pinned, and users of this host may lock "
                f"{host.memlock // MIB} MiB",
                guest.memory,
                remedy="raise RLIMIT_MEMLOCK of the user that runs QEMU (limits.conf, LimitMEMLOCK=)",
            )


def _taken_twice(case: Case) -> Iterator[Breach]:
    if not _demands(case).guest_memfd:
        return
    huge = {part.key: by for part in case.guest.memory_backends if (by := huge_pages(part))}
    for part in case.guest.memory_backends:
        if part.key in huge:
            yield Breach(
                f"{part.label()} takes huge pages ({huge[part.key]}) for the shared copy, and ordinary pages for "
                "the private one",
                part,
                severity=Severity.WARNING,
            )
    for part, said in taken_at_once(case.guest):
        if part.key not in huge:
            yield Breach(f"{said} fills the shared copy of all memory before the guest has any private", part)


def _numa_policy(case: Case) -> Iterator[Breach]:
    if not _demands(case).guest_memfd:
        return
    for part in case.guest.memory_backends:
        policy = part.text("policy")
        if "host-nodes" in part.properties or (policy and policy != "default"):
            yield Breach(
                f"{part.label()} is bound to nodes of the host, which its private memory does not follow",
                part,
            )


def _dumped(case: Case) -> Iterator[Breach]:
    machine = case.guest.machine
    dump = machine.flag("dump-guest-core")
    if dump or (dump is None and case.guest.dialect != "libvirt"):
        yield Breach(
            "a crash of QEMU writes the guest's memory into a core file on the host",
            machine,
            (Set(machine.key, "dump-guest-core", "off"),),
            "machine dump-guest-core=off",
        )
    for part in case.guest.memory_backends:
        if part.flag("dump"):
            yield Breach(
                f"{part.label()} has dump={part.text('dump')}, which goes before the machine's dump-guest-core",
                part,
                (Set(part.key, "dump", _like(part, False)),),
                f"{part.label()} dump=off",
            )


def _left_in_file(case: Case) -> Iterator[Breach]:
    if case.guest.dialect == "libvirt":
        return  # which names such files itself and removes them
    for part in case.guest.memory_backends:
        path = in_file(part)
        if path and not part.flag("discard-data"):
            yield Breach(f"{part.label()} keeps the guest's memory in {path}", part)


def _never_released(case: Case) -> Iterator[Breach]:
    for part in case.guest.memory_backends:
        if part.type == _UNRELEASED_TYPE:
            yield Breach(
                f"{part.label()}: no released QEMU has this type",
                part,
                () if "path" in part.properties else (Retype(part.key, "memory-backend-memfd"),),
                f"{part.label()} becomes memory-backend-memfd",
            )
        elif "private" in part.properties:
            yield Breach(
                f"{part.label()} has private={part.text('private')}, which no released QEMU knows",
                part,
                (Unset(part.key, "private"),),
                f"{part.label()} without private",
                remedy="remove private",
            )


def _live_update(case: Case) -> Iterator[Breach]:
    machine = case.guest.machine
    if _demands(case).guest_memfd and machine.flag("aux-ram-share"):
        yield Breach("aux-ram-share=on prepares a live update (CPR) that will be refused", machine)


def _like(part: Part, value: bool) -> bool | str:
    """Return a truth as this part spells its own: JSON wants booleans."""
    spelled_in_json = any(isinstance(given, bool) for given in part.properties.values())
    return value if spelled_in_json else ("on" if value else "off")


RULES: tuple[Rule, ...] = (
    Rule(
        "SQ201",
        "KSM stays on for main memory",
        Severity.WARNING,
        _merged_machine,
        why="Memory that the host cannot read cannot be merged, and what can be merged before it is protected, or is "
        "shared with the host, tells other guests by its timing that they hold the same page.",
        broken="QEMU means to turn merging off with the machine property and does so too late: 7.2, 10.0 and 11.1 "
        "still call madvise(MADV_MERGEABLE) twice on all of main memory (strace, sev-guest and q35 with 256 MiB), "
        "while qom-get then says that mem-merge is false. With mem-merge=off there is no such call. merge=off on "
        "the memory backend alone leaves one of the two.",
        remedy="add mem-merge=off to -machine (libvirt: <memoryBacking><nosharepages/>)",
        references=(
            "QEMU hw/core/machine.c, machine_run_board_init",
            "https://www.kernel.org/doc/html/latest/admin-guide/mm/ksm.html",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ202",
        "KSM turned on for one memory backend",
        Severity.WARNING,
        _merged_backend,
        why="The backend's own merge=on goes before the machine's mem-merge=off.",
        broken="QEMU 7.2, 10.0 and 11.1 with mem-merge=off on the machine and merge=on on its backend call "
        "madvise(MADV_MERGEABLE) once for all of that backend (strace).",
        remedy="remove merge=on from the backend",
        limits=_READ,
    ),
    Rule(
        "SQ203",
        "Huge pages under a guest that cannot have them",
        Severity.ERROR,
        _huge_pages,
        why="The platform takes guest memory page by page, in small ones.",
        broken='QEMU since 8.0 refuses to start with "Protected VMs can currently not be backed with huge pages"; '
        "7.2 starts, and the guest's wish to switch over fails with return code 0xa02, so that it stays "
        "unprotected. From QEMU target/s390x/kvm/pv.c and diag.c; not tried, as it takes the hardware.",
        remedy="use memory-backend-ram, or leave the backend to QEMU",
        references=("https://www.qemu.org/docs/master/system/s390x/protvirt.html",),
        limits=_READ,
    ),
    Rule(
        "SQ204",
        "Memory that is plugged in by paravirtual or emulated modules",
        Severity.WARNING,
        _plugged,
        why="virtio-mem works by discarding memory, and a platform that pins memory forbids that. Where memory is "
        "private until the guest shares it, the guest must accept what is plugged in, and Linux does not yet.",
        broken='SEV and SEV-ES: "Discarding RAM is disabled" when QEMU starts; s390: the guest\'s switchover is '
        'refused ("protected VMs: cannot disable RAM discard"). SNP and TDX: QEMU from 10.1 on may refuse virtio-mem '
        '("Failed to set RamDiscardManager"); else the guest dies when it touches what it has not accepted: UEFI has '
        "no way yet to tell it (draft of July 2026). From the sources of QEMU and edk2; without the machine property "
        "7.2, 10.0 and 11.1 take both devices.",
        remedy="give the guest all its memory at start (-m)",
        references=(
            "QEMU hw/virtio/virtio-mem.c, system/physmem.c",
            "https://github.com/tianocore/edk2/issues/12810",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ205",
        "A balloon that cannot be used",
        Severity.NOTE,
        _balloon,
        why="The balloon hands the host addresses of guest pages, past the platform's DMA interface, so Linux's "
        "driver turns that feature (VIRTIO_F_ACCESS_PLATFORM) off, and a device that has it on refuses the driver.",
        broken='Linux 6.1 on QEMU 7.2 and 11.1 with iommu_platform=on: "virtio_balloon virtio0: virtio: device '
        "refuses features: 3\", and no driver is bound; with iommu_platform=off it binds. So the host's `balloon` "
        "command changes nothing in a protected guest, and free pages are never reported. Harmless otherwise.",
        remedy="leave it out (libvirt: <memballoon model='none'/>), or keep it and expect nothing of it",
        references=(
            "Linux drivers/virtio/virtio_balloon.c, virtballoon_validate",
            "QEMU hw/virtio/virtio.c, virtio_validate_features",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ206",
        "More memory to be pinned than may be locked",
        Severity.WARNING,
        _locked_memory,
        why="Moving or swapping an encrypted page would change what it means, so KVM pins all of guest memory, and "
        "that counts against RLIMIT_MEMLOCK of a QEMU without CAP_IPC_LOCK.",
        broken="QEMU ends with \"sev_ram_block_added: failed to register region ... error 'Cannot allocate memory'\". "
        "From QEMU target/i386/sev.c and libvirt's article; not tried, as it takes the hardware.",
        remedy="raise the limit",
        references=(_KBASE,),
        limits=_READ,
    ),
    Rule(
        "SQ207",
        "Memory that the host pays for twice",
        Severity.NOTE,
        _taken_twice,
        why="Private memory lives in guest_memfd, beside the backend, which holds only what the guest shares. What "
        "fills the backend beforehand fills a copy that the guest hardly uses.",
        broken="Ordinary pages of the shared copy are given back as the guest takes its memory as private; huge "
        "pages never are (QEMU accel/kvm/kvm-all.c, kvm_convert_memory), so the guest costs the host twice its "
        "size. From source; not tried, as it takes the hardware.",
        remedy="remove prealloc, mem-lock and huge pages",
        references=("https://docs.kernel.org/virt/kvm/api.html",),
        limits=_READ,
    ),
    Rule(
        "SQ208",
        "A NUMA policy that private memory does not follow",
        Severity.NOTE,
        _numa_policy,
        why="The policy is set on the backend's mapping, and private memory is not in it.",
        broken="The guest runs, with its private memory on whichever nodes its vCPU threads fault it in. From QEMU "
        "backends/hostmem.c (mbind on the backend's pages alone); not tried, as it takes the hardware.",
        remedy="bind the vCPU threads or the whole QEMU (numactl, cpuset) instead",
        limits=_READ,
    ),
    Rule(
        "SQ209",
        "Guest memory in core files",
        Severity.NOTE,
        _dumped,
        why="The core holds what the guest shares with the host, and the ciphertext of the rest: large, useless for "
        "debugging, and one more copy to lose.",
        broken="QEMU 7.2, 10.0 and 11.1 mark guest memory MADV_DONTDUMP only with dump-guest-core=off (strace); "
        "the machine property changes nothing here. dump=on on a backend goes before it.",
        remedy="add dump-guest-core=off to -machine, as libvirt does",
        limits=_READ,
    ),
    Rule(
        "SQ210",
        "Guest memory in a file that outlives the guest",
        Severity.NOTE,
        _left_in_file,
        why="A shared file on a disk holds what was in memory last: the data that the guest exchanged with its disks "
        "and networks in the clear, and ciphertext.",
        broken="QEMU 7.2, 10.0 and 11.1 leave the file there, at its full size, when they end; with discard-data=on it "
        "is empty then. Where mem-path is a folder they make a file without a name there, and nothing is left.",
        remedy="use memory-backend-memfd, or add discard-data=on",
        limits=_READ,
    ),
    Rule(
        "SQ211",
        "Preparation for a live update that is refused",
        Severity.NOTE,
        _live_update,
        why="A new QEMU could not take over memory that lives in guest_memfd.",
        broken='QEMU 10.0 and 11.1 hold the message "Memory region ... uses guest_memfd, which is not supported with '
        'CPR."; not tried, as it takes the hardware. aux-ram-share is known since 10.0; 7.2 refuses it.',
        remedy="remove aux-ram-share=on",
        references=("https://www.qemu.org/docs/master/devel/migration/CPR.html",),
        limits=_READ,
    ),
    Rule(
        "SQ212",
        "A memory backend that was never released",
        Severity.ERROR,
        _never_released,
        why="Private memory was first a backend of its own, in the patched QEMUs that SEV-SNP and TDX came with. What "
        "was released takes it from guest_memfd by itself, beside any ordinary backend, or with none.",
        broken="QEMU 7.2, 10.0 and 11.1 end with \"Parameter 'qom-type' does not accept value "
        "'memory-backend-memfd-private'\" and \"Invalid parameter 'private'\".",
        remedy="use memory-backend-memfd, or leave the backend to QEMU",
        references=("https://github.com/canonical/tdx/issues/114", "QEMU system/physmem.c, ram_block_add"),
        limits=_READ,
    ),
)
