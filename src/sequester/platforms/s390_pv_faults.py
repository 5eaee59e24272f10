"""Error texts of IBM Z Protected Virtualization (Secure Execution): QEMU, kernel, boot loader, s390-tools."""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.fault import Fault, Origin, Weight
from sequester.faults.protection_object import unknown_object
from sequester.platforms.s390_pv_status_faults import DIAG308, ultravisor_status

_PV_C = "QEMU target/s390x/kvm/pv.c"
_BOOT = "s390-tools rust/pvimg/boot/stage3a.c"
_HOST_KEY = "get this machine's host key document (by machine serial) and build the image for it: pvimg create -k HKD …"
_HOST = (
    "host: facility 158 in /proc/cpuinfo, cat /sys/firmware/uv/prot_virt_host  must be 1",
    "host kernel command line: prot_virt=1; reboot",
)


def _diag308(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name the return code of diagnose 308, and what the ultravisor answered, if it is there."""
    code = int(fields["diag"], 16)
    found = {
        "diag": f"{code:#x}: {DIAG308.get(code, 'a code that is in no table')}",
        "_ultravisor": "",
        "_step": "",
    }
    if not fields.get("rc"):
        return found
    found |= dict(ultravisor_status(fields))
    said = f" {fields['command']}: rc {found['rc']}, rrc {found['rrc']}: {found['_cause']}."
    return {**found, "_ultravisor": said}


FAULTS: tuple[Fault, ...] = (
    *unknown_object(
        "s390-pv", "s390-pv-guest", "came with QEMU 6.0", "a qemu-system-s390x built on s390x, with KVM,"
    ),
    Fault(
        "s390-pv.needs-kvm",
        "Protected virtualization needs KVM",
        r"Protected Virtualization requires KVM",
        Origin.QEMU,
        "The accelerator is TCG.",
        ("use -accel kvm on IBM z15, LinuxONE III or newer",),
        (_PV_C,),
    ),
    Fault(
        "s390-pv.cpu-model",
        "The CPU model cannot go into protected mode",
        r"CPU model does not support Protected Virtualization",
        Origin.QEMU,
        "The guest has an s390-pv-guest and its CPU model lacks the facility unpack: it was taken out, the model is "
        "older than gen15a, or the host itself does not offer it.",
        ("-cpu host, or gen15a or newer with unpack=on", *_HOST),
        (_PV_C,),
    ),
    Fault(
        "s390-pv.unpack-unavailable",
        "This host cannot unpack protected guests",
        r"Some features requested in the CPU model are not available in the (?:current )?configuration:"
        r"[^\n]{0,1200}?\bunpack\b",
        Origin.QEMU,
        "unpack=on is asked for, and KVM on this host (or TCG) has it not.",
        (*_HOST, "under TCG there is no unpack: leave it out"),
        ("live: QEMU 7.2, 10.0, 11.1 under TCG (max,unpack=on; gen15a-base)",),
    ),
    Fault(
        "s390-pv.unpack-too-new",
        "This CPU model never had unpack",
        r"Feature 'unpack' is not available for CPU model '(?P<model>[\w.-]{1,40})', it was introduced "
        r"with later models",
        Origin.QEMU,
        "unpack came with gen15a (z15); {model} is older.",
        ("-cpu gen15a,unpack=on or newer, or host",),
        ("live: QEMU 7.2, 10.0, 11.1",),
    ),
    Fault(
        "s390-pv.generation",
        "The host is older than the CPU model",
        r"Selected CPU generation is too new\. Maximum supported model in the (?:current )?configuration: "
        r"'(?P<most>[\w.-]{1,40})'",
        Origin.QEMU,
        "The newest that works here is {most}.",
        ("-cpu {most}, or host",),
        ("live: QEMU 7.2, 10.0, 11.1",),
    ),
    Fault(
        "s390-pv.cpus",
        "Too many vCPUs for a protected guest",
        r"Protected VMs support a maximum of (?P<most>\d{1,5}) CPUs",
        Origin.QEMU,
        "The description of the CPUs must fit one page: {most} at most.",
        ("-smp {most} or less, maxcpus too",),
        (_PV_C,),
    ),
    Fault(
        "s390-pv.command",
        "The switch to protected mode failed",
        r"KVM PV command (?P<number>\d{1,3}) \((?P<command>\w{1,40})\) failed: header rc (?P<rc>[0-9a-f]{1,4}) "
        r"rrc (?P<rrc>[0-9a-f]{1,4}) IOCTL rc: (?P<ioctl>-?\d{1,4})",
        Origin.FIRMWARE,
        "{command}: rc {rc}, rrc {rrc}: {_cause}. The guest stays unprotected, or stops in its boot loader.",
        ("{_step}", "host: cat /sys/firmware/uv/query/max_guests, max_address; dmesg | grep -i prot"),
        (_PV_C, "Linux 7.2 arch/s390/kvm/kvm-s390.c kvm_s390_handle_pv", _BOOT),
        decode=ultravisor_status,
    ),
    Fault(
        "s390-pv.parameters",
        "The image's header was refused",
        r"Failed to set secure execution parameters",
        Origin.QEMU,
        "The line before has rc and rrc. With rc 108 the image was not encrypted for this machine.",
        (_HOST_KEY, "the machine's key changes with its key bundle: build the image for old and new"),
        (_PV_C,),
        weight=Weight.GENERAL,
    ),
    Fault(
        "s390-pv.host-key",
        "The image was encrypted for another machine",
        r"Please check whether the image is correctly encrypted for this host|(?:The host key hash of the IBM Secure "
        r"Execution image )?does not match the host key of the installed key bundle|Ensure that the image "
        r"is correctly "
        r"encrypted for this host",
        Origin.FIRMWARE,
        "The header of the image holds no key slot that this machine's host key opens.",
        (
            _HOST_KEY,
            "name several machines with several -k",
            "pvimg test -k HKD IMAGE  tells without booting",
        ),
        (_PV_C, _BOOT),
    ),
    Fault(
        "s390-pv.boot-failed",
        "The boot loader could not enter protected mode",
        r"Protected boot (?:setup )?(?:has )?failed: (?P<diag>0x[0-9a-f]{1,8})(?:, (?P<command>\w{1,40}) - RC: "
        r"(?P<rc>0x[0-9a-f]{1,4}), RRC:(?P<rrc>0x[0-9a-f]{1,4}))?",
        Origin.GUEST,
        "Diagnose 308: {diag}.{_ultravisor}",
        (
            "{_step}",
            "host: QEMU's log has 'KVM PV command …' with the codes",
            "no huge pages behind the guest, no virtio-mem; they also end in 0xa02",
        ),
        (_BOOT, "QEMU hw/s390x/s390-virtio-ccw.c s390_machine_protect"),
        decode=_diag308,
    ),
    Fault(
        "s390-pv.no-unpack-facility",
        "The guest has no unpack facility",
        r"Secure unpack facility is not available",
        Origin.GUEST,
        "A protected image was booted in a guest that cannot go into protected mode: unpack is not in its CPU model, "
        "or the host has none.",
        ("-cpu host (libvirt: host-model), with unpack", *_HOST),
        (_BOOT,),
    ),
    Fault(
        "s390-pv.image-damaged",
        "The image is damaged",
        r"(?:Address|Page|Tweak) digest list \([APT]LD\) mismatch|Mismatch in (?:number of encrypted "
        r"pages|IBM Secure "
        r"Execution image header (?:version|size))|The size of the encrypted area in the IBM Secure "
        r"Execution image is "
        r"invalid|There are no host keys in ?the IBM Secure Execution image",
        Origin.GUEST,
        "What was loaded is not what the image's header promises.",
        ("copy the image anew, compare checksums", "build it anew with pvimg create"),
        (_BOOT,),
    ),
    Fault(
        "s390-pv.flags",
        "The image asks for something that this machine cannot do",
        r"An unsupported (?P<kind>plaintext|secret) control flag is set|public customer ECDH key in the IBM Secure "
        r"Execution image is not valid",
        Origin.GUEST,
        "A control flag of the header ({kind}) is not known here: the image was built for a newer machine.",
        ("build it without that flag (pvimg create --disable-…)", "update the machine's firmware"),
        (_BOOT,),
    ),
    Fault(
        "migration.s390-pv",
        "Protected s390 guests do not migrate",
        r"protected VMs are currently not migratable",
        Origin.QEMU,
        "The guest is in protected mode. Before it switches over it can migrate.",
        ("shut down and start on the other host",),
        ("QEMU 11.1 s390x binary; hw/s390x/s390-virtio-ccw.c",),
    ),
    Fault(
        "migration.unpack-only-migratable",
        "unpack and --only-migratable exclude each other",
        r"The unpack facility is not compatible with the --only-migratable option",
        Origin.QEMU,
        "With unpack in its CPU model an s390 guest may switch to protected mode, and then it no longer migrates.",
        (
            "for a protected guest: drop --only-migratable",
            "for a guest that must migrate: -cpu …,unpack=off, and no s390-pv-guest",
        ),
        ("live: QEMU 7.2, 10.0, 11.1", "QEMU target/s390x/cpu_models.c"),
    ),
    Fault(
        "s390-pv.huge-pages",
        "A protected guest cannot have huge pages",
        r"Protected VMs can currently not be backed with huge pages",
        Origin.QEMU,
        "The guest's memory is backed with 1 MiB pages, and the switch to protected mode is refused.",
        ("back it with normal pages: no hugetlbfs, no <hugepages/>",),
        ("QEMU 11.1 s390x binary; hw/s390x/s390-virtio-ccw.c s390_machine_protect",),
    ),
    Fault(
        "s390-pv.dump",
        "The encrypted dump failed",
        r"KVM (?:DUMP command (?P<number>\d{1,3}) failed|PV INFO cmd (?P<info>[0-9a-f]{1,4}) failed: "
        r"(?P<why>[A-Z][\w/ -]{1,60}))",
        Origin.QEMU,
        "A dump of a protected guest is encrypted by the ultravisor; the image must allow it, and kernel and machine "
        "must know it.",
        (
            "build the image with --enable-dump and a customer communication key (--cck)",
            "a host kernel with KVM_CAP_S390_PROTECTED_DUMP",
        ),
        (_PV_C,),
    ),
    Fault(
        "s390-pv.libvirt",
        "libvirt has found no Secure Execution on this host",
        r"S390 PV launch security is not supported by this host or kernel|IBM Secure Execution (?:not "
        r"supported by|appears "
        r"to be disabled in|support)|does not provide support for IBM Secure Execution",
        Origin.LIBVIRT,
        "libvirt looks for facility 158, /sys/firmware/uv and prot_virt on the kernel's command line. In a container "
        "/sys/firmware is often hidden.",
        (*_HOST, "in a container: make /sys/firmware/uv visible"),
        ("libvirt 12.8 binary; kubevirt/kubevirt#14040",),
    ),
    Fault(
        "s390-pv.ultravisor-init",
        "The ultravisor could not be started on this host",
        r"Ultravisor init failed with rc: (?P<rc>0x[0-9a-f]{1,4}) rrc: (?P<rrc>0?x?[0-9a-f]{1,4})|Failed to reserve "
        r"(?P<bytes>\d{1,20}) bytes for ultravisor base storage|Disabling support for protected virtualization",
        Origin.KERNEL,
        "prot_virt=1 was given, and the machine did not go along; protected guests are off until the next boot.",
        ("no crashkernel or mem= that leaves too little memory below 2 GiB", "update the machine's firmware"),
        ("Linux 7.2 arch/s390/kernel/uv.c",),
    ),
    Fault(
        "s390-pv.storage-violation",
        "A page was mapped into two protected guests",
        r"Secure storage violation \((?P<code>[0-9a-f]{1,8})\) in task: (?P<task>[^,]{1,40}), pid (?P<pid>\d{1,10})",
        Origin.KERNEL,
        "The hardware stopped an access of {task} to a protected guest's page: a bug of the host's kernel, "
        "or QEMU of a "
        "damaged guest.",
        ("update the host's kernel",),
        ("Linux 7.2 arch/s390/kvm/kvm-s390.c",),
    ),
    Fault(
        "s390-pv.uvdevice",
        "The ultravisor refused a request of the guest",
        r"Ultravisor: '(?P<message>[^']{1,240})' \((?P<rc>0x[0-9a-f]{1,4}),(?P<rrc>0x[0-9a-f]{1,4})\)",
        Origin.GUEST,
        "pvattest or pvsecret: {message} (rc {rc}, rrc {rrc}).",
        (
            "'unable to decrypt': the request was made for another machine's host key, or another image",
            "'secret store': it is full, locked, or not allowed in the image",
            "make the request anew with this machine's host key document",
        ),
        ("s390-tools rust/pv_core/src/error.rs, uvdevice/",),
        decode=ultravisor_status,
    ),
    Fault(
        "s390-pv.host-key-document",
        "The host key document was not accepted",
        r"Host-key verification failed: (?P<why>[^\n]{1,160})|Host-key document is revoked|The IBM Z "
        r"signing key could not "
        r"be verified|No valid CRL found|Specify (?:only )?one IBM Z signing key",
        Origin.GUEST,
        "pvimg, pvattest and pvsecret check the document against IBM's signing key and its revocation list. {why}",
        (
            "give the current signing key and CA with -C, the revocation lists with --crl, or go online",
            "an expired or revoked document: fetch this machine's new one",
            "check the clock",
        ),
        ("s390-tools rust/pv/src/error.rs",),
    ),
)
