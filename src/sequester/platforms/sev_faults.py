"""Error texts of AMD SEV, SEV-ES and SEV-SNP: QEMU's about the set-up; launch and kernel lie beside this file."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight
from sequester.faults.protection_object import unknown_object
from sequester.platforms.sev_kernel_faults import FAULTS as SEV_KERNEL
from sequester.platforms.sev_launch_faults import FAULTS as SEV_LAUNCH
from sequester.platforms.snp_launch_faults import FAULTS as SNP_LAUNCH

_PROBE = "`sequester probe` names the first link that is missing on this host"
_DMESG = "dmesg | grep -iE 'sev|ccp|snp|rmp'"

_SETUP: tuple[Fault, ...] = (
    *unknown_object("sev", "sev-guest", "came with QEMU 2.12", "qemu-system-x86_64 (or i386)"),
    *unknown_object("snp", "sev-snp-guest", "came with QEMU 9.1", "qemu-system-x86_64 (or i386)"),
    Fault(
        "sev.no-sev-host",
        "This host's CPU has no memory encryption",
        r"cbitpos check failed, host '0' requested '(?P<requested>\d{1,10})'",
        Origin.QEMU,
        "QEMU compared cbitpos={requested} with the CPU's (CPUID 8000_001F EBX) and found 0 there: the CPU is not "
        "an AMD EPYC with SEV, or this host is itself a virtual machine. It is the first check, so the number "
        "given is not the problem.",
        (
            "run the guest on an AMD EPYC host (SNP: 7003 or newer), on bare metal",
            _PROBE,
            "without such hardware: `sequester run --simulate sev`",
        ),
        ("live: QEMU 7.2, 10.0, 11.1 on an Intel host", "QEMU target/i386/sev.c sev_common_kvm_init"),
    ),
    Fault(
        "sev.cbitpos",
        "The C-bit position is not this CPU's",
        r"cbitpos check failed, host '(?P<host>[1-9]\d{0,9})' requested '(?P<requested>\d{1,10})'",
        Origin.QEMU,
        "cbitpos must be what the CPU says: {host} here, {requested} was given. It is 47 on EPYC 7001 and 7002, 51 "
        "since 7003: a guest definition was moved to another generation.",
        (
            "write cbitpos={host}",
            "libvirt: leave <cbitpos> out, it fills it in",
            "`sequester plan --host` takes it from the host's record",
        ),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1", "virtee/sevctl#84, #85"),
    ),
    Fault(
        "sev.cbitpos-check",
        "The C-bit position is not this CPU's, or it has none",
        r"cbitpos check failed(?!, host ')",
        Origin.QEMU,
        "QEMU compared cbitpos with the CPU's (CPUID 8000_001F EBX). The rest of the line tells which case it is: host "
        "'0' means no SEV in this CPU, or a host that is itself a virtual machine; any other number is the right one.",
        (
            "read the whole line, and explain that",
            _PROBE,
            "give the number that it names for the host; libvirt fills it in when <cbitpos> is left out",
        ),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1",),
    ),
    Fault(
        "sev.reduced-phys-bits-missing",
        "reduced-phys-bits is missing",
        r"Parameter 'reduced-phys-bits' is missing",
        Origin.QEMU,
        "sev-guest and sev-snp-guest have no default for it.",
        ("add reduced-phys-bits=1: right on every CPU so far", "libvirt fills it in by itself"),
        ("live: QEMU 7.2, 10.0, 11.1",),
    ),
    Fault(
        "sev.reduced-phys-bits",
        "reduced-phys-bits is out of range",
        r"reduced_phys_bits check failed, it should be (?:in the range of 1 to 63|>=1), requested "
        r"'(?P<requested>\d{1,10})'",
        Origin.QEMU,
        "It is the number of address bits that the guest loses, 1 to 63; {requested} was given.",
        ("write reduced-phys-bits=1, whatever CPUID says: its number is for the host's own addresses",),
        ("live: QEMU 10.0 and 11.1", "AMD APM volume 2, 15.34.6"),
    ),
    Fault(
        "sev.no-device",
        "The firmware's device cannot be opened",
        r"(?:Failed to open (?P<device>/[^ ']{1,100}) '|SEV: Failed to open (?P<node>/[^ :']{1,100}): |"
        r"Could not open '(?P<path>/dev/sev[^']{0,100})': )(?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "{device}{node}{path}: {why}. /dev/sev appears when the driver ccp has found a secure processor with SEV. "
        "'Permission denied': it belongs to root, mode 0600.",
        (
            "modprobe ccp; " + _DMESG,
            "no line with 'sev enabled': memory encryption is off in the BIOS setup (SMEE), the CPU is not an EPYC, "
            "or the kernel has no CONFIG_CRYPTO_DEV_SP_PSP",
            "Permission denied: chgrp kvm /dev/sev; chmod 660 /dev/sev (a udev rule keeps it so); libvirt does it",
            "in a container: pass /dev/sev in",
        ),
        (
            "live: QEMU 7.2, 10.0 ('Failed to open') and 11.1 ('Could not open')",
            "AMDESE/AMDSEV#191, #266, #291",
        ),
    ),
    Fault(
        "sev.es-irqchip",
        "SEV-ES wants KVM's interrupt controller",
        r"SEV-ES guests require in-kernel irqchip ?support",
        Origin.QEMU,
        "kernel-irqchip=off is given, and the policy has bit 2 (SEV-ES).",
        ("-machine kernel-irqchip=split, or leave it out",),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1 (which lack the space)",),
    ),
    Fault(
        "sev.es-unavailable",
        "SEV-ES is asked for, and this host has only SEV",
        r"guest policy requires SEV-ES, but host SEV-ES support unavailable",
        Origin.QEMU,
        "The policy has bit 2, and the firmware was not started for SEV-ES: kvm_amd.sev_es=0, no ASIDs left for "
        "it in the BIOS setup, or the kernel's log says 'TMR allocation failed'.",
        (
            "cat /sys/module/kvm_amd/parameters/sev_es  must say Y or 1",
            "BIOS setup: SEV-ES ASID space limit above 1; dmesg then says 'SEV-ES enabled (ASIDs 1 - N)'",
            "or policy=0x1 for plain SEV, which does not protect registers",
        ),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1", "virtee/sevctl#116; AMDESE/AMDSEV#33"),
    ),
    Fault(
        "snp.vm-type",
        "KVM on this host has no SEV-SNP",
        r"vm-type SEV-SNP not supported by KVM",
        Origin.QEMU,
        "KVM does not offer the SNP virtual machine type: the CPU, BIOS setup, firmware, IOMMU or kernel is missing "
        "a link. QEMU is fine.",
        (
            _PROBE,
            "cat /sys/module/kvm_amd/parameters/sev_snp  must say Y or 1; kernel 6.11 or newer",
            _DMESG + "  must show 'SEV-SNP API' and 'SEV-SNP enabled (ASIDs …)'",
            "BIOS setup: SMEE, SEV-SNP support, SNP memory coverage, IOMMU all Enabled; no iommu=pt, amd_iommu=off",
            "without such hardware: `sequester run --simulate sev-snp`",
        ),
        ("live: QEMU 10.0 and 11.1", "QEMU target/i386/kvm/kvm.c; Linux 7.2 arch/x86/kvm/svm/sev.c"),
    ),
    Fault(
        "sev.vm-type",
        "The kernel is too old for what the SEV object asks",
        r"SEV: host kernel does not support requested (?P<type>\w{1,30}) VM type(?P<options>, which is required)?",
        Origin.QEMU,
        "legacy-vm-type=off, or an option that needs it, wants the VM type {type}; this KVM has not got it: a "
        "kernel before 6.10, or a host without SEV.",
        (
            "legacy-vm-type=auto (the default) or on; on keeps the measurement of old QEMUs and kernels",
            "or a host with kernel 6.10 or newer: /sys/module/kvm_amd/parameters/sev says Y",
        ),
        ("live: QEMU 10.0 and 11.1, legacy-vm-type=off", "QEMU target/i386/sev.c sev_kvm_type"),
    ),
    Fault(
        "sev.configuration",
        "The kernel does not take this SEV configuration",
        r"host kernel does not support the requested SEV configuration|failed to query supported sev_features",
        Origin.QEMU,
        "QEMU asked the kernel which features of the VMSA it can have, and something asked for is not among them.",
        ("update the host's kernel (6.10 or newer)", "drop features that were asked for by an IGVM file"),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.smm",
        "SEV-SNP has no SMM",
        r"SEV-SNP does not support SMM",
        Origin.QEMU,
        "-machine smm=on, or secure boot through SMM, is asked for.",
        ("-machine smm=off, or leave it out; libvirt: no <smm state='on'/>, no <loader secure='yes'>",),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.value-length",
        "A base64 value has the wrong length",
        r"parameter length(?: of|:ID_AUTH) (?P<length>\d{1,20}) (?:not equal to|exceeds max of) "
        r"(?P<wanted>\d{1,10})",
        Origin.QEMU,
        "A property of sev-snp-guest decodes to {length} bytes and must be {wanted}: guest-visible-workarounds 16, "
        "host-data 32, id-block 96, id-auth 4096.",
        ("encode exactly {wanted} bytes, in one line: base64 -w0",),
        ("live: QEMU 10.0 and 11.1", "QEMU target/i386/sev.c; AMD 56860 chapter 8"),
    ),
    Fault(
        "snp.base64",
        "A value is not base64",
        r"Base64 data (?P<what>contains invalid characters|is not terminated correctly|[\w' ]{1,60})",
        Origin.QEMU,
        "A property given as base64 cannot be decoded ({what}).",
        ("encode it in one line: base64 -w0 FILE; a JSON or shell quote may have got in",),
        ("live: QEMU 10.0 and 11.1, host-data of sev-snp-guest", "QEMU util/base64.c"),
    ),
    Fault(
        "sev.policy-value",
        "The policy is not a number",
        r"Parameter 'policy' expects (?:an? )?(?P<what>uint\d{2}|integer|number)[\w ]{0,20}",
        Origin.QEMU,
        "QEMU wants a number in decimal or 0x hexadecimal.",
        ("SEV 0x1, SEV-ES 0x5, SEV-SNP 0x30000; `sequester platforms NAME` lists the bits",),
        ("live: QEMU 10.0 and 11.1",),
    ),
    Fault(
        "sev.file",
        "A file of the launch session cannot be read",
        r"(?:SEV: |sev\w{0,40}: )?[Ff]ailed to read '(?P<file>[^']{1,300})' \((?P<why>[^)]{1,200})\)",
        Origin.QEMU,
        "dh-cert-file or session-file: {file}.",
        (
            "give the full path; QEMU may run as another user and in another directory",
            "make both with sevctl session, from this platform's chain",
        ),
        ("QEMU target/i386/sev.c sev_read_file_base64, text in 7.2 and 11.1",),
    ),
    Fault(
        "sev.decode",
        "Something given as base64 cannot be decoded",
        r"SEV: Failed to decode (?P<what>data|sequence header)|SEV: failed to decode (?P<nonce>mnonce) input",
        Origin.QEMU,
        "A value handed over on the monitor, or a file of the session, is not base64.",
        ("base64 -w0, without line breaks or a header",),
        ("QEMU target/i386/sev.c, text in 11.1",),
    ),
    Fault(
        "sev.mnonce",
        "The nonce has the wrong length",
        r"SEV: mnonce must be (?P<wanted>\d{1,4}) bytes \(got (?P<got>\d{1,20})\)",
        Origin.QEMU,
        "query-sev-attestation-report wants a nonce of {wanted} bytes in base64; it got {got}.",
        ("head -c {wanted} /dev/urandom | base64",),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1",),
    ),
    Fault(
        "sev.query-not-enabled",
        "This guest has no SEV",
        r"SEV(?: is)? not enabled for guest|\bSEV is not enabled(?! in KVM)",
        Origin.QEMU,
        "The command needs a running SEV guest, and no machine property named an SEV object: the guest is an "
        "ordinary one.",
        (
            "ask the running machine: qom-get /machine confidential-guest-support",
            "add -machine confidential-guest-support=ID: an -object alone does nothing",
        ),
        ("live: QEMU 7.2 and 11.1 (sev-inject-launch-secret, query-sev-attestation-report, info sev)",),
    ),
    Fault(
        "sev.no-measurement",
        "There is no launch measurement",
        r"SEV launch measurement is not available",
        Origin.QEMU,
        "query-sev-launch-measure answers only in an SEV or SEV-ES guest, once its launch is measured. SEV-SNP has "
        "none: its guest asks for a report itself.",
        ("start the guest with -S and ask then", "SEV-SNP: take the report from inside the guest"),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "sev.capabilities-no-kvm",
        "SEV is asked about without KVM",
        r"(?<!SEV )\bKVM not enabled\b",
        Origin.QEMU,
        "query-sev-capabilities needs a QEMU that runs with -accel kvm.",
        ("QEMU -accel kvm -machine none",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "sev.kvm-disabled",
        "KVM on this host has no SEV",
        r"SEV is not enabled in KVM",
        Origin.QEMU,
        "KVM answered that it cannot encrypt guests: no AMD CPU with SEV, not enabled in the BIOS setup, or "
        "kvm_amd.sev=0. libvirt makes of this answer 'not supported with this QEMU binary'.",
        ("cat /sys/module/kvm_amd/parameters/sev  must say Y or 1", _DMESG, _PROBE),
        ("live: QEMU 7.2 and 11.1 with KVM on an Intel host", "QEMU target/i386/sev.c sev_get_capabilities"),
    ),
    Fault(
        "migration.sev",
        "SEV guests do not migrate",
        r"SEV(?P<kind>-SNP)?: Migration is not implemented",
        Origin.QEMU,
        "QEMU has no migration for SEV, SEV-ES and SEV-SNP. The guest is blocked from its first start on; the same "
        "blocker stops savevm, snapshots with memory and managed save.",
        ("shut down and start on the other host; only the disks move", "drop --only-migratable"),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1",),
    ),
    Fault(
        "sev.context",
        "The guest's encryption context could not be made",
        r"failed to create encryption context",
        Origin.QEMU,
        "Follows a failed LAUNCH_START, whose line has the reason.",
        ("explain the line with LAUNCH_START",),
        ("QEMU target/i386/sev.c, text in 7.2 and 11.1; AMDESE/AMDSEV#223",),
        weight=Weight.AFTERMATH,
    ),
)

FAULTS: tuple[Fault, ...] = (
    *_SETUP,
    *SEV_LAUNCH,
    *SNP_LAUNCH,
    *SEV_KERNEL,
)
