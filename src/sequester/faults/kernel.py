"""Lines of the kernel's log, of host or guest, that concern protected guests of any kind."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin

FAULTS: tuple[Fault, ...] = (
    Fault(
        "kernel.swiotlb-full",
        "The guest's bounce buffers are full",
        r"swiotlb buffer is full \(sz: (?P<size>\d{1,12}) bytes\), total (?P<total>\d{1,12}) \(slots\), "
        r"used (?P<used>\d{1,12})",
        Origin.GUEST,
        "A protected guest copies all I/O through shared memory, {total} slots of 2 KiB here, {used} in use; a "
        "transfer of {size} bytes found no room.",
        (
            "guest command line: swiotlb=262144 (512 MiB; a slot is 2 KiB)",
            "fewer queues and smaller rings: num-queues, queue-size of virtio devices",
            "a passed-through GPU needs more",
        ),
        (
            "Linux 7.2 kernel/dma/swiotlb.c",
            "coreos-assembler#3435; NVIDIA/open-gpu-kernel-modules#531",
        ),
    ),
    Fault(
        "kernel.swiotlb-none",
        "The guest has no bounce buffers",
        r"Can not allocate SWIOTLB buffer earlier and can't now provide you with the DMA bounce buffer|"
        r"software IO TLB: (?:No low mem|\w{1,40}: Failed to allocate (?P<bytes>\d{1,16}) bytes)",
        Origin.GUEST,
        "The buffer is taken at boot below 4 GiB, and there was no room: the swiotlb= value is too large, or the "
        "firmware leaves too little low memory.",
        ("lower swiotlb=, or drop it: the kernel takes 6 % of memory, at most 1 GiB, by itself",),
        ("Linux 7.2 kernel/dma/swiotlb.c", "AMDESE/AMDSEV#116"),
    ),
    Fault(
        "kernel.kvm-disabled-bios",
        "Virtualization is switched off in the BIOS setup",
        r"(?P<what>VMX|SVM) (?:not enabled \(by BIOS\)|\((?:in|out)side TXT\) disabled by BIOS|disabled \(by BIOS\))|"
        r"kvm: disabled by bios",
        Origin.KERNEL,
        "The CPU could run guests and is not allowed to.",
        ("BIOS setup: enable SVM (AMD) or VT-x (Intel), then power off and on",),
        (
            "Linux 7.2 arch/x86/kvm/vmx/vmx.c, arch/x86/kernel/cpu/feat_ctl.c; before 6.3 'kvm: disabled by bios'",
        ),
    ),
    Fault(
        "kernel.kvm-unsupported",
        "KVM does not start in an encrypted guest",
        r"KVM is unsupported when running as an SEV guest",
        Origin.KERNEL,
        "This machine is itself a guest with SEV. Protected guests do not nest.",
        ("run it on bare metal",),
        ("Linux 7.2 kvm-amd.ko",),
    ),
    Fault(
        "kernel.private-emulation",
        "KVM should emulate an access to private memory",
        r"unexpected emulation request on private memory",
        Origin.KVM,
        "The guest used memory as a device that it holds private; the host cannot emulate that. A guest kernel or "
        "firmware that does not know its platform.",
        ("use a guest kernel and firmware with support for the platform",),
        ("Linux 7.2 kvm.ko",),
    ),
    Fault(
        "kernel.gmem-prepare",
        "A page of private memory could not be prepared",
        r"gmem: Failed to prepare folio for index (?P<index>[0-9a-f]{1,16}) GFN (?P<gfn>[0-9a-f]{1,16}) "
        r"PFN (?P<pfn>[0-9a-f]{1,16}) error (?P<number>-?\d{1,4})",
        Origin.KVM,
        "The page did not change hands between host and guest (error {number}); the guest stops there.",
        ("dmesg: the lines before, about RMP or SEAMCALL", "update the host's kernel and firmware"),
        ("Linux 7.2 kvm.ko",),
    ),
    Fault(
        "kernel.oom",
        "The host ran out of memory and killed QEMU",
        r"(?:Out of memory|Memory cgroup out of memory): Killed process (?P<pid>\d{1,10}) "
        r"\((?P<name>qemu[^)]{0,40})\)",
        Origin.KERNEL,
        "Memory of a protected guest is pinned or unmovable: it is never swapped or shared with other guests (KSM). "
        "The host, or the cgroup, must have all of it, and SNP and TDX guests need a shared part on top.",
        (
            "give the host or cgroup the guest's memory and room for QEMU itself",
            "no preallocation (prealloc=off) with SNP, TDX",
        ),
        ("Linux mm/oom_kill.c",),
    ),
    Fault(
        "kernel.misc-cgroup",
        "The cgroup's share of encryption keys is spent",
        r"cgroup: charge rejected by the misc controller for (?P<resource>[\w-]{1,20}) resource in "
        r"(?P<group>[^\s]{1,200})",
        Origin.KERNEL,
        "Each protected guest takes one '{resource}' (an ASID or key) and {group} may have no more.",
        (
            "cat /sys/fs/cgroup{group}/misc.max misc.current; /sys/fs/cgroup/misc.capacity is the host's total",
            "end a guest, or raise misc.max",
        ),
        ("Linux 5.13 to 5.15 kernel/cgroup/misc.c; newer kernels only count it in misc.events",),
    ),
    Fault(
        "kernel.tsm-busy",
        "Nothing provides attestation reports in this guest",
        r"/sys/kernel/config/tsm/report[^:\n]{0,100}: (?P<why>No such file or directory|No such device[\w ]{0,20}|"
        r"Permission denied)",
        Origin.GUEST,
        "configfs has no report provider, or you are not root ({why}): the driver of the platform (sev-guest, "
        "tdx-guest, …) is not loaded, the kernel is older than 6.7, or this is no protected guest.",
        (
            "modprobe sev-guest (SNP) or tdx-guest (TDX); mount -t configfs none /sys/kernel/config",
            "dmesg | grep 'Memory Encryption Features active'  says whether it is protected at all",
        ),
        ("Linux 7.2 drivers/virt/coco/guest/report.c",),
    ),
)
