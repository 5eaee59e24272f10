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
        "qemu.duplicate-object",
        "Two objects with the same id",
        r"Duplicate ID '(?P<id>[^']{1,120})' for object",
        Origin.QEMU,
        "-object with id={id} is there twice.",
        ("remove one; libvirt's own protection object is always called lsec0",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "qemu.json-object",
        "A JSON option that is cut short",
        r"JSON parse error, (?P<what>premature (?:EOI|end of input)|[^\n]{1,80})",
        Origin.QEMU,
        "QEMU cannot read an option given as JSON ({what}): usually the shell took the quotes.",
        ('put the whole JSON value in single quotes: -object \'{{"qom-type":"tdx-guest","id":"tdx0"}}\'',),
        ("live: QEMU 7.2 and 11.1",),
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
        "qemu.kernel-irqchip-value",
        "kernel-irqchip is on, off or split",
        r"Parameter 'kernel-irqchip' does not accept value '(?P<value>[^']{0,40})'",
        Origin.QEMU,
        "'{value}' is none of the three.",
        ("TDX: split, or leave it out; SEV-ES and SEV-SNP: on or split, or leave it out",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "qemu.needs-kernel",
        "-initrd, -append and -shim only go with -kernel",
        r"-(?P<option>initrd|append|shim) only allowed with -kernel option",
        Origin.QEMU,
        "There is a -{option} and no -kernel.",
        ("add -kernel, or drop -{option} and boot from disk",),
        ("live: QEMU 7.2 (-append) and 11.1 (-initrd, -shim)",),
    ),
    Fault(
        "qemu.firmware-missing",
        "The firmware image is not there",
        r"could not load PC BIOS '(?P<file>[^']{1,300})'",
        Origin.QEMU,
        "-bios {file}: no such file, not readable for this user, or not a multiple of 64 KiB.",
        (
            "ls -l {file}; a confined QEMU also needs its AppArmor or SELinux profile to allow it",
            "Debian: ovmf-amdsev has /usr/share/ovmf/OVMF.amdsev.fd, ovmf-inteltdx has OVMF.inteltdx*.fd",
        ),
        ("live: QEMU 7.2 and 11.1", "QEMU hw/i386/x86-common.c"),
    ),
    Fault(
        "qemu.pflash-size",
        "The firmware image has a size that flash cannot have",
        r"system firmware block device (?P<device>pflash\d) has invalid size (?P<size>\d{1,20})",
        Origin.QEMU,
        "{device} is {size} bytes; it must be a multiple of 4 KiB, and not empty: a wrong or damaged file.",
        ("give the image as it was installed; qemu-img info says what a file is",),
        ("live: QEMU 11.1", "QEMU hw/i386/pc_sysfw.c"),
    ),
    Fault(
        "qemu.pflash-readonly-memory",
        "Flash firmware under KVM that cannot map read-only memory",
        r"pflash with kvm requires KVM readonly memory support",
        Origin.QEMU,
        "TDX has no read-only memory, so firmware cannot be flash: a TD wants it as ROM. On other guests it is a "
        "very old kernel.",
        (
            "-bios OVMF.inteltdx.fd instead of -drive if=pflash or -machine pflash0",
            "libvirt: <loader type='rom'>",
        ),
        ("QEMU 11.1 binary; hw/i386/pc_sysfw.c, target/i386/kvm/tdx.c tdx_kvm_init",),
    ),
    Fault(
        "qemu.igvm-pflash",
        "IGVM and flash firmware exclude each other",
        r"pflash devices cannot be configured when using IGVM",
        Origin.QEMU,
        "An IGVM file brings the firmware with it.",
        ("drop pflash0, pflash1 and -drive if=pflash, or drop igvm-cfg",),
        ("QEMU 11.1 binary; hw/i386/pc_sysfw.c",),
    ),
    Fault(
        "qemu.cpu-host",
        "-cpu host needs KVM",
        r"CPU model 'host' requires (?P<what>[A-Z][\w ]{1,40})",
        Origin.QEMU,
        "The host's CPU model exists only under {what}, and the accelerator is another.",
        ("use -accel kvm", "under TCG use -cpu max"),
        ("live: QEMU 7.2 and 11.1 x86_64",),
    ),
    Fault(
        "qemu.cpu-enforce",
        "The host lacks a CPU feature that the guest insists on",
        r"(?P<who>Host|TCG) doesn't support requested features",
        Origin.QEMU,
        "enforce (or libvirt's check) makes a missing feature fatal; the warnings before name the features.",
        (
            "take a CPU model that the host can be: the oldest EPYC version of the fleet, or host",
            "a launch measurement depends on the model (SEV-ES, SNP): change the expected one too",
        ),
        ("live: QEMU 11.1, -cpu EPYC-v4,enforce",),
    ),
    Fault(
        "qemu.cpu-feature",
        "The host does not have a CPU feature of the model",
        r"(?:host|TCG) doesn't support requested feature: (?P<feature>CPUID[^ ]{1,60})",
        Origin.QEMU,
        "A warning: the guest runs without {feature} and the others listed. For SEV-ES and SEV-SNP the model is "
        "part of what is measured or validated.",
        ("take a CPU model that the host can be", "add ,-FEATURE for those listed to be rid of the warning"),
        ("live: QEMU 7.2 and 11.1",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "qemu.address-space",
        "The guest's memory does not fit its physical address bits",
        r"Address space limit (?P<limit>0x[0-9a-f]{1,16}) < (?P<top>0x[0-9a-f]{1,16}) phys-bits too low"
        r" \((?P<bits>\d{1,3})\)",
        Origin.QEMU,
        "maxmem (or hot-plug slots) reaches {top}, and {bits} bits end at {limit}. A protected guest also loses "
        "reduced-phys-bits.",
        (
            "give no maxmem and slots: memory is not hot-plugged into a protected guest",
            "or -cpu …,host-phys-bits=on",
        ),
        ("live: QEMU 7.2 and 11.1", "kata-containers#11681"),
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
