"""Lines of the host's kernel log about SEV, SEV-ES and SEV-SNP (ccp, kvm_amd, SEV-SNP, AMD-Vi) and of the guest's."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight
from sequester.platforms.sev_status_faults import firmware_status

_CCP = "Linux 7.2 ccp.ko, drivers/crypto/ccp"
_SVM = "Linux 7.2 arch/x86/virt/svm/sev.c"
_BIOS = "BIOS setup (CBS): SMEE Enabled, SEV-SNP support Enabled (NBIO), SNP memory coverage Enabled, IOMMU Enabled"

FAULTS: tuple[Fault, ...] = (
    Fault(
        "sev.kernel-bios",
        "Memory encryption is off in the BIOS setup",
        r"SEV: memory encryption not enabled by BIOS",
        Origin.KERNEL,
        "The CPU can do SEV, and the BIOS has not set the bit for memory encryption (SYSCFG bit 23).",
        ("BIOS setup: SMEE (Secure Memory Encryption) to Enabled, not Auto; then power off and on",),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-psp-dead",
        "The secure processor cannot be reached",
        r"psp: unable to access the device: you might be running a broken BIOS|psp initialization failed|"
        r"psp: unable to allocate an IRQ",
        Origin.KERNEL,
        "The driver found the device and no answer. /dev/sev will not appear.",
        ("update the BIOS", "BIOS setup: enable the PSP/ASP, if there is such an entry"),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-no-sev-psp",
        "This secure processor has no SEV",
        r"psp does not support SEV\b",
        Origin.KERNEL,
        "Normal for all secure processors but one on a two-socket board, and for consumer CPUs: a Ryzen may show "
        "the flag 'sev' and has no firmware for it.",
        ("look for another ccp line with 'sev enabled'; without one SEV is not possible on this machine",),
        (_CCP, "AMDESE/AMDSEV#1, #107"),
        weight=Weight.GENERAL,
    ),
    Fault(
        "snp.kernel-init-config",
        "The BIOS has not set the platform up for SNP",
        r"SEV-SNP: (?:failed to INIT|SNP_INIT(?:_EX)? failed),?(?: rc (?P<rc>-?\d{1,4}),)? ?error "
        r"(?P<fw_error>0x3)\b",
        Origin.FIRMWARE,
        "SNP_INIT was answered with INVALID_CONFIG. Known causes: boot in legacy mode instead of UEFI; SNP "
        "or SMEE on "
        "Auto; SNP memory coverage off; a BIOS that is too old for its SEV firmware. A 'SEV: INIT error 0x1' after "
        "it only follows.",
        (
            _BIOS + "; boot mode UEFI",
            "update BIOS and SEV firmware together: some pairs do not work (one maker's newest did not)",
            "report with: dmesg | grep -iE 'rmp|snp|sev|ccp', lscpu, BIOS version",
        ),
        (_CCP, "AMDESE/AMDSEV#107, #154, #176, #189, #271"),
        decode=firmware_status,
    ),
    Fault(
        "sev.kernel-init",
        "The SEV firmware did not start",
        r"(?P<kind>SEV(?:-SNP)?): (?:failed to INIT|(?:SNP_)?INIT(?:_EX)? failed),?(?: rc (?P<rc>-?\d{1,4}),)?"
        r"(?: error)? ?(?P<fw_error>0x[0-9a-f]{1,8})",
        Origin.FIRMWARE,
        "{kind} did not start: {fw_error}, {_cause}.",
        ("{_step}", "if two lines say so, the first is the cause: SNP's failure makes SEV's fail with 0x1"),
        (_CCP, "AMDESE/AMDSEV#25, #36, #202; AMDESE/sev-tool#6, #43, #65"),
        weight=Weight.GENERAL,
        decode=firmware_status,
    ),
    Fault(
        "sev.kernel-secure-data",
        "The firmware's stored data were damaged and are made anew",
        r"SEV: retrying INIT command because of SECURE_DATA_INVALID error",
        Origin.KERNEL,
        "The kernel tries once more, with a reset state. Keys and certificates of the platform are new afterwards; "
        "owners must fetch the chain again.",
        ("export the chain anew: sevctl export", "if it comes at every boot: update the BIOS"),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-tmr",
        "There is no SEV-ES because memory for it was missing",
        r"SEV: TMR allocation failed, SEV-ES support unavailable",
        Origin.KERNEL,
        "The firmware wants 1 or 2 MiB in one piece, and the driver was loaded too late to find it.",
        ("load ccp and kvm_amd early in the boot; reboot",),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-timeout",
        "The secure processor does not answer any more",
        r"sev command (?P<command>0x[0-9a-f]{1,4}) timed out, disabling PSP",
        Origin.KERNEL,
        "After this no SEV guest can be started until the next boot.",
        ("power the host off and on", "update BIOS and SEV firmware"),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-firmware-version",
        "The SEV firmware is too old for SNP",
        r"SEV-SNP support requires firmware version >= (?P<major>\d{1,3}):(?P<minor>\d{1,3})",
        Origin.KERNEL,
        "SNP needs SEV firmware {major}.{minor} or newer (the line shows only with debugging on).",
        ("update the BIOS, or put amd_sev_fam*.sbin from linux-firmware into /lib/firmware/amd; reboot",),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-firmware-update",
        "The newer SEV firmware was not taken",
        r"Failed to update SEV firmware: (?P<fw_error>0x[0-9a-f]{1,8})",
        Origin.KERNEL,
        "The file in /lib/firmware/amd was refused: {fw_error}, {_cause}. The firmware of the BIOS goes on.",
        ("{_step}", "the file must be for this CPU's family and model"),
        (_CCP,),
        decode=firmware_status,
    ),
    Fault(
        "sev.kernel-init-ex",
        "The file for the firmware's data cannot be used",
        r"SEV: could not (?:open (?:file|[^ ]{1,200}) for (?:read|write)|read \d{1,10} bytes to non volatile)",
        Origin.KERNEL,
        "ccp.init_ex_path names a file that the kernel cannot read or write.",
        ("create the directory, or drop init_ex_path",),
        (_CCP,),
    ),
    Fault(
        "sev.kernel-status",
        "The firmware does not tell its state",
        r"SEV: failed to get status\. Error: (?P<fw_error>0x[0-9a-f]{1,8})|"
        r"SNP (?:PLATFORM_STATUS|FEATURE_INFO) command failed, ret = (?P<rc>-?\d{1,4}), error = "
        r"(?P<error>0x[0-9a-f]{1,8})",
        Origin.FIRMWARE,
        "The driver gave up; /dev/sev does not appear.",
        ("update the BIOS", "power the host off and on"),
        (_CCP,),
    ),
    Fault(
        "snp.rmp-not-reserved",
        "The BIOS has not set memory aside for SNP",
        r"Memory for the RMP table has not been reserved by BIOS",
        Origin.KERNEL,
        "SNP needs a table (RMP) of 16 bytes for each 4 KiB page, and the BIOS must reserve it.",
        (
            "BIOS setup: CBS > CPU Common > SNP Memory (RMP Table) Coverage: Enabled; some boards call it RMP size",
            "no such entry: update the BIOS, or ask the maker",
        ),
        (_SVM, "AMDESE/AMDSEV#68, #197"),
    ),
    Fault(
        "snp.rmp-coverage",
        "The SNP table does not cover all memory",
        r"(?:Memory reserved for the RMP table|Segmented RMP) does not cover full system RAM "
        r"\(expected (?P<expected>0x[0-9a-f]{1,16}) got (?P<got>0x[0-9a-f]{1,16})\)",
        Origin.KERNEL,
        "The kernel refuses SNP unless every page has an entry: {expected} bytes are needed, {got} were reserved. "
        "Older kernels let it pass.",
        ("BIOS setup: SNP Memory Coverage: Enabled, not Custom",),
        (_SVM, "AMDESE/AMDSEV#226"),
    ),
    Fault(
        "snp.rmp-invalid",
        "The SNP table's place makes no sense",
        r"RMP configuration not valid: base=(?P<base>0x[0-9a-f]{1,16}|0), end=(?P<end>0x[0-9a-f]{1,16}|0)|"
        r"RMP segment size \(\d{1,6}\) is not within advertised bounds|Invalid RMP (?:segment base address|size)",
        Origin.KERNEL,
        "The registers that the BIOS filled in contradict themselves.",
        ("update the BIOS", _BIOS),
        (_SVM,),
    ),
    Fault(
        "snp.cpus-offline",
        "SNP starts only with all CPUs online",
        r"SNP init failed: not all CPUs online",
        Origin.KERNEL,
        "A CPU was switched off (nosmt, maxcpus=, or by hand) when the firmware was to be started.",
        (
            "boot without nosmt, maxcpus=, nr_cpus=; to be without SMT use the BIOS setup",
            "then: modprobe -r kvm_amd ccp; modprobe kvm_amd",
        ),
        (_SVM, "AMDESE/AMDSEV#154"),
    ),
    Fault(
        "snp.iommu-passthrough",
        "SNP needs the IOMMU",
        r"SNP: IOMMU disabled or configured in passthrough mode, SNP cannot be supported",
        Origin.KERNEL,
        "The kernel command line has amd_iommu=off, iommu=off or iommu=pt, or the BIOS has the IOMMU off.",
        ("remove iommu=pt, iommu.passthrough=1, amd_iommu=off; BIOS setup: IOMMU Enabled", "reboot"),
        ("Linux 7.2 drivers/iommu/amd/init.c iommu_snp_enable",),
    ),
    Fault(
        "snp.iommu-v2",
        "SNP and IOMMU page tables of version 2 exclude each other",
        r"SNP: IOMMU is configured with V2 page table mode, SNP cannot be supported",
        Origin.KERNEL,
        "The kernel command line has amd_iommu=pgtbl_v2.",
        ("remove it, or write amd_iommu=pgtbl_v1; reboot",),
        ("Linux 7.2 drivers/iommu/amd/init.c iommu_snp_enable",),
    ),
    Fault(
        "snp.iommu-feature",
        "SNP is off in the IOMMU",
        r"SNP: IOMMU SNP feature not enabled, SNP cannot be supported",
        Origin.KERNEL,
        "The IOMMU does not announce SNP: the BIOS has SEV-SNP support off for it.",
        ("BIOS setup: CBS > NBIO Common > SEV-SNP Support: Enabled",),
        ("Linux 7.2 drivers/iommu/amd/init.c iommu_snp_enable",),
    ),
    Fault(
        "snp.rmp-failed",
        "SNP is off because its table could not be set up",
        r"SNP: RMP initialization failed, SNP cannot be supported",
        Origin.KERNEL,
        "The line before names the reason.",
        ("explain the SEV-SNP line before this one",),
        ("Linux 7.2 drivers/iommu/amd/init.c",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "sev.kernel-no-asids",
        "No guests of one kind are possible here",
        r"(?P<kind>SEV(?:-ES|-SNP)?) (?P<state>disabled|unusable) \(ASIDs (?P<first>\d{1,6}) - (?P<last>\d{1,6})\)",
        Origin.KVM,
        "{kind} is {state}: ASIDs {first} to {last}. 'unusable' means that the range is empty (all ASIDs went to the "
        "other kinds); 'disabled' that the parameter, the BIOS or the firmware has it off.",
        (
            "BIOS setup: SEV-ES ASID space limit divides the ASIDs; SNP and ES get those below it",
            "kvm_amd.ciphertext_hiding_asids takes ASIDs from SEV-ES for SNP",
            "a firmware with the fix for CVE-2025-48514 does not allow SEV-ES beside SNP",
            "cat /sys/module/kvm_amd/parameters/sev*",
        ),
        ("Linux 7.2 kvm-amd.ko, arch/x86/kvm/svm/sev.c sev_hardware_setup", "virtee/sevctl#116"),
    ),
    Fault(
        "sev.kernel-lock-limit",
        "A guest wants more locked memory than it may have",
        r"SEV: (?P<pages>\d{1,20}) total pages would exceed the lock limit of (?P<limit>\d{1,20})",
        Origin.KVM,
        "{pages} pages of 4 KiB are to be pinned, and the process may pin {limit} (RLIMIT_MEMLOCK).",
        (
            "LimitMEMLOCK=infinity, ulimit -l unlimited, or libvirt's <memtune><hard_limit>: memory plus 256 MiB",
        ),
        ("Linux 7.2 arch/x86/kvm/svm/sev.c sev_check_pin_count",),
    ),
    Fault(
        "sev.kernel-pin",
        "Guest memory could not be pinned",
        r"SEV: Failure locking (?P<pages>\d{1,20}) pages",
        Origin.KVM,
        "Pages cannot be pinned for long: memory on DAX or on a file system, or the host is out of memory.",
        ("back the guest with anonymous memory or memfd",),
        ("Linux 7.2 kvm-amd.ko",),
    ),
    Fault(
        "snp.kernel-context",
        "The firmware gave no context for a guest",
        r"Failed to create SEV-SNP context, rc (?P<rc>-?\d{1,4}) fw_error (?P<fw_error>-?\d{1,6})",
        Origin.FIRMWARE,
        "SNP_GCTX_CREATE: {fw_error}, {_cause}.",
        ("{_step}",),
        ("Linux 7.2 kvm-amd.ko",),
        decode=firmware_status,
    ),
    Fault(
        "snp.kernel-rmp-fault",
        "A guest page and the SNP table do not agree",
        r"SEV: (?:Unexpected RMP fault|Unable to split RMP entry|Failed to (?:look "
        r"up|retrieve|update|PSMASH) RMP entry)",
        Origin.KVM,
        "The host's kernel could not set or follow the owner of a page. With a released kernel this is a bug, or a "
        "guest that shares and unshares in a way that was not foreseen.",
        ("update the host's kernel", "report the lines with kernel version and guest"),
        ("Linux 7.2 kvm-amd.ko",),
    ),
    Fault(
        "snp.kernel-ap-features",
        "The guest asks for other features on a further vCPU",
        r"vmgexit: mismatched AP sev_features \[(?P<host>\w{1,20})\] != \[(?P<guest>\w{1,20})\] from guest",
        Origin.KVM,
        "A further vCPU was to be started with VMSA features {guest}, and this guest has {host}.",
        ("use guest kernels and hosts of like age; debug_swap is the usual difference",),
        ("Linux 7.2 kvm-amd.ko",),
    ),
    Fault(
        "sev.kernel-set-guest-debug",
        "A protected guest cannot be debugged",
        r"KVM_SET_GUEST_DEBUG for SEV-ES guest is not supported",
        Origin.KVM,
        "A debugger was attached to an SEV-ES or SNP guest.",
        ("drop -s and -gdb",),
        ("Linux 7.2 kvm-amd.ko",),
    ),
    Fault(
        "snp.guest-key-disabled",
        "The guest can no longer talk to the firmware",
        r"Disabling VMPCK(?P<level>\d) communication key to prevent IV reuse",
        Origin.GUEST,
        "A request to the firmware failed in a way that would make its key unsafe, so the guest's driver stopped "
        "using key {level}. Attestation works again only after a new start.",
        (
            "start the guest anew; look at the line before for the first failure",
            "fewer requests at once: the firmware answers one after another, and the host may slow a guest down",
        ),
        ("Linux 7.2 arch/x86/coco/sev",),
    ),
    Fault(
        "snp.guest-request",
        "A request to the firmware failed in the guest",
        r"Detected error from ASP request\. rc: (?P<rc>-?\d{1,4}), exitinfo2: (?P<info>0x[0-9a-f]{1,16})",
        Origin.GUEST,
        "The upper half of exitinfo2 is the host's answer (1: buffer for certificates too small, 2: busy, "
        "try again), "
        "the lower the firmware's status.",
        ("try again, with fewer requests at once", "host: dmesg | grep -i ccp"),
        ("Linux 7.2 vmlinux; GHCB specification, SNP Guest Request",),
    ),
    Fault(
        "snp.guest-key-empty",
        "There is no key for this privilege level",
        r"(?:Empty|Invalid) VMPCK(?P<level>\d) communication key",
        Origin.GUEST,
        "The secrets page has no key {level}: an SVSM runs in front of the kernel and keeps the lower ones, or the "
        "module parameter names a wrong one.",
        (
            "modprobe sev-guest vmpck_id=N with the level that dmesg names ('running at VMPL')",
            "with an SVSM ask for reports through /sys/kernel/config/tsm/report with service_provider=svsm",
        ),
        ("Linux 7.2 vmlinux, sev-guest.ko",),
    ),
    Fault(
        "sev.guest-vc",
        "The guest's exception handler met something it cannot do",
        r"(?:Unsupported exit-code (?P<code>0x[0-9a-f]{1,8}) in #VC exception|Unsupported exception in #VC "
        r"instruction emulation|Failure in communication with VMM \(exit-code (?P<exit>0x[0-9a-f]{1,8}))",
        Origin.GUEST,
        "In SEV-ES and SNP guests the kernel itself stands in for what the host emulates elsewhere, and this it does "
        "not know: an instruction on a device's memory, or a register.",
        (
            "update the guest's kernel",
            "drop devices that need emulated memory accesses: VGA, old network cards",
        ),
        ("Linux 7.2 vmlinux, arch/x86/coco/sev",),
    ),
)
