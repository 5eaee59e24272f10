"""QEMU's errors about how its command line is written."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

FAULTS: tuple[Fault, ...] = (
    Fault(
        "option.identifier",
        "An id is missing or cannot be an id",
        r"-(?P<option>object|device|netdev|drive|blockdev)\b[^\n]{0,400}: Parameter 'id' (?P<how>is missing|"
        r"expects an identifier)",
        Origin.QEMU,
        "The id {how}. An id consists of letters, digits, '-', '.' and '_', and begins with a letter.",
        ("-{option} TYPE,id=lsec0,…",),
        ("live: QEMU 7.2, 10.0 and 11.1",),
    ),
    Fault(
        "option.number",
        "A value that has to be a number is none",
        r"Parameter '(?P<parameter>[\w.-]{1,60})' expects a (?P<type>u?int\d{1,2}|size|number)\b",
        Origin.QEMU,
        "'{parameter}' is given something that is not of type {type}.",
        ("give a decimal number, or a hexadecimal one with 0x; no quotes inside the value, no space",),
        ("live: QEMU 7.2, 10.0 and 11.1 (cbitpos=foo)",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "option.on-off",
        "A switch is on or off",
        r"Parameter '(?P<parameter>[\w.-]{1,60})' expects 'on' or 'off'",
        Origin.QEMU,
        "'{parameter}' is given something else.",
        ("{parameter}=on or {parameter}=off; in JSON true or false, without quotes",),
        ("live: QEMU 7.2, 10.0 and 11.1 s390x (aes-key-wrap)",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "option.choice",
        "A value that is none of those allowed",
        r"Parameter '(?!qom-type')(?P<parameter>[\w.-]{1,60})' does not accept value '(?P<value>[^']{0,80})'",
        Origin.QEMU,
        "'{parameter}' takes one of a few words, and '{value}' is not among them in this QEMU.",
        ("QEMU -machine TYPE,help, -object TYPE,help or -device TYPE,help  lists what each takes",),
        ("live: QEMU 7.2, 10.0 and 11.1 (smm=maybe)",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "option.device-property",
        "The device has no such property",
        r"-device [^\n]{1,400}: Property '(?P<device>[\w.-]{1,80})\.(?P<property>[\w.-]{1,60})' not found",
        Origin.QEMU,
        "{device} has no property '{property}'. disable-legacy and disable-modern are of virtio-…-pci only; "
        "iommu_platform has an underscore.",
        ("QEMU -device {device},help  lists its properties",),
        ("live: QEMU 7.2, 10.0 and 11.1",),
    ),
    Fault(
        "option.unknown",
        "QEMU has no such option",
        r"^[\w./-]{1,200}: (?P<option>--?[\w-]{1,60}): invalid option$",
        Origin.QEMU,
        "{option}: misspelt, or of another QEMU version or architecture.",
        ("QEMU --help; a value that begins with '-' has to be quoted",),
        ("live: QEMU 7.2, 10.0 and 11.1",),
    ),
    Fault(
        "option.kernel-file",
        "The kernel image is not there",
        r"could not open kernel file '(?P<file>[^']{1,300})': (?P<why>[A-Z][\w ]{1,60})",
        Origin.QEMU,
        "-kernel {file}: {why}.",
        (
            "ls -l {file}, as the user QEMU runs as (libvirt: libvirt-qemu or qemu); AppArmor and SELinux also refuse",
        ),
        ("live: QEMU 7.2, 10.0 and 11.1",),
    ),
    Fault(
        "option.file",
        "A file cannot be opened",
        r"Could not open '(?P<file>[^']{1,300})': (?P<why>[A-Z][\w ]{1,60})",
        Origin.QEMU,
        "{file}: {why}. The option before it says whose file it is; without one, in QEMU 11.1, it is the sev-device "
        "of the protection object.",
        (
            "ls -l {file}, as the user QEMU runs as (libvirt: libvirt-qemu or qemu)",
            "Permission denied on a file that is readable: AppArmor or SELinux; see the kernel's log",
        ),
        ("live: QEMU 7.2 and 10.0 (-drive), 11.1 (-drive; sev-device=/nonexistent)",),
        weight=Weight.GENERAL,
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
)
