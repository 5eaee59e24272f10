"""QEMU's errors about the machine: its type, its processors, its firmware, its addresses."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

FAULTS: tuple[Fault, ...] = (
    Fault(
        "qemu.machine-type",
        "This QEMU has no such machine type",
        r"unsupported machine type(?:: \"(?P<type>[^\"]{1,80})\")?",
        Origin.QEMU,
        "{type}: misspelt, another architecture's, or of a newer QEMU (pc-q35-11.1 needs QEMU 11.1).",
        (
            "QEMU -machine help  lists them",
            "after a move to an older QEMU: a versioned type no newer than it. The type is part of what ACPI tables "
            "and a launch measurement are made of",
        ),
        ("live: QEMU 7.2 (without the name), 10.0 and 11.1",),
    ),
    Fault(
        "qemu.cpu-model",
        "This QEMU has no such CPU model",
        r"unable to find CPU model '(?P<model>[^']{1,80})'",
        Origin.QEMU,
        "{model}: misspelt, or newer than this QEMU. QEMU 7.2 ends with EPYC-Milan; 10.0 has EPYC-Genoa and "
        "SapphireRapids, 11.1 also EPYC-Turin. 'host' exists only where KVM is built in.",
        (
            "QEMU -cpu help  lists them",
            "SEV-ES and SEV-SNP: the model becomes part of the launch measurement; change the expected one too",
        ),
        ("live: QEMU 7.2, 10.0 and 11.1; the models by -cpu help of each",),
    ),
    Fault(
        "qemu.cpu-property",
        "The CPU model has no such feature",
        r"can't apply global (?P<cpu>[\w.-]{1,80})-cpu\.(?P<feature>[\w.-]{1,60})=",
        Origin.QEMU,
        "-cpu: '{feature}' is not known for this model: misspelt, or newer than this QEMU (x-rme of Arm CPUs: 8.1).",
        ("QEMU -cpu help  lists the features at its end",),
        ("live: QEMU 7.2 aarch64 (x-rme), 11.1 x86_64",),
        weight=Weight.GENERAL,
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
)
