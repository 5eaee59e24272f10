"""Error texts of the launch of SEV and SEV-ES guests: commands of the firmware, firmware images, the secret.

QEMU prints ``COMMAND ret=ERRNO fw_error=STATUS 'text'`` with the status in decimal. ret=-5 (EIO) means that the
firmware ran the command and refused it; any other ret with fw_error=0 means that the kernel did.
"""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight
from sequester.platforms.sev_status_faults import firmware_status, refused

_DMESG = "dmesg | grep -iE 'sev|ccp|snp|rmp'"
_SOURCE = "QEMU target/i386/sev.c, text in 7.2 and 11.1"

FAULTS: tuple[Fault, ...] = (
    Fault(
        "sev.init-not-enabled",
        "The kernel does not do this kind of SEV",
        r"failed to initialize" + refused(r"-25", r"0"),
        Origin.KVM,
        "KVM_SEV_INIT was answered with ENOTTY: kvm_amd has this kind switched off, or no ASID is set aside for it "
        "(all to SEV-ES and SNP, or none).",
        (
            "cat /sys/module/kvm_amd/parameters/sev /sys/module/kvm_amd/parameters/sev_es",
            _DMESG + "  has 'failed to INIT' or 'ASIDs a - b' with b below a where it is so",
            "BIOS setup: SEV-ES ASID space limit decides how many ASIDs SEV and SEV-ES get",
            "an SNP object on a kernel with other SNP patches than QEMU's: use released versions of both",
        ),
        (_SOURCE, "Linux 7.2 arch/x86/kvm/svm/sev.c sev_asid_new", "AMDESE/AMDSEV#36, #258"),
        decode=firmware_status,
    ),
    Fault(
        "sev.init-busy",
        "There is no ASID left for another guest",
        r"failed to initialize" + refused(r"-16", r"-?\d{1,6}"),
        Origin.KVM,
        "Every protected guest takes one ASID of its kind; all are taken, or the cgroup may have no more.",
        (
            "end a guest of the same kind (SEV; or SEV-ES and SNP together)",
            "cat /sys/fs/cgroup/misc.capacity /sys/fs/cgroup/misc.current; misc.max of QEMU's cgroup",
            "BIOS setup: SEV-ES ASID space limit moves ASIDs between SEV and SEV-ES/SNP",
        ),
        (_SOURCE, "Linux 7.2 arch/x86/kvm/svm/sev.c sev_asid_new"),
        decode=firmware_status,
    ),
    Fault(
        "sev.init-unsupported",
        "The firmware cannot be started for SNP",
        r"failed to initialize" + refused(r"-95", r"-?\d{1,6}"),
        Origin.KVM,
        "EOPNOTSUPP: the SEV firmware is older than 1.51, or not all CPUs were online when it was started.",
        (
            _DMESG + "  shows 'SEV-SNP API:1.NN', or 'not all CPUs online'",
            "put all CPUs online, or update the SEV firmware, and reload: modprobe -r kvm_amd ccp; modprobe kvm_amd",
        ),
        (
            "Linux 7.2 drivers/crypto/ccp/sev-dev.c __sev_snp_init_locked, arch/x86/virt/svm/sev.c snp_prepare",
            "svsm-vtpm/linux-svsm#7",
        ),
        decode=firmware_status,
    ),
    Fault(
        "sev.init-invalid",
        "Kernel and QEMU do not agree about the guest",
        r"failed to initialize" + refused(r"-22", r"0"),
        Origin.KVM,
        "EINVAL from the set-up: QEMU asks for VMSA features, a GHCB version or a VM type that this kernel does not "
        "take. Patched QEMU and kernel of different ages do this.",
        ("use released versions: SNP kernel 6.11 and QEMU 9.1, or newer", "drop features asked for by hand"),
        (_SOURCE, "Linux 7.2 arch/x86/kvm/svm/sev.c __sev_guest_init", "AMDESE/AMDSEV#215"),
        decode=firmware_status,
    ),
    Fault(
        "sev.init",
        "SEV could not be set up for this guest",
        r"(?:sev\w{0,40}: |SEV: )failed to initialize" + refused(r"-?\d{1,4}", r"-?\d{1,6}"),
        Origin.KVM,
        "The set-up failed: {_verdict}.",
        ("{_step}", _DMESG),
        (_SOURCE,),
        weight=Weight.GENERAL,
        decode=firmware_status,
    ),
    Fault(
        "sev.platform-status",
        "The firmware does not tell its state",
        r"failed to get platform status" + r" ret=(?P<ret>-?\d{1,4}) ?fw_error='(?P<fw_error>-?\d{1,6}): ",
        Origin.FIRMWARE,
        "The first question to /dev/sev failed: the secure processor is there and its SEV firmware does not "
        "run. Status {fw_error}, {_cause}.",
        (
            _DMESG + "  has the reason from the boot: 'failed to INIT error …'",
            "update the BIOS, or put a newer SEV firmware into /lib/firmware/amd",
        ),
        (_SOURCE, "AMDESE/AMDSEV#25"),
        decode=firmware_status,
    ),
    Fault(
        "sev.launch-start-policy",
        "The firmware does not accept the guest's policy",
        r"(?<!SNP_)LAUNCH_START" + refused(r"-?\d{1,4}", r"7"),
        Origin.FIRMWARE,
        "POLICY_FAILURE at LAUNCH_START: the policy asks for something that this platform has not: a firmware API "
        "at least so new (bits 16-31), SEV-ES (bit 2) where it is off, or the session was made for another policy.",
        (
            "policy=0x1 (SEV) or 0x5 (SEV-ES) for a try",
            "make the session anew with the same policy: sevctl session --name NAME CHAIN POLICY",
        ),
        (_SOURCE, "AMD 55766 LAUNCH_START"),
        decode=firmware_status,
    ),
    Fault(
        "sev.launch-start-certificate",
        "The owner's session does not fit this platform",
        r"(?<!SNP_)LAUNCH_START" + refused(r"-?\d{1,4}", r"6|11|10"),
        Origin.FIRMWARE,
        "The firmware refused dh-cert-file or session-file ({fw_error}): they were made for another machine's key "
        "(PDH), or for a policy other than this one. The PDH changes when the firmware's data are reset.",
        (
            "export the chain anew on this very host: sevctl export --full chain.cert",
            "make both files anew: sevctl session --name NAME chain.cert POLICY",
        ),
        (_SOURCE, "AMD 55766 LAUNCH_START"),
        decode=firmware_status,
    ),
    Fault(
        "sev.launch-start-no-session",
        "The kernel could not read the session",
        r"(?<!SNP_)LAUNCH_START" + refused(r"-(?:12|14|22)", r"0"),
        Origin.KVM,
        "LAUNCH_START did not reach the firmware: a certificate or session that is empty, or longer than 16 KiB.",
        ("check that dh-cert-file and session-file are base64 of what sevctl made",),
        ("Linux 7.2 arch/x86/kvm/svm/sev.c sev_launch_start",),
        decode=firmware_status,
    ),
    Fault(
        "sev.launch-update-vmsa",
        "The vCPUs' state could not be measured",
        r"LAUNCH_UPDATE_VMSA" + refused(r"-?\d{1,4}", r"-?\d{1,6}"),
        Origin.KVM,
        "SEV-ES: {_verdict}. ENOTTY: the kernel has no SEV-ES for this guest; EINVAL: a debugger "
        "or breakpoints are set on a vCPU; EIO: the firmware refused, mostly an old one.",
        ("no gdb stub (-s, -gdb)", "{_step}", "update the SEV firmware", _DMESG),
        (_SOURCE, "Linux 7.2 arch/x86/kvm/svm/sev.c sev_launch_update_vmsa", "AMDESE/AMDSEV#41"),
        decode=firmware_status,
    ),
    Fault(
        "sev.launch-secret",
        "The secret was refused",
        r"failed to inject secret" + refused(r"-?\d{1,4}", r"-?\d{1,6}"),
        Origin.FIRMWARE,
        "LAUNCH_SECRET: {_verdict}. The packet must be made with the keys of "
        "this launch's "
        "session and over this launch's measurement.",
        (
            "make it anew from this launch: sevctl secret build, with the TIK and TEK of the session, and the "
            "measurement just read",
            "the secret area must lie in one page of guest memory: leave gpa out, OVMF names its own",
        ),
        (_SOURCE, "AMD 55766 LAUNCH_SECRET; Linux 7.2 arch/x86/kvm/svm/sev.c sev_launch_secret"),
        decode=firmware_status,
    ),
    Fault(
        "sev.command",
        "The firmware or the kernel refused a step of the launch",
        r"(?P<command>(?:SNP_)?LAUNCH_\w{1,20}|export PDH cert|get ID|(?:query the )?attestation report(?: length)?)"
        r" ret=(?P<ret>-?\d{1,4}) fw_err(?:or)?=(?P<fw_error>-?\d{1,6}|0x[0-9a-f]{1,8})",
        Origin.FIRMWARE,
        "{command}: {_verdict}.",
        ("{_step}", _DMESG),
        (_SOURCE, "Linux 7.2 include/uapi/linux/psp-sev.h"),
        weight=Weight.GENERAL,
        decode=firmware_status,
    ),
    Fault(
        "sev.firmware-error",
        "A status of the SEV firmware",
        r"\bfw_err(?:or)?[=: ]{1,2}'?(?P<fw_error>-?\d{1,6}|0x[0-9a-f]{1,8})\b",
        Origin.FIRMWARE,
        "{fw_error}: {_cause}.",
        ("{_step}", _DMESG),
        ("Linux 7.2 include/uapi/linux/psp-sev.h",),
        weight=Weight.GENERAL,
        decode=firmware_status,
    ),
    Fault(
        "sev.secret-state",
        "It is too early or too late for a secret",
        r"SEV: Not in correct state\. \(LSECRET\) (?P<state>[0-9a-f]{1,4})",
        Origin.QEMU,
        "A secret can be given only between the launch measurement and the first start: state launch-secret of "
        "query-sev. After `cont` it is too late; in an SEV-SNP guest it is never possible.",
        ("start with -S (virsh start --paused), read the measurement, give the secret, then cont",),
        (_SOURCE,),
    ),
    Fault(
        "sev.secret-area",
        "The firmware has no place for a secret",
        r"SEV: no secret area found in OVMF, gpa must be specified",
        Origin.QEMU,
        "The image is an ordinary OVMF. Only builds of OvmfPkg/AmdSev have the area for launch secrets.",
        (
            "use OVMF.amdsev.fd",
            "giving gpa by hand works only where the guest knows the address and keeps it free",
        ),
        (_SOURCE,),
    ),
    Fault(
        "sev.secret-address",
        "The secret's address is not in guest memory",
        r"SEV: Failed to calculate guest address",
        Origin.QEMU,
        "gpa given to sev-inject-launch-secret is no RAM of the guest.",
        ("leave gpa out, with an OVMF that has a secret area",),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "sev.hashes-firmware",
        "The firmware cannot check a kernel",
        r"SEV: kernel specified but guest firmware has no hashes table GUID",
        Origin.QEMU,
        "kernel-hashes=on and -kernel are given, and the image has no table for the hashes: an ordinary OVMF.",
        (
            "use OVMF.amdsev.fd (a build of OvmfPkg/AmdSev)",
            "or boot from disk without -kernel, and without kernel-hashes",
        ),
        (_SOURCE,),
    ),
    Fault(
        "sev.hashes-area",
        "The firmware's table for kernel hashes is unusable",
        r"SEV: (?:guest firmware hashes table area is invalid \(base=(?P<base>0x[0-9a-f]{1,16}) "
        r"size=(?P<size>0x[0-9a-f]{1,16})\)|cannot map hashes table guest memory area)",
        Origin.QEMU,
        "The image names a table that is too small, or outside of memory: built for another use, or damaged.",
        ("use OVMF.amdsev.fd as it was installed",),
        (_SOURCE,),
    ),
    Fault(
        "sev.firmware-no-es",
        "The firmware cannot start SEV-ES vCPUs",
        r"SEV information block/Firmware GUID Table block not found in pflash rom|SEV-ES reset address is zero",
        Origin.QEMU,
        "SEV-ES needs the address where further vCPUs start, in the image's GUID table. The image is too old (before "
        "2020), is not OVMF, or is the variables half.",
        ("use a current OVMF_CODE.fd or OVMF.amdsev.fd as the first flash",),
        (_SOURCE,),
    ),
    Fault(
        "sev.flash",
        "The firmware could not be encrypted",
        r"SEV: [Ff]ailed to encrypt (?:pflash )?rom",
        Origin.QEMU,
        "LAUNCH_UPDATE of the firmware failed; the line before has the firmware's status.",
        ("explain the line with LAUNCH_UPDATE",),
        ("QEMU hw/i386/pc_sysfw.c, text in 7.2",),
        weight=Weight.AFTERMATH,
    ),
)
