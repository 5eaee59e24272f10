"""QEMU's errors about the protection object, the machine property that names it, and the accelerator."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

_NAME = r"'(?P<name>[^']{1,120})'"
_LISTING = (
    'echo \'{{"execute":"qmp_capabilities"}} {{"execute":"qom-list-types",'
    '"arguments":{{"implements":"confidential-guest-support"}}}}\' | QEMU -machine none -qmp stdio -display none'
    "  lists the protection objects that a binary really has"
)

FAULTS: tuple[Fault, ...] = (
    Fault(
        "qemu.tcg-assertion",
        "A protected guest without KVM (QEMU before 8 dies of it)",
        r"qemu_machine_creation_done: Assertion `machine->cgs->ready' failed",
        Origin.QEMU,
        "The machine names a protection object and nothing set it up: the accelerator is TCG, or the machine type "
        "has no hook for this object (powernv with pef-guest). QEMU 7.2 aborts here; newer ones say 'accelerator "
        "does not support confidential guest'.",
        (
            "use -accel kvm, alone: no -accel tcg behind it, no accel=kvm:tcg",
            "if kvm was given, read the lines before: KVM failed and QEMU fell back to TCG",
            "for PEF use -machine pseries",
            "without such hardware: `sequester run --simulate`",
        ),
        (
            "live: QEMU 7.2 x86_64 (sev-guest, q35) and ppc64 (pef-guest, powernv)",
            "QEMU softmmu/vl.c qemu_machine_creation_done",
        ),
    ),
    Fault(
        "qemu.accelerator",
        "This accelerator cannot run a protected guest",
        r"accelerator does not support confidential guest (?P<type>[\w-]{1,60})",
        Origin.QEMU,
        "The machine names a {type}, and the accelerator in use is not KVM (or the machine type has no hook for "
        "it). TCG cannot protect anything.",
        (
            "use -accel kvm, alone; without any -accel QEMU takes TCG",
            "if kvm was given, read the lines before: QEMU may have fallen back to TCG",
            "for PEF use -machine pseries",
            "without such hardware: `sequester run --simulate`",
        ),
        ("live: QEMU 10.0 and 11.1 x86_64 (sev-guest), 11.1 ppc64 (pef-guest, powernv)", "QEMU system/vl.c"),
    ),
    Fault(
        "qemu.private-memory-needs-kvm",
        "SEV-SNP and TDX need KVM",
        r"cannot set up private guest memory for (?P<type>[\w-]{1,60}): KVM required",
        Origin.QEMU,
        "Memory of a {type} comes from the kernel's guest_memfd, which only KVM has. The accelerator is TCG.",
        ("use -accel kvm, alone", "without such hardware: `sequester run --simulate`"),
        ("live: QEMU 10.0 (sev-snp-guest) and 11.1 (sev-snp-guest, tdx-guest)", "QEMU system/physmem.c"),
    ),
    Fault(
        "qemu.fell-back",
        "QEMU gave KVM up and went on with TCG",
        r"falling back to (?P<accelerator>tcg\b|[\w-]{1,20})",
        Origin.QEMU,
        "The first accelerator failed and the list of accelerators allows another. A protected guest never runs "
        "on {accelerator}; the real cause is in the lines before.",
        ("mend the cause given before this line", "give -accel kvm alone, so that a failure stays a failure"),
        ("live: QEMU 7.2 and 11.1, -machine accel=kvm:tcg",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "qemu.no-such-limitation",
        "The machine names a protection object that does not exist",
        rf"No such memory encryption object {_NAME}",
        Origin.QEMU,
        "-machine memory-encryption={name}, and there is no -object with id={name}.",
        ("add -object TYPE,id={name},…", "or correct the id; an id is case sensitive"),
        ("live: QEMU 7.2, 10.0, 11.1", "QEMU hw/core/machine.c machine_set_memory_encryption"),
    ),
    Fault(
        "qemu.no-such-object",
        "A property names an object or device that does not exist",
        rf"\bDevice {_NAME} not found",
        Origin.QEMU,
        "A property that links to another object names '{name}', and there is none. With "
        "confidential-guest-support={name} it means: no protection object with id={name}.",
        (
            "add -object TYPE,id={name},… for the protection object",
            "or correct the id given to confidential-guest-support",
            "a backend such as memory-backend-* is found here only if it is created as early as the machine; a "
            "protection object always is",
        ),
        ("live: QEMU 7.2, 10.0, 11.1 on x86_64, s390x, aarch64", "QEMU qom/object.c object_resolve_link"),
    ),
    Fault(
        "qemu.not-a-limitation",
        "The object named is not a protection object",
        r"Invalid parameter type for 'confidential-guest-support', expected: (?P<wanted>[\w-]{1,60})",
        Origin.QEMU,
        "-machine confidential-guest-support names an object of a type that protects nothing.",
        ("name the object of type sev-guest, sev-snp-guest, tdx-guest, pef-guest or s390-pv-guest",),
        ("QEMU 7.2 and 11.1 (qom-set of the property)", "QEMU qom/object.c"),
    ),
    Fault(
        "qemu.unknown-spelling",
        "QEMU never had this machine property",
        r"Property '(?P<machine>[^']{1,80})\.(?P<property>host-trust-limitation|securable-guest-[a-z]{1,20}|"
        r"confidential-guest-type)' not found",
        Origin.QEMU,
        "'{property}' was proposed and never released under this name. QEMU has confidential-guest-support since "
        "6.0, and memory-encryption since 2.12.",
        (
            "write confidential-guest-support=ID",
            "`sequester plan` writes the spelling that the QEMU at hand knows",
        ),
        ("live: QEMU 7.2, 10.0, 11.1 on x86_64, 11.1 on aarch64",),
    ),
    Fault(
        "qemu.property-too-new",
        "This QEMU is too old for confidential-guest-support",
        r"Property '(?P<machine>[^']{1,80})\.confidential-guest-support' not found",
        Origin.QEMU,
        "confidential-guest-support came with QEMU 6.0. An older QEMU has only memory-encryption, for SEV.",
        ("update QEMU to 6.0 or newer", "for SEV on an older one write memory-encryption=ID"),
        ("QEMU qom/object.c (text); hw/core/machine.c of 5.2 and 6.0 (property)",),
    ),
    Fault(
        "qemu.machine-property",
        "The machine has no such property",
        r"Property '(?P<machine>[\w.+-]{1,80})-machine\.(?P<property>[\w-]{1,60})' not found",
        Origin.QEMU,
        "Machine {machine} has no property '{property}': a typing error, another architecture's, or this QEMU is "
        "too old or too new for it.",
        ("QEMU -machine {machine},help  lists the properties",),
        ("live: QEMU 7.2 (x-change-vmfd-on-reset of 11.0), 10.0 and 11.1",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "qemu.memory-encryption-deprecated",
        "The older spelling of the machine property",
        r"memory-encryption is deprecated, use confidential-guest-support instead",
        Origin.QEMU,
        "A warning only: memory-encryption still does the same, and will go.",
        ("write confidential-guest-support=ID (QEMU 6.0 and newer)",),
        ("live: QEMU 11.1; 7.2 and 10.0 say nothing",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "qemu.object-type",
        "QEMU does not know this type of object",
        r"Parameter 'qom-type' does not accept value '(?P<type>[\w-]{1,60})'",
        Origin.QEMU,
        "-object {type}: the binary is too old or too new for it, was built without it, or the name is misspelt.",
        ("QEMU -object help  lists the types",),
        ("live: QEMU 7.2 and 11.1",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "qemu.private-memfd-gone",
        "A memory backend of patched TDX QEMUs that no release has",
        r"'qom-type' does not accept value 'memory-backend-memfd-private'",
        Origin.QEMU,
        "memory-backend-memfd-private existed only in the QEMUs that Intel and Canonical patched for TDX. "
        "Released QEMUs take private memory from guest_memfd by themselves.",
        ("drop the backend, or use memory-backend-ram", "drop -machine memory-backend of it"),
        ("live: QEMU 7.2 and 11.1", "canonical/tdx#342"),
    ),
    Fault(
        "qemu.restricted-memory",
        "A QEMU patched for an SNP or TDX kernel that never was released",
        r"restricted (?:guest )?memory|memfd_restricted",
        Origin.QEMU,
        "Early SNP and TDX patches used memfd_restricted; Linux released guest_memfd (6.8) instead. QEMU and "
        "kernel come from different generations of the patches.",
        (
            "use a released kernel (SNP 6.11, TDX 6.16 or newer) with a released QEMU (SNP 9.1, TDX 10.1 or newer)",
        ),
        ("AMDESE/AMDSEV#193, #216",),
    ),
    Fault(
        "qemu.object-property",
        "The object has no such property",
        r"-object (?P<type>[\w-]{1,60}),[^:]{0,400}: Invalid parameter '(?P<property>[^']{1,60})'",
        Origin.QEMU,
        "{type} has no property '{property}' in this QEMU: it came later (kernel-hashes 6.2, legacy-vm-type 9.1), "
        "belongs to another object (host-data, id-block, id-auth: sev-snp-guest only; pef-guest and s390-pv-guest "
        "have none), or is misspelt.",
        ("`sequester platforms NAME` lists the properties and since when they exist",),
        ("live: QEMU 7.2 (legacy-vm-type), 7.2 to 11.1 (host-data on sev-guest, policy on pef-guest)",),
    ),
    Fault(
        "qemu.no-such-accelerator",
        "This QEMU has no such accelerator",
        r"invalid accelerator (?P<name>[\w-]{1,20})",
        Origin.QEMU,
        "The build has no accelerator '{name}'. A qemu-system for another architecture than the host's has no KVM.",
        ("QEMU -accel help  lists them", "run a protected guest on a host of its own architecture"),
        ("live: QEMU 7.2, 10.0, 11.1: kvm on x86-hosted s390x, ppc64 and aarch64",),
    ),
    Fault(
        "qemu.command-not-here",
        "This QEMU has no such monitor command",
        r"The command (?P<command>[\w-]{1,60}) has not been found|SEV is not available in this QEMU",
        Origin.QEMU,
        "The query-sev and sev-inject commands are in x86 QEMUs only; nothing of the kind exists for TDX, PEF and "
        "s390 PV.",
        ("send it to the QEMU of an SEV guest",),
        ("live: QEMU 7.2 and 11.1 s390x (query-sev)",),
    ),
)
