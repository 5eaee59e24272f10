"""Error texts of IBM POWER's Protected Execution Facility."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin
from sequester.faults.protection_object import unknown_object

_SOURCE = "QEMU hw/ppc/pef.c (6.0 and newer)"

FAULTS: tuple[Fault, ...] = (
    *unknown_object("pef", "pef-guest", "came with QEMU 6.0", "qemu-system-ppc64"),
    Fault(
        "pef.needs-kvm",
        "PEF needs KVM",
        r"PEF requires KVM",
        Origin.QEMU,
        "The accelerator is TCG. PEF works only with KVM on a POWER9 host that runs under the ultravisor.",
        ("use -accel kvm on such a host", "without such hardware: `sequester run --simulate pef`"),
        ("live: QEMU 7.2, 10.0, 11.1, pseries", _SOURCE),
    ),
    Fault(
        "pef.no-ultravisor",
        "This host has no ultravisor",
        r"KVM implementation does not support Secure VMs \(is an ultravisor running\?\)",
        Origin.QEMU,
        "KVM does not offer secure guests: no POWER9 with SMF firmware, the ultravisor is not started, or the kernel "
        "is built without CONFIG_PPC_UV.",
        (
            "ls /proc/device-tree/ibm,ultravisor  must exist; dmesg | grep -i ultravisor",
            "POWER10 and newer have no PEF",
        ),
        (_SOURCE, "Linux Documentation/arch/powerpc/ultravisor.rst"),
    ),
    Fault(
        "pef.enable",
        "KVM would not allow this guest to go secure",
        r"Error enabling PEF with KVM",
        Origin.QEMU,
        "KVM knows secure guests and refused this one: the ultravisor is out of memory for it, or KVM is nested.",
        ("dmesg | grep -iE 'kvm-hv|ultravisor|uv'", "use the host's own KVM-HV, not KVM-PR or a nested one"),
        (_SOURCE,),
    ),
    Fault(
        "pef.svm-off",
        "The guest could not be made ordinary again for its reset",
        r"KVM_PPC_SVM_OFF ioctl failed(?:: (?P<why>[A-Z][\w/ -]{1,60}))?",
        Origin.QEMU,
        "A secure guest is reset by taking its protection off first; that failed. {why}",
        ("end the guest and start it anew", "dmesg | grep -iE 'kvm-hv|uv'"),
        (_SOURCE,),
    ),
    Fault(
        "migration.pef",
        "PEF guests do not migrate",
        r"PEF: Migration is not implemented",
        Origin.QEMU,
        "A pef-guest is blocked from migration from the start, whether or not the guest went secure.",
        ("shut down and start on the other host", "drop --only-migratable"),
        (_SOURCE,),
    ),
    Fault(
        "pef.kernel-no-support",
        "This kernel cannot host secure guests",
        r"KVMPPC-UVMEM: No support for secure guests",
        Origin.KERNEL,
        "KVM-HV found no ultravisor at its start.",
        ("boot under the ultravisor's firmware on a POWER9 with SMF",),
        ("Linux 7.2 arch/powerpc/kvm/book3s_hv_uvmem.c",),
    ),
    Fault(
        "pef.page-out",
        "A secure guest's page could not be given back",
        r"Can't (?:find VMA for gfn:(?P<gfn>0x[0-9a-f]{1,16})|page out gpa:(?P<gpa>0x[0-9a-f]{1,16}))",
        Origin.KVM,
        "At the guest's end or reset a page did not come back from secure memory; that memory is lost until the next "
        "boot.",
        ("update the host's kernel", "reboot the host when secure memory runs out"),
        ("Linux 7.2 arch/powerpc/kvm/book3s_hv_uvmem.c",),
    ),
)
