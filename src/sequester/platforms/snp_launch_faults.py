"""Error texts of the launch of SEV-SNP guests."""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.fault import Fault, Origin, Weight
from sequester.faults.status import number
from sequester.platforms.sev_status_faults import firmware_status, refused

_DMESG = "dmesg | grep -iE 'sev|ccp|snp|rmp'"
_SOURCE = "QEMU target/i386/sev.c, text in 10.0 and 11.1"
_KVM = "Linux 7.2 arch/x86/kvm/svm/sev.c"

_GENERAL_REASONS = {
    0: ("no reason given", ""),
    1: ("it does not speak the host's GHCB protocol", "use kernels of like age for host and guest"),
    2: ("it needs an SNP feature that the host does not offer", "update the host's kernel and firmware"),
}
_LINUX_REASONS = {
    0: ("its GHCB could not be registered", ""),
    1: ("a page could not be made private or shared", "update the host's kernel"),
    2: (
        "a page could not be validated: it was validated before, or the host swapped it",
        "see it as an attack or a bug",
    ),
    3: ("it does not run at VMPL0", "SVSM in front of it? use a kernel that knows SVSM"),
    4: ("a CPUID value is not in the validated table", "another CPU model"),
    5: ("the host gave no CPUID value", ""),
    6: ("the secrets page is unusable", "another firmware"),
    7: ("an SVSM was expected and is not there", ""),
    8: ("the SVSM runs at the same level", ""),
    9: ("the SVSM's calling area is misaligned", ""),
    10: ("the secure TSC could not be set up", "update the host's kernel and firmware"),
    11: ("the SVSM's calling area could not be mapped", ""),
    12: ("secure AVIC failed", ""),
}


def _termination(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name the reason of a termination request (GHCB specification 2.03, MSR protocol request 0x100)."""
    group, reason = (fields.get(name) or fields.get(f"{name}_hex") for name in ("set", "reason"))
    if not group or not reason:
        return {"_what": "", "_step": ""}
    table = {0: _GENERAL_REASONS, 1: _LINUX_REASONS}.get(number(group), {})
    what, step = table.get(number(reason), ("", ""))
    return {"_what": f": {what}" if what else "", "_step": step}


FAULTS: tuple[Fault, ...] = (
    Fault(
        "snp.launch-start-policy",
        "The kernel does not accept the guest's policy",
        r"SNP_LAUNCH_START" + refused(r"-22", r"0"),
        Origin.KVM,
        "EINVAL before the firmware was asked: the policy lacks bit 17 (must be one), or has a bit that this kernel "
        "or firmware does not know. The first SNP kernels (6.11) also refused bit 20, single socket. With the "
        "patched QEMUs of before 9.1 it was firmware given as flash.",
        (
            "policy=0x30000 for a try; every policy must contain 0x20000",
            "leave out bits above 20 unless the firmware reports them: `sequester platforms sev-snp` lists the bits",
            "-bios OVMF.amdsev.fd, no pflash",
            "a snapshot of patched QEMU and kernel must match: better released ones, 9.1 and 6.11 or newer",
        ),
        (_SOURCE, f"{_KVM} snp_launch_start", "AMDESE/AMDSEV#223, #240, #256, #268"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-start-context",
        "The kernel has no SNP context for this guest",
        r"SNP_LAUNCH_START" + refused(r"-25", r"-?\d{1,6}"),
        Origin.KVM,
        "ENOTTY: the virtual machine was not made as an SNP one (QEMU and kernel speak different versions of the "
        "interface), or the firmware gave no context for the guest; then the kernel logs 'Failed to create SEV-SNP "
        "context'.",
        (_DMESG, "use released versions: kernel 6.11 and QEMU 9.1, or newer"),
        (_SOURCE, f"{_KVM} snp_launch_start", "AMDESE/AMDSEV#216"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-start-platform-policy",
        "This platform does not meet the guest's policy",
        r"SNP_LAUNCH_START" + refused(r"-?\d{1,4}", r"7"),
        Origin.FIRMWARE,
        "The firmware answered POLICY_FAILURE: the host has SMT on and policy bit 16 is not set; bits 0-15 ask for a "
        "newer firmware; or bit 20 (single socket) on a host with two.",
        (
            "set bit 16: 0x30000; or switch SMT off in the BIOS setup",
            _DMESG + "  shows the firmware's version: 'SEV-SNP API:1.NN'",
        ),
        (_SOURCE, "AMD 56860 SNP_LAUNCH_START"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-update-cpuid",
        "The firmware does not accept the CPU model",
        r"SNP_LAUNCH_UPDATE"
        + refused(r"-?\d{1,4}", r"22")
        + r"|SEV-SNP: CPUID validation failed for function "
        r"(?P<function>0x[0-9a-f]{1,8}), index: (?P<index>0x[0-9a-f]{1,8})|SEV-SNP: failed update CPUID page|"
        r"SEV-SNP: CPUID validation failed due to count mismatch",
        Origin.FIRMWARE,
        "The firmware checks the CPUID page: the guest may not be promised features that the CPU has not, or that "
        "the firmware filters. The lines name leaf, value given and value expected.",
        (
            "-cpu EPYC-v4, or the EPYC model of this host's generation, without features added by hand",
            "take away the features of the bits that differ: -cpu MODEL,-FEATURE",
            "update kernel and QEMU: they know which features to leave out",
        ),
        (_SOURCE, "AMD 56860 SNP_LAUNCH_UPDATE; " + _KVM),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-update-private",
        "A page of the guest is private already",
        r"SNP_LAUNCH_UPDATE" + refused(r"-17", r"-?\d{1,6}"),
        Origin.KVM,
        "EEXIST: the RMP table says that the page belongs to a guest: left over from an earlier one, or two parts of "
        "the firmware overlap.",
        ("use another firmware image", "reboot the host when it comes for every image"),
        (f"{_KVM} sev_gmem_post_populate",),
        decode=firmware_status,
    ),
    Fault(
        "snp.private-memory",
        "Private memory could not be set up",
        r"SEV-SNP: failed to configure initial ?private guest memory|SNP_LAUNCH_UPDATE called with invalid address",
        Origin.QEMU,
        "KVM could not turn a range to private before the launch: the range is no RAM from guest_memfd, as with "
        "firmware in flash.",
        ("-bios OVMF.amdsev.fd, no pflash and no -drive if=pflash", _DMESG),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.launch-finish-measurement",
        "The measurement is not the one of the identity block",
        r"SNP_LAUNCH_FINISH" + refused(r"-?\d{1,4}", r"11"),
        Origin.FIRMWARE,
        "BAD_MEASUREMENT: id-block promises a launch digest, and the launch came out with another. Firmware, kernel "
        "hashes, number of vCPUs, CPU model, guest features, and what the host's kernel puts into the VMSA "
        "(debug_swap on new kernels) all count.",
        (
            "compute the digest anew for exactly this command line: `sequester measure`",
            "compare the vCPU count (-smp), CPU model and firmware file with those of the computation",
            "a changed host kernel: debug_swap changes the VMSA; kvm_amd.debug_swap=0 on 6.x, or compute with it",
            "start without id-block and id-auth: the report's measurement is what came out",
        ),
        (_SOURCE, "AMD 56860 SNP_LAUNCH_FINISH", "AMDESE/AMDSEV#195; virtee/sev-snp-measure#32, #50"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-finish-signature",
        "The identity block's signature is wrong",
        r"SNP_LAUNCH_FINISH" + refused(r"-?\d{1,4}", r"10"),
        Origin.FIRMWARE,
        "BAD_SIGNATURE: id-auth does not hold a valid signature over id-block, or author-key-enabled=on and the "
        "author's key did not sign. QEMU takes an id-auth that is too short and fills it with zeros.",
        (
            "make both anew: snpguest generate id-block; id-auth is exactly 4096 bytes",
            "author-key-enabled=on only if an author key is in id-auth",
        ),
        (_SOURCE, "AMD 56860 SNP_LAUNCH_FINISH"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-finish-policy",
        "The identity block was made for another policy",
        r"SNP_LAUNCH_FINISH" + refused(r"-?\d{1,4}", r"7"),
        Origin.FIRMWARE,
        "POLICY_FAILURE: the policy inside id-block must be equal to the guest's policy=.",
        ("make id-block anew with this policy, or give the guest the policy of the block",),
        (_SOURCE, "AMD 56860 SNP_LAUNCH_FINISH"),
        decode=firmware_status,
    ),
    Fault(
        "snp.launch-finish-key",
        "The guest may not use the chip's key, and there is no other",
        r"SNP_LAUNCH_FINISH" + refused(r"-?\d{1,4}", r"39"),
        Origin.FIRMWARE,
        "INVALID_KEY: vcek-disabled=on asks for reports signed with a loaded key (VLEK), and none is loaded.",
        ("snphost vlek-load, with the key from the provider", "or vcek-disabled=off (libvirt: vcek='yes')"),
        (_SOURCE, "AMD 56860"),
        decode=firmware_status,
    ),
    Fault(
        "snp.firmware-metadata",
        "The firmware was not built for SEV-SNP",
        r"Failed to locate SEV metadata header",
        Origin.QEMU,
        "SNP needs a list of pages in the image (secrets, CPUID, hashes) and this image has none: a plain or old "
        "OVMF, or not OVMF.",
        ("-bios OVMF.amdsev.fd, or a current OVMF.fd built with SNP support (edk2 2022 or newer)",),
        ("QEMU 11.1 binary; target/i386/sev.c sev_snp_launch_finish",),
    ),
    Fault(
        "snp.metadata-page",
        "A page that the firmware asks for could not be added",
        r"Failed to (?:add metadata page gpa (?P<gpa>0x[0-9a-f]{1,16})|get HVA for GPA (?P<hole>0x[0-9a-f]{1,16}))",
        Origin.QEMU,
        "The image's list names a page that is not in the guest's RAM, or that the firmware refused.",
        ("give the guest more memory (2 GiB or more)", "use OVMF.amdsev.fd as it was installed"),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.vmsa-features",
        "The IGVM file and the guest disagree about SNP",
        r"SEV_SNP is (?:not )?enabled but is (?:not )?enabled in VMSA sev_features|"
        r"VMSA contains unsupported sev_features: (?P<asked>[0-9a-f]{1,16}), "
        r"supported features: (?P<known>[0-9a-f]{1,16})",
        Origin.QEMU,
        "An IGVM file brings the first vCPU's state (VMSA), and that is for another kind of guest or asks for "
        "features that this host has not.",
        ("take the IGVM file for this platform, and the object that it was made for",),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.vmsa-unsupported",
        "The IGVM file's vCPU state cannot be set",
        r"VMSA contains fields that are not synchronized with KVM|The VMSA GPA must be (?P<gpa>[0-9a-f]{1,16})|"
        r"invalid VMSA length encountered|SEV: unable to set CPU context",
        Origin.QEMU,
        "QEMU stops rather than start a guest whose measurement it cannot honour.",
        ("use an IGVM file made for QEMU and KVM (coconut-svsm's target qemu)",),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.id-block",
        "The IGVM file's identity block is wrong",
        r"Invalid SEV-SNP ID (?:auth )?block: incorrect size|An ID block/ID auth block has been provided but SEV-SNP "
        r"is not enabled|Invalid guest policy type provided for SEV",
        Origin.QEMU,
        "What the IGVM file says of policy and identity does not go with the object on the command line.",
        ("use sev-snp-guest with this IGVM file, or a file without an identity block",),
        ("QEMU 11.1 binary; target/i386/sev.c",),
    ),
    Fault(
        "snp.termination",
        "The guest gave up by itself",
        r"SEV termination \(reason set: (?P<set>\d{1,3}) code: (?P<reason>\d{1,4})\)|"
        r"SEV-ES guest requested termination: (?P<set_hex>0x[0-9a-f]{1,4}|0):(?P<reason_hex>0x[0-9a-f]{1,4}|0)\b|"
        r"SEV-ES guest requested termination: reason (?P<request>0x[0-9a-f]{1,16})",
        Origin.GUEST,
        "Firmware or kernel of the guest found something that it cannot trust{_what}.",
        ("see the guest's console", "{_step}"),
        (
            "QEMU 11.1 binary; system/runstate.c; Linux 7.2 kvm-amd.ko",
            "Linux 7.2 arch/x86/include/asm/sev-common.h",
        ),
        decode=_termination,
    ),
    Fault(
        "snp.no-termination-data",
        "The guest gave up, and the host did not learn why",
        r"Hypervisor did not provide any data for SEV-ES termination",
        Origin.QEMU,
        "An SEV-ES or SNP guest asked to be ended; KVM of this kernel passes no reason on.",
        ("see the guest's console; dmesg of the host has 'SEV-ES guest requested termination'",),
        ("QEMU 11.1 binary",),
        weight=Weight.AFTERMATH,
    ),
)
