"""QEMU's errors about guest memory: locking, backends, discarding, huge pages, KSM."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

_MEMLOCK = (
    "systemd: LimitMEMLOCK=infinity in the unit; shell: ulimit -l unlimited; container: --ulimit memlock=-1",
    "libvirt: <memtune><hard_limit> of the guest's memory plus 256 MiB, or <memoryBacking><locked/></memoryBacking>",
)

FAULTS: tuple[Fault, ...] = (
    Fault(
        "memory.mlock",
        "QEMU may not lock its memory",
        r"mlock(?:all)?: (?P<why>[A-Z][\w/ -]{1,60})|(?P<locking>locking memory failed)",
        Origin.QEMU,
        "-overcommit mem-lock=on locks everything, and the limit on locked memory is too low. SEV does not need "
        "this option: KVM pins the guest's memory by itself, under the same limit.",
        _MEMLOCK,
        ("live: QEMU 7.2 as nobody with ulimit -l 64", "QEMU util/oslib-posix.c os_mlock"),
    ),
    Fault(
        "memory.register-region",
        "KVM could not pin the guest's memory",
        r"failed to register region \((?P<address>\w{1,20})\+(?P<size>0x[0-9a-f]{1,16})\)"
        r" error '(?P<why>[A-Z][\w/ -]{1,60})'",
        Origin.QEMU,
        "SEV and SEV-ES pin all memory of the guest, {size} bytes in this piece. 'Cannot allocate memory' means "
        "that the process may not lock so much (RLIMIT_MEMLOCK) or that the host has not so much; the kernel then "
        "also logs 'would exceed the lock limit'. 'Bad address' is memory that cannot be pinned: a file on DAX, or "
        "a device's.",
        (
            *_MEMLOCK,
            "free -m; grep -i lock /proc/PID/limits",
            "back the guest with plain RAM or memfd, not with DAX",
        ),
        (
            "QEMU target/i386/sev.c sev_ram_block_added, text in 7.2 and 11.1",
            "Linux 7.2 arch/x86/kvm/svm/sev.c sev_pin_memory",
        ),
    ),
    Fault(
        "memory.unregister-region",
        "KVM did not unpin a piece of the guest's memory",
        r"failed to unregister region \((?P<address>\w{1,20})\+(?P<size>0x[0-9a-f]{1,16})\)",
        Origin.QEMU,
        "Harmless at the guest's end; else memory stays pinned until QEMU ends.",
        ("end the guest", "dmesg | tail"),
        ("QEMU target/i386/sev.c sev_ram_block_removed, text in 7.2 and 11.1",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "memory.discard-blocked",
        "Something needs to discard memory, and the protection forbids it",
        r"(?P<who>sev_\w{1,40}|COLO|RDMA|protected VMs|virtio-mem|cannot set up private guest memory): "
        r"(?:cannot disable RAM discard|discard currently blocked)",
        Origin.QEMU,
        "{who} must keep every page in place, and a device or feature that is already there relies on discarding "
        "pages: virtio-mem, a balloon that deflates on migration, postcopy, or another of the kind.",
        (
            "remove virtio-mem and free page reporting (virtio-balloon …,free-page-reporting=off)",
            "no postcopy, RDMA or COLO with a protected guest",
        ),
        ("QEMU target/i386/sev.c, hw/s390x/s390-virtio-ccw.c, system/physmem.c; texts in 7.2 and 11.1",),
    ),
    Fault(
        "memory.discard-disabled",
        "Discarding guest memory is switched off",
        r"Discarding RAM is disabled|Cannot set discarding of RAM broken",
        Origin.QEMU,
        "One side pins memory (SEV, VFIO), another would discard it (virtio-mem, guest_memfd conversion). "
        "'Cannot set discarding of RAM broken' with SEV-SNP and a passed-through device is a gap of QEMU 9.1.",
        (
            "remove virtio-mem and free page reporting",
            "SEV-SNP or TDX with VFIO: use QEMU 9.2 or newer (10.1 for TDX)",
        ),
        ("QEMU 11.1 binary; hw/vfio/container.c, hw/virtio/virtio-mem.c", "kubevirt/kubevirt#16407"),
    ),
    Fault(
        "memory.guest-memfd-cpr",
        "A live update cannot keep private memory",
        r"Memory region (?P<region>[^ ]{1,100}) uses guest_memfd, which is not supported with CPR",
        Origin.QEMU,
        "Checkpoint and restart (CPR) hands memory over by file; private memory of SNP and TDX guests cannot be.",
        ("stop the guest for the update",),
        ("QEMU 11.1 binary; system/physmem.c",),
    ),
    Fault(
        "memory.no-huge-pages",
        "There is not enough memory of the kind asked for",
        r"unable to map backing store for guest RAM: (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "The memory backend wants huge pages (or a file) that the host has not: {why}.",
        (
            "grep Huge /proc/meminfo; sysctl vm.nr_hugepages",
            "SNP and TDX: huge pages serve only the small shared part, so leave them out",
        ),
        ("live: QEMU 7.2 and 11.1, memory-backend-memfd,hugetlb=on",),
    ),
    Fault(
        "memory.backend-file",
        "The file behind the guest's memory cannot be opened",
        r"can't open backing store (?P<file>[^ ]{1,300}) for guest RAM: (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "mem-path={file}: {why}.",
        ("create it, or correct mem-path", "memory-backend-memfd needs no file"),
        ("live: QEMU 11.1",),
    ),
    Fault(
        "memory.backend-missing",
        "The machine names a memory backend that does not exist",
        r"Memory backend '(?P<name>[^']{1,120})' not found",
        Origin.QEMU,
        "-machine memory-backend={name}, and no -object with this id.",
        ("add -object memory-backend-ram,id={name},size=…",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "memory.backend-size",
        "Memory and its backend differ in size",
        r"Machine memory size does not match the size of the memory backend",
        Origin.QEMU,
        "-m and size= of the backend must be the same.",
        ("make them equal; 4G and 4096M are the same, 4000M is not",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "memory.backend-twice",
        "Memory is given twice",
        r"'-machine memory-backend' and '-numa memdev' properties are mutually exclusive",
        Origin.QEMU,
        "With NUMA nodes the memory belongs to the nodes.",
        ("drop memory-backend from -machine",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "memory.merge-value",
        "A switch that wants on or off",
        r"Parameter '(?P<name>mem-merge|dump-guest-core|kernel-hashes|iommu_platform)' expects 'on' or 'off'",
        Origin.QEMU,
        "{name} is on or off.",
        (
            "for a protected guest: mem-merge=off, so that the host does not search its memory for equal pages (KSM)",
        ),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "memory.nvdimm",
        "The machine has no persistent memory",
        r"nvdimm is not enabled: missing 'nvdimm' in '-M'",
        Origin.QEMU,
        "A persistent-memory device is given. It is memory shared with a host file, not private memory: a "
        "protected guest cannot keep secrets there.",
        ("use a disk, or virtiofs over shared memory", "or -machine nvdimm=on, when the data is public"),
        ("live: QEMU 7.2 and 11.1",),
    ),
)
