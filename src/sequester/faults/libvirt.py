"""libvirt's errors about launch security, firmware and memory, as virsh and the daemons print them."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

_LOG = "read /var/log/libvirt/qemu/NAME.log: it has QEMU's whole output"
_CAPABILITIES = "virsh domcapabilities --virttype kvm | grep -A20 launchSecurity  shows what libvirt believes"

FAULTS: tuple[Fault, ...] = (
    Fault(
        "libvirt.launch-security",
        "libvirt thinks that this host cannot protect guests so",
        r"'(?P<type>[\w-]{1,20})' launch security is not supported with this QEMU binary",
        Origin.LIBVIRT,
        "Misleading: mostly it is not QEMU but the host. libvirt says so whenever QEMU, asked at start-up, did not "
        "report {type}: the CPU, BIOS setup or kernel has not got it; the domain is type='qemu' or of another "
        "architecture; or the emulator really is too old.",
        (
            "domain type must be kvm, the emulator of the right architecture",
            "`sequester probe` names the first link that is missing on this host",
            _CAPABILITIES,
            "after mending it restart libvirtd or virtqemud, and remove /var/cache/libvirt/qemu/capabilities/*.xml "
            "if it still says so",
        ),
        (
            "live: libvirt 12.8 with QEMU 11.1 on a host without SEV and TDX, for sev, sev-snp, tdx and s390-pv",
            "libvirt src/qemu/qemu_validate.c",
        ),
    ),
    Fault(
        "libvirt.launch-security-type",
        "libvirt does not know this kind of launch security",
        r"unsupported launch security type '(?P<type>[^']{0,60})'|"
        r"Invalid value for attribute 'type' in element 'launchSecurity': '(?P<value>[^']{0,60})'",
        Origin.LIBVIRT,
        "libvirt knows sev (4.4.0), s390-pv (7.6.0), sev-snp (10.5.0) and, in newer releases, tdx; there is none "
        "for PEF or Arm CCA.",
        (
            "correct the type; update libvirt for a newer one",
            "PEF: leave <launchSecurity> out and pass -machine confidential-guest-support through <qemu:commandline>",
        ),
        ("live: libvirt 12.8", "libvirt docs/formatdomain.rst"),
    ),
    Fault(
        "libvirt.launch-security-schema",
        "The launchSecurity element is not as the schema wants it",
        r"(?:Extra element|Element) launchSecurity (?:in interleave|failed to validate content)",
        Origin.LIBVIRT,
        "A child or attribute is misspelt, misplaced or missing: sev wants <policy>; numbers of cbitpos and "
        "reducedPhysBits are decimal; s390-pv has no children.",
        (
            "virsh define without --validate gives a clearer message",
            "`sequester check FILE.xml` names the fault",
        ),
        ("live: libvirt 12.8, define --validate",),
    ),
    Fault(
        "libvirt.sev-policy",
        "SEV's policy is missing",
        r"failed to get launch security policy(?! for)",
        Origin.LIBVIRT,
        "<launchSecurity type='sev'> must have <policy>, and it must be a number.",
        ("<policy>0x0001</policy> for SEV, 0x0005 for SEV-ES: debugging forbidden",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "libvirt.sev-number",
        "A number of the launch security cannot be read",
        r"Invalid format for launch security (?P<what>cbitpos|reduced-phys-bits)",
        Origin.LIBVIRT,
        "<{what}> is not a decimal number.",
        ("leave it out: libvirt fills it in from the host",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "libvirt.no-sev-host",
        "libvirt has found no SEV on this host",
        r"QEMU does not support SEV guest",
        Origin.LIBVIRT,
        "virsh nodesevinfo and its API found no QEMU that reports SEV: mostly the host has none.",
        ("`sequester probe`", _CAPABILITIES),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "libvirt.secret-no-sev",
        "A launch secret can only be given to a running SEV guest",
        r"setting a launch secret is only supported in SEV-enabled domains",
        Origin.LIBVIRT,
        "The domain has no <launchSecurity type='sev'>. SEV-SNP, TDX and s390 PV guests fetch secrets by themselves "
        "after attestation.",
        ("use it on an SEV or SEV-ES domain that was started with virsh start --paused",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "libvirt.kernel-hashes",
        "This QEMU cannot measure a kernel",
        r"SEV measured direct kernel boot is not supported with this QEMU binary",
        Origin.LIBVIRT,
        "kernelHashes='yes' needs QEMU 6.2 or newer.",
        ("update QEMU, or boot from disk",),
        ("libvirt 12.8 binary; src/qemu/qemu_validate.c",),
    ),
    Fault(
        "libvirt.sev-cache",
        "libvirt's cache of what the host can do is broken",
        r"missing (?:or malformed )?SEV (?P<what>[\w ]{1,30}?) (?:information |data )?in QEMU capabilities cache|"
        r"query-sev(?:-capabilities)? reply was missing",
        Origin.LIBVIRT,
        "The cache was written by another version or half written.",
        (
            "systemctl stop libvirtd virtqemud; rm /var/cache/libvirt/qemu/capabilities/*.xml; start them again",
        ),
        ("libvirt 12.8 binary; src/qemu/qemu_capabilities.c",),
    ),
    Fault(
        "libvirt.no-firmware",
        "No installed firmware fits this guest",
        r"Unable to find '(?P<kind>[^']{1,20})' firmware that is compatible with the current configuration",
        Origin.LIBVIRT,
        "No descriptor in /usr/share/qemu/firmware and /etc/qemu/firmware matches machine, architecture, secure "
        "boot, SMM and the launch security together. SEV wants the feature amd-sev (-es, -snp), TDX intel-tdx.",
        (
            "install it: Debian ovmf-amdsev, ovmf-inteltdx; Fedora edk2-ovmf",
            "no <nvram>, secure-boot or SMM together with SEV and TDX: their images are stateless",
            "name it by hand: <loader type='rom' stateless='yes'>FILE</loader> (SNP, TDX), type='pflash' (SEV, ES)",
        ),
        ("libvirt 12.8 binary; src/qemu/qemu_firmware.c",),
    ),
    Fault(
        "libvirt.firmware-lacks",
        "The firmware was not built for this protection",
        r"Domain requires (?P<what>SEV(?:-ES|-SNP)?|TDX),? firmware '(?P<file>[^']{1,200})' doesn't support it",
        Origin.LIBVIRT,
        "The descriptor of {file} does not list {what} among its features (debug log of the search).",
        ("choose an image whose descriptor lists it: grep -l amd-sev /usr/share/qemu/firmware/*.json",),
        ("libvirt 12.8 binary; src/qemu/qemu_firmware.c",),
    ),
    Fault(
        "libvirt.stateless-nvram",
        "Stateless firmware has no variables",
        r"Variable storage \(NVRAM/varstore\) is not permitted when loader is stateless|"
        r"NVRAM is not permitted when loader is stateless",  # the second before libvirt 12
        Origin.LIBVIRT,
        "<loader stateless='yes'> and <nvram> exclude each other. Variables would be an input that nothing measures.",
        ("remove <nvram>",),
        ("libvirt 12.8 binary; src/conf/domain_validate.c",),
    ),
    Fault(
        "libvirt.secure-boot-smm",
        "Secure boot needs SMM",
        r"Secure boot requires SMM feature enabled",
        Origin.LIBVIRT,
        "<loader secure='yes'> wants SMM, which SEV-ES, SNP and TDX guests cannot have.",
        ("drop secure='yes': the launch measurement takes its place", "TDX: an image with its keys built in"),
        ("libvirt 12.8 binary; src/qemu/qemu_validate.c",),
    ),
    Fault(
        "libvirt.shared-memory",
        "virtiofs and vhost-user need shared memory",
        r"'(?P<what>virtiofs|vhost-?user[\w-]{0,20}|vhostuser)' requires shared memory",
        Origin.LIBVIRT,
        "The process behind {what} maps the guest's memory. In a protected guest it can read only what the guest "
        "copies to shared buffers; with SEV-SNP it did not work where people tried.",
        (
            "use a virtio disk or NFS instead",
            "else <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        ),
        ("live: libvirt 12.8", "AMDESE/AMDSEV#269"),
    ),
    Fault(
        "libvirt.iommu-driver",
        "iommu='on' is for virtio devices only",
        r"iommu driver option is only supported for virtio devices",
        Origin.LIBVIRT,
        "<driver iommu='on'/> stands in a device that is not virtio: an e1000, SATA or USB device. Such a device "
        "needs no flag, and its emulation can reach only memory that the guest shares.",
        ("remove it there, or change the device to virtio",),
        ("libvirt 12.8 binary; src/conf/domain_validate.c",),
    ),
    Fault(
        "libvirt.memlock",
        "libvirt could not raise the limit on locked memory",
        r"cannot limit locked memory of process (?P<pid>-?\d{1,10}) to (?P<bytes>\d{1,20})|"
        r"Failed to adjust locked memory limit",
        Origin.LIBVIRT,
        "A guest that pins memory needs a limit of its size, and the daemon has no right to set it: a session "
        "daemon, or one in a container without CAP_SYS_RESOURCE.",
        ("use qemu:///system", "give the container CAP_SYS_RESOURCE, or --ulimit memlock=-1"),
        ("libvirt 12.8 binary; src/util/virprocess.c",),
    ),
    Fault(
        "libvirt.virt-type",
        "This emulator has no KVM",
        r"Emulator '(?P<emulator>[^']{1,200})' does not support virt type 'kvm'",
        Origin.LIBVIRT,
        "{emulator} is for another architecture than the host's, or /dev/kvm cannot be used.",
        ("ls -l /dev/kvm; virt-host-validate qemu", "protected guests run only on their own architecture"),
        ("live: libvirt 12.8, s390x and ppc64 on x86",),
    ),
    Fault(
        "libvirt.not-running",
        "The launch state of a guest that is off",
        r"Requested operation is not valid: domain is not running",
        Origin.LIBVIRT,
        "domlaunchsecinfo and domsetlaunchsecstate speak to a running guest.",
        ("virsh start --paused NAME, then domlaunchsecinfo, domsetlaunchsecstate, resume",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "libvirt.monitor-closed",
        "QEMU ended while libvirt was connecting",
        r"(?:qemu unexpectedly closed the monitor|[Pp]rocess exited while connecting to monitor)",
        Origin.LIBVIRT,
        "QEMU printed its reason and ended; libvirt shows the last lines of it after this one.",
        (_LOG, "explain the line of QEMU itself"),
        ("AMDESE/AMDSEV#223; libvirt src/qemu/qemu_process.c",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "libvirt.validate-none",
        "virt-host-validate found no protection",
        r"None of SEV, SEV-ES, SEV-SNP, TDX available|Unknown if this platform has Secure Guest support|"
        r"(?:Intel|AMD)[\w ]{1,60} appears to be disabled in (?:kernel|firmware)",
        Origin.LIBVIRT,
        "virt-host-validate looks at CPU flags, module parameters and /dev/sev only; it says neither which link is "
        "missing nor what would mend it.",
        ("`sequester probe`",),
        ("live: libvirt 12.8", "libvirt tools/virt-host-validate-common.c"),
        weight=Weight.GENERAL,
    ),
)
