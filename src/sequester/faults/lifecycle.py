"""QEMU's errors when a protected guest is reset, migrated or saved."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

FAULTS: tuple[Fault, ...] = (
    Fault(
        "reset.not-resettable",
        "The guest rebooted, and this QEMU cannot reset it",
        r"cpus are not resettable, terminating",
        Origin.QEMU,
        "The host cannot write registers of an SEV-ES, SNP or TDX guest, so a reset ends QEMU. Since QEMU 11.0 the "
        "guest is rebuilt instead.",
        (
            "let the layer above start it anew: libvirt <on_reboot>restart</on_reboot> (destroys and boots), "
            "QEMU -no-reboot with a supervisor",
            "or use QEMU 11.0 or newer, on a kernel that lets it make a new virtual machine",
        ),
        ("QEMU system/runstate.c, text in 7.2 and 11.1", "AMDESE/AMDSEV#47, #61; canonical/tdx#233"),
    ),
    Fault(
        "reset.rebuilt",
        "The guest was rebuilt for its reboot",
        r"virtual machine state has been rebuilt with new guest file handle",
        Origin.QEMU,
        "No error: QEMU 11.0 and newer make a new KVM virtual machine for a reboot of a protected guest. What was "
        "injected at the first launch (SEV secrets) is gone, and a new launch is measured.",
        ("inject the secret anew, or have the guest fetch it after attestation",),
        ("QEMU 11.1 binary; system/runstate.c",),
    ),
    Fault(
        "reset.rebuild-failed",
        "The guest could not be rebuilt for its reboot",
        r"unable to rebuild guest: (?P<why>[^(]{1,120})\((?P<number>-?\d{1,4})\)",
        Origin.QEMU,
        "QEMU tried to make a new virtual machine for the reboot: {why}.",
        ("dmesg | tail", "start the guest anew"),
        ("QEMU 11.1 binary; system/runstate.c",),
    ),
    Fault(
        "reset.unsupported",
        "The accelerator cannot reset a protected guest",
        r"accelerator does not support (?:reset!|rebuilding guest state, proceeding with normal reset!)",
        Origin.QEMU,
        "The kernel or accelerator cannot give the guest a new virtual machine.",
        ("use -no-reboot and start the guest anew", "update the kernel"),
        ("QEMU 11.1 binary; system/runstate.c",),
    ),
    Fault(
        "migration.invtsc",
        "A guest with an invariant TSC does not migrate",
        r"State blocked by non-migratable CPU device \(invtsc flag\)",
        Origin.QEMU,
        "invtsc is on. TDX turns it on in every guest: this is what keeps a TD from migrating and from being saved.",
        ("TDX: none; shut down and start anew", "other guests: -cpu …,-invtsc"),
        ("live: QEMU 7.2 and 11.1, -cpu host,invtsc=on -only-migratable", "QEMU target/i386/kvm/kvm.c"),
    ),
    Fault(
        "migration.only-migratable",
        "--only-migratable forbids this device or guest",
        r"disallowing migration blocker \((?P<why>--only-migratable|migration/snapshot in progress)\) for: "
        r"(?P<blocker>[^\n]{1,200})",
        Origin.QEMU,
        "{blocker}",
        ("drop --only-migratable, or what blocks",),
        ("live: QEMU 7.2 and 11.1", "QEMU migration/migration.c"),
        weight=Weight.GENERAL,
    ),
    Fault(
        "migration.device",
        "A device keeps the guest from migrating",
        r"State blocked by non-migratable device '(?P<device>[^']{1,120})'|"
        r"Device (?P<model>[\w-]{1,60}) is not migratable, but --only-migratable was specified",
        Origin.QEMU,
        "{device}{model} has state that cannot be moved.",
        ("unplug it before, or do not migrate",),
        ("QEMU 11.1 binary; migration/savevm.c",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "snapshot.no-device",
        "There is no disk to keep a snapshot in",
        r"no block device can store vmstate for snapshot",
        Origin.QEMU,
        "savevm and loadvm want a writable qcow2 disk. A protected guest's memory could not be saved anyway.",
        ("snapshot the disks only: blockdev-snapshot-sync, virsh snapshot-create --disk-only",),
        ("live: QEMU 11.1, -loadvm",),
    ),
)
