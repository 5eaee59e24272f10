"""Error texts of Arm's Confidential Compute Architecture. No QEMU release can make a realm yet."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin
from sequester.faults.protection_object import LISTING

FAULTS: tuple[Fault, ...] = (
    Fault(
        "cca.object-unknown",
        "This QEMU cannot make a realm",
        r"Parameter 'qom-type' does not accept value 'rme-guest'|invalid object type: rme-guest\b",
        Origin.QEMU,
        "rme-guest exists only in patches posted for QEMU; no release up to 11.1 has it, and no Linux up to 7.2 has "
        "the kernel's side.",
        (
            "use a QEMU and a kernel built from one and the same version of the patches",
            "to develop without: `sequester run --simulate cca`, or Arm's FVP",
            LISTING,
        ),
        ("live: QEMU 7.2, 10.0, 11.1 aarch64",),
    ),
    Fault(
        "cca.no-rme",
        "KVM on this host has no realms",
        r"KVM (?:does not support|required for) RME",
        Origin.QEMU,
        "The CPU has no Realm Management Extension, the firmware has no monitor (RMM), the kernel lacks the patches, "
        "or the accelerator is not KVM.",
        (
            "host: dmesg | grep -iE 'rmi|rme'  must show 'RMI ABI version'",
            "Armv9 with FEAT_RME, TF-A built with ENABLE_RME=1 and an RMM of the version that the kernel wants",
        ),
        ("QEMU patches 'arm: Run CCA VMs with KVM', target/arm/kvm-rme.c (not released)",),
    ),
    Fault(
        "cca.not-named",
        "The realm object is there and the machine does not name it",
        r"missing -machine confidential-guest-support parameter",
        Origin.QEMU,
        "An rme-guest object is given and no machine property.",
        ("-machine confidential-guest-support=ID",),
        ("QEMU patches, target/arm/kvm-rme.c kvm_arm_rme_init (not released)",),
    ),
    Fault(
        "cca.activate",
        "The realm could not be started",
        r"RME: (?P<what>failed to (?:activate realm|\w[\w ]{1,80}))",
        Origin.QEMU,
        "{what}: the monitor refused a step, mostly because it and the kernel are of different versions, or memory "
        "was missing.",
        ("host: dmesg | grep -iE 'rmi|rme'", "use kernel, RMM, TF-A and QEMU of one set of versions"),
        ("QEMU patches, target/arm/kvm-rme.c (not released)",),
    ),
    Fault(
        "migration.cca",
        "Realms do not migrate",
        r"RME: migration is not implemented",
        Origin.QEMU,
        "A realm is blocked from migration from the start.",
        ("shut down and start on the other host", "drop --only-migratable"),
        ("QEMU patches, target/arm/kvm-rme.c (not released)",),
    ),
    Fault(
        "cca.rmi-version",
        "The kernel and the monitor speak different versions",
        r"Unsupported RMI ABI \((?P<has>v(?:ersion )?[\d.]{1,9}[^)]{0,16})\)",
        Origin.KERNEL,
        "The monitor (RMM) speaks {has}, and this kernel was written for another version. Realms are off.",
        ("use an RMM and TF-A of the kernel's generation: 1.0 with patches for 1.0",),
        ("Linux patches 'arm64: Support for Arm CCA in KVM', rmi_check_version (not released)",),
    ),
    Fault(
        "cca.guest-rsi",
        "The guest and the monitor speak different versions",
        r"RME: RMM doesn't support RSI version (?P<wanted>\d{1,3}\.\d{1,3})"
        r"(?:\. Supported range: (?P<range>[\d.]{1,12}-[\d.]{1,12}))?",
        Origin.GUEST,
        "The guest's kernel wants RSI {wanted}; it goes on as in an ordinary virtual machine.",
        ("a guest kernel of the RMM's generation: Linux 6.13 or newer with RMM 1.0",),
        ("Linux 7.2 arch/arm64/kernel/rsi.c",),
    ),
    Fault(
        "cca.guest-memory",
        "The realm could not make its memory protected",
        r"Failed to set memory range to protected",
        Origin.GUEST,
        "The guest's kernel asked the RMM to take its memory and was refused; it stops there.",
        ("the memory of the guest must come from guest_memfd", "update guest kernel and RMM together"),
        ("Linux 7.2 arch/arm64/kernel/rsi.c",),
    ),
)
