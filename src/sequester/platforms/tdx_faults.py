"""Error texts of Intel TDX: QEMU's and libvirt's; the kernel's and those of quotes lie beside this file."""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.fault import Fault, Origin, Weight
from sequester.faults.protection_object import unknown_object
from sequester.platforms.tdx_kernel_faults import FAULTS as TDX_KERNEL
from sequester.platforms.tdx_quote_faults import FAULTS as TDX_QUOTE
from sequester.platforms.tdx_status_faults import seamcall_status

_PROBE = "`sequester probe` names the first link that is missing on this host"
_DMESG = "dmesg | grep -iE 'tdx|seam'"
_TDX_C = "QEMU target/i386/kvm/tdx.c, text in 11.1"
_BITS = {
    0: "debug",
    4: "HGS+",
    27: "LASS",
    28: "SEPT_VE_DISABLE",
    29: "MIGRATABLE",
    30: "PKS",
    31: "KL",
    63: "PERFMON",
}


def _attributes(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Name the TD attribute bits that were asked for and are not supported (Linux asm/shared/tdx.h)."""
    wrong = int(fields["asked"], 16) & ~int(fields["supported"], 16)
    bits = [bit for bit in range(64) if wrong >> bit & 1]
    return {"unsupported": ", ".join(f"{bit} {_BITS.get(bit, '')}".strip() for bit in bits)}


_QEMU: tuple[Fault, ...] = (
    *unknown_object("tdx", "tdx-guest", "came with QEMU 10.1", "qemu-system-x86_64"),
    Fault(
        "tdx.vm-type",
        "KVM on this host has no TDX",
        r"(?:vm|kvm)-type '?(?:tdx|X86_TDX_VM)'? not supported by KVM",
        Origin.QEMU,
        "KVM does not offer the TDX virtual machine type. QEMU is fine. In order of likelihood: kvm_intel.tdx is not "
        "set (it is off by default), TDX is off in the BIOS setup, the TDX module did not start, the kernel has no "
        "TDX host support (before 6.16, or built without CONFIG_KVM_INTEL_TDX, as Debian's 7.2), or no such CPU.",
        (
            "cat /sys/module/kvm_intel/parameters/tdx  must say Y; no such file: the kernel was built without it",
            "kernel command line: kvm_intel.tdx=1 nohibernate; then reboot",
            _DMESG + "  must show 'BIOS enabled: private KeyID range' and 'TDX-Module initialized'",
            "Ubuntu's 6.8 -intel kernel needs the QEMU that came with it",
            _PROBE,
            "without such hardware: `sequester run --simulate tdx`",
        ),
        (
            "live: QEMU 11.1; Debian's kernel 7.2.12 (kvm-intel.ko without the parameter)",
            "canonical/tdx#102, #342, #385; intel/tdx-tools#223, #281",
        ),
    ),
    Fault(
        "tdx.irqchip",
        "TDX wants the split interrupt controller",
        r"TDX VM requires kernel_irqchip to be split",
        Origin.QEMU,
        "kernel-irqchip=on or off is given. Left out it becomes split by itself.",
        ("-machine kernel-irqchip=split, or leave it out; libvirt: <ioapic driver='qemu'/>",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.smm",
        "TDX has no SMM",
        r"TDX VM doesn't support SMM",
        Origin.QEMU,
        "-machine smm=on, or secure boot through SMM, is asked for.",
        ("-machine smm=off, or leave it out",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.pic",
        "TDX has no PIC",
        r"TDX VM doesn't support PIC",
        Origin.QEMU,
        "-machine pic=on asks for the old interrupt controller.",
        ("-machine pic=off, or leave it out",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.cpu-model",
        "TDX takes only the host's CPU model",
        r"Named cpu model is not supported for TDX yet",
        Origin.QEMU,
        "-cpu names a model, and QEMU can describe a TD only from the host's own CPU.",
        ("-cpu host; libvirt: <cpu mode='host-passthrough'/>",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.phys-bits",
        "The guest's address width must be the host's",
        r"TDX requires guest CPU physical bits \((?P<guest>\d{1,3})\) to match host CPU physical bits "
        r"\((?P<host>\d{1,3})\)",
        Origin.QEMU,
        "The guest has {guest} bits and the host {host}.",
        ("-cpu host without phys-bits=, or phys-bits={host}; libvirt: no <maxphysaddr>",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.cpu-feature",
        "A CPU feature that TDX does not take or insists on",
        r"TDX (?P<what>doesn't support requested|forcibly sets the) feature",
        Origin.QEMU,
        "A warning unless enforce is given: what a TD shows in CPUID is decided by the module.",
        ("-cpu host without features added by hand; take out those that are listed",),
        (_TDX_C,),
        weight=Weight.GENERAL,
    ),
    Fault(
        "tdx.attributes",
        "Attributes that this host or QEMU does not support",
        r"(?:Invalid attributes|Some QEMU unsupported TD attribute bits being requested:) (?P<asked>0x[0-9a-f]{1,16})"
        r"(?: for TDX VM)? \((?:KVM|QEMU) supported: (?P<supported>0x[0-9a-f]{1,16})\)",
        Origin.QEMU,
        "Bits not supported: {unsupported}. QEMU takes 28 (SEPT_VE_DISABLE), 30 (PKS) and 63 (PERFMON), as "
        "far as KVM "
        "has them; debug (bit 0) it never takes, though libvirt allows it.",
        (
            "leave attributes out (0x10000000 is the default); libvirt: <policy>0x10000000</policy>",
            "bits 30 and 63 follow from -cpu: -cpu host,-pks,pmu=off",
        ),
        (_TDX_C,),
        decode=_attributes,
    ),
    Fault(
        "tdx.xfam",
        "CPU state that a TD cannot have",
        r"Invalid XFAM (?P<asked>0x[0-9a-f]{1,16}) for TDX VM \(supported: (?P<supported>0x[0-9a-f]{1,16})\)",
        Origin.QEMU,
        "The features of -cpu need extended state {asked}; the module supports {supported}.",
        (
            "-cpu host without features added by hand",
            "or take out what needs it: AMX is bits 17 and 18, CET 11 and 12",
        ),
        (_TDX_C,),
    ),
    Fault(
        "tdx.digest",
        "A digest of the wrong length",
        r"TDX '(?P<name>mrconfigid|mrowner|mrownerconfig)' sha384 digest was (?P<length>\d{1,20}) bytes, expected "
        r"(?P<wanted>\d{1,4}) bytes",
        Origin.QEMU,
        "{name} decodes to {length} bytes and must be {wanted}: a SHA-384 digest in base64. QEMU notices it only at "
        "the launch.",
        ("sha384sum FILE | xxd -r -p | base64 -w0",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.tsc",
        "A clock rate that TDX cannot give",
        r"Invalid TSC (?P<khz>\d{1,12}) KHz, (?:must specify cpu_frequency between|it must be multiple of 25MHz)",
        Origin.QEMU,
        "tsc-freq must lie between 100 MHz and 10 GHz and be a multiple of 25 MHz; {khz} kHz was given.",
        ("leave tsc-freq out",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.kernel-capability",
        "The kernel lacks something that TDX needs",
        r"KVM doesn't support KVM_CAP_X86_APIC_BUS_CYCLES_NS|Unable to set core crystal clock frequency to 25MHz|"
        r"KVM_HC_MAP_GPA_RANGE not enabled for guest",
        Origin.QEMU,
        "A kernel of before 6.16, or one patched for TDX in another way than QEMU expects.",
        ("use a released kernel, 6.16 or newer, with QEMU 10.1 or newer",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.init-vm",
        "The TD could not be made",
        r"TDX ioctl KVM_TDX_INIT_VM failed, hw_errors: (?P<hw_error>0x[0-9a-f]{1,16}|0)(?:: "
        r"(?P<why>[A-Z][\w/ -]{1,60}))?",
        Origin.KVM,
        "{_why}{_module}. With status 0 the kernel refused: 'Invalid argument' attributes, "
        "XFAM or CPUID, or "
        "a module older than the kernel wants; 'No space left on device' all keys in use; 'Device or resource busy' "
        "the cgroup's share; 'Input/output error' a socket without a CPU online, or the module, which dmesg shows.",
        (
            "-cpu host without changes, and no attributes",
            "{_step}",
            "keys: cat /sys/fs/cgroup/misc.capacity /sys/fs/cgroup/misc.current; end another TD",
            _DMESG,
        ),
        (_TDX_C, "Linux 7.2 arch/x86/kvm/vmx/tdx.c __tdx_td_init", "canonical/tdx#286"),
        decode=seamcall_status,
    ),
    Fault(
        "tdx.no-entropy",
        "There were no random numbers for the TD's key",
        r"Hardware RNG \(Random Number Generator\) is busy occupied",
        Origin.QEMU,
        "The CPU's generator was drained in 10000 tries: something on this host reads RDSEED all the time.",
        ("find it (top, perf) and stop it; try again",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.init-memory",
        "The firmware could not be loaded into the TD",
        r"(?:TDX ioctl )?KVM_TDX_INIT_MEM_REGION failed,? (?:hw_errors: (?P<hw_error>0x[0-9a-f]{1,16}|0)(?:: )?)?"
        r"(?P<why>[A-Z][\w/ -]{1,60})?",
        Origin.KVM,
        "{_why}{_module}. The pages of the firmware were not accepted: an image that is no TDVF, or one "
        "whose sections do not lie in the guest's memory; or the host is short of memory.",
        ("-bios with an image built for TDX: OVMF.inteltdx.fd", "{_step}", "free -m", _DMESG),
        (_TDX_C, "canonical/tdx#21, #319"),
        decode=seamcall_status,
    ),
    Fault(
        "tdx.ioctl",
        "A step of the TD's set-up failed",
        r"(?:TDX ioctl )?(?P<command>KVM_TDX_\w{1,30}) failed(?:,? hw_errors: (?P<hw_error>0x[0-9a-f]{1,16}|0))?:? ?"
        r"(?P<why>[A-Z][\w/ -]{1,60})?",
        Origin.KVM,
        "{command}: {_why}{_module}. 'Inappropriate ioctl for device' means that the kernel "
        "speaks another version of the interface, or has no TDX.",
        ("{_step}", "use released versions: kernel 6.16 and QEMU 10.1, or newer", _DMESG),
        (_TDX_C, "canonical/tdx#114"),
        weight=Weight.GENERAL,
        decode=seamcall_status,
    ),
    Fault(
        "tdx.firmware",
        "The firmware is no TDVF",
        r"Cannot find TDX_METADATA_OFFSET_GUID|failed to parse TDVF for TDX VM|Invalid TDVF signature in metadata|"
        r"Invalid number of fw entries \(\d{1,10}\) in TDVF|TDVF metadata (?:len \(0x[0-9a-f]{1,8}\) "
        r"mismatch|doesn't "
        r"specify TD_HOB)|TDVF contains unsupported section type|Unsupported TDVF section",
        Origin.QEMU,
        "The image has no valid TDX metadata: an ordinary or SEV-only OVMF, its variables half, or a damaged file.",
        (
            "-bios OVMF.inteltdx.fd (Debian: package ovmf-inteltdx, Fedora: edk2-ovmf)",
            "libvirt: <loader type='rom' stateless='yes'>, or firmware='efi' to have it chosen",
        ),
        ("QEMU 11.1 binary; hw/i386/tdvf.c, target/i386/kvm/tdx.c",),
    ),
    Fault(
        "tdx.firmware-memory",
        "A part of the firmware lies outside of the TD's memory",
        r"Failed to (?:mmap|accept) memory for TDVF section (?P<section>\d{1,3})|TD_HOB overrun",
        Origin.QEMU,
        "The guest has too little memory for the firmware, or the host for the guest.",
        ("-m 2G or more",),
        (_TDX_C,),
    ),
    Fault(
        "tdx.quote-socket",
        "quote-generation-socket wants an address, not a path",
        r"Invalid parameter type for 'quote-generation-socket', expected: object|"
        r"quote-generation-socket=[^:]{1,200}: Parameter '(?P<part>type|path|cid)' is missing",
        Origin.QEMU,
        "The property is a socket address with its own parts.",
        (
            '-object \'{{"qom-type":"tdx-guest","id":"tdx0","quote-generation-socket":{{"type":"unix",'
            '"path":"/var/run/tdx-qgs/qgs.socket"}}}}\'',
            "or type vsock with cid 2 and port 4050",
        ),
        ("live: QEMU 11.1 (-object and object-add)",),
    ),
    Fault(
        "tdx.fatal",
        "The TD stopped itself",
        r"TDX guest reports fatal error\. error code: (?P<error>0x[0-9a-f]{1,8}) error "
        r"message:\"(?P<message>[^\"]{0,128})|"
        r"tdx: error_code='(?P<error_code>0x[0-9a-f]{1,8})' message='(?P<text>[^']{0,128})",
        Origin.GUEST,
        "Firmware or kernel of the guest gave up: {message}{text} (code {error}{error_code}). The text "
        "comes from the "
        "guest and may be anything.",
        (
            "see the guest's console",
            "a firmware and kernel that know TDX: Linux 5.19 or newer, 6.2 for attestation",
        ),
        ("QEMU 11.1 binary, system/runstate.c; libvirt 12.8 binary",),
    ),
    Fault(
        "tdx.vcpus",
        "vCPUs that the TD was not made for",
        r"KVM_TDX_INIT_VCPU failed",
        Origin.KVM,
        "A vCPU could not be set up: vCPUs cannot be added after the launch.",
        ("-smp without maxcpus; no device_add of CPUs", _DMESG),
        (_TDX_C,),
    ),
)

_LIBVIRT: tuple[Fault, ...] = (
    Fault(
        "tdx.libvirt-qemu",
        "libvirt has found no TDX",
        r"Intel TDX launch security is not supported with this QEMU binary",
        Origin.LIBVIRT,
        "QEMU is older than 10.1, or the host has no TDX: libvirt asks QEMU and KVM once and keeps the answer.",
        (
            _PROBE,
            "virsh domcapabilities --virttype kvm | grep -i tdx",
            "restart the daemon after the host has changed",
        ),
        ("libvirt 12.8 binary; canonical/tdx#46",),
    ),
    Fault(
        "tdx.libvirt-pflash",
        "TDX firmware is ROM, not flash",
        r"Intel TDX launch security is not supported with pflash loader",
        Origin.LIBVIRT,
        "<loader type='pflash'> is given. A TD has no read-only memory for flash.",
        ("<loader type='rom' stateless='yes'>/usr/share/ovmf/OVMF.inteltdx.ms.fd</loader>, without <nvram>",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "tdx.libvirt-smm",
        "TDX has no SMM",
        r"Intel TDX launch security is not supported with SMM enabled",
        Origin.LIBVIRT,
        "<smm state='on'/> is given, or follows from secure boot.",
        ("<smm state='off'/>, no <loader secure='yes'>",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "tdx.libvirt-pmu",
        "libvirt allows no performance counters in a TD",
        r"Intel TDX launch security is not supported with PMU enabled",
        Origin.LIBVIRT,
        "<pmu state='on'/> is given.",
        ("remove <pmu>, or <pmu state='off'/>",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "tdx.libvirt-irqchip",
        "TDX wants the split interrupt controller",
        r"Intel TDX launch security needs split kernel irqchip",
        Origin.LIBVIRT,
        "<ioapic driver='kvm'/> is given.",
        ("<ioapic driver='qemu'/>, or leave it out",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "tdx.libvirt-policy",
        "TDX policy bits that libvirt does not take",
        r"Only bit0\(debug\) and bit28\(sept-ve-disable\) are supported intel TDX launch security policy",
        Origin.LIBVIRT,
        "<policy> may have bits 0 and 28 only. Bit 0, debug, is then refused by QEMU.",
        ("<policy>0x10000000</policy>, or leave it out",),
        ("live: libvirt 12.8",),
    ),
    Fault(
        "tdx.libvirt-policy-number",
        "The TDX policy is no number",
        r"failed to get launch security policy for launch security type TDX",
        Origin.LIBVIRT,
        "<policy> cannot be read.",
        ("<policy>0x10000000</policy>, or leave it out",),
        ("libvirt 12.8 binary",),
    ),
)

FAULTS: tuple[Fault, ...] = (*_QEMU, *_LIBVIRT, *TDX_KERNEL, *TDX_QUOTE)
