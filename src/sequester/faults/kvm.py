"""Errors of KVM as QEMU reports them: no device, no rights, and the lines that only follow another error."""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.errno_names import errno_text
from sequester.faults.fault import Fault, Origin, Weight

_RUN_LOG = "dmesg | tail -50  right after it; KVM and the firmware driver log the cause there"


def _suberror(fields: Mapping[str, str]) -> Mapping[str, str]:
    names = {
        "1": "emulation failed",
        "2": "simultaneous exceptions",
        "3": "exception on delivery of an event",
    }
    return {"what": names.get(fields["suberror"], "see QEMU's register dump")}


def _errno(fields: Mapping[str, str]) -> Mapping[str, str]:
    return {"errno": errno_text(int(fields["number"]))} if fields.get("number") else {}


FAULTS: tuple[Fault, ...] = (
    Fault(
        "kvm.init-failed",
        "KVM could not be set up for this guest",
        r"failed to initialize kvm: (?P<why>[A-Z][\w ',-]{1,80})",
        Origin.QEMU,
        "This only ends a chain: the line before says what failed. '{why}' is the error that was passed on, not a "
        "matter of rights: SEV's set-up always ends in 'Operation not permitted'.",
        (
            "read the line before this one, and explain that",
            "libvirt shows only the end: /var/log/libvirt/qemu/NAME.log has all of it",
        ),
        ("live: QEMU 7.2, 10.0, 11.1, after every failed SEV set-up", "QEMU accel/kvm/kvm-all.c kvm_init"),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "kvm.no-device",
        "There is no KVM here",
        r"Could not access KVM kernel module: No such file or directory",
        Origin.QEMU,
        "/dev/kvm does not exist: the module is not loaded, virtualization is off in the BIOS setup, or this is a "
        "container or a guest without it.",
        (
            "modprobe kvm_amd (or kvm_intel); dmesg | grep -i kvm",
            "BIOS setup: enable SVM (AMD) or VT-x (Intel)",
            "in a container pass /dev/kvm in; a protected guest cannot run nested",
        ),
        ("QEMU 7.2 and 11.1 binaries; accel/kvm/kvm-all.c",),
    ),
    Fault(
        "kvm.permission",
        "This user may not use KVM",
        r"Could not access KVM kernel module: Permission denied",
        Origin.QEMU,
        "/dev/kvm is there, and the user that runs QEMU may not open it.",
        (
            "ls -l /dev/kvm; put the user in its group: usermod -aG kvm USER, then log in anew",
            "SEV also needs /dev/sev: QEMU opens it for reading and writing",
        ),
        ("live: QEMU 7.2 as nobody",),
    ),
    Fault(
        "kvm.not-kvm",
        "/dev/kvm is not KVM's",
        r"kvm version (?:too old|not supported)",
        Origin.QEMU,
        "What /dev/kvm is does not answer as KVM: a wrong device node in a container, or a module of another age.",
        ("ls -l /dev/kvm: it must be a character device 10, 232", "reload the kvm modules or reboot"),
        ("live: QEMU 7.2 with another device bound over /dev/kvm",),
    ),
    Fault(
        "kvm.vm-type",
        "KVM on this host cannot make this kind of virtual machine",
        r"vm-type (?P<type>\w[\w ./-]{0,40}) not supported by KVM",
        Origin.QEMU,
        "QEMU asked KVM_CAP_VM_TYPES, and {type} is not in the answer: the CPU, BIOS setup, firmware, kernel or "
        "module parameter is missing. QEMU itself is fine.",
        (
            "`sequester probe` names the first link that is missing",
            "SEV-SNP: dmesg | grep -iE 'sev|snp|rmp|ccp', cat /sys/module/kvm_amd/parameters/sev_snp",
            "TDX: dmesg | grep -i tdx, cat /sys/module/kvm_intel/parameters/tdx",
        ),
        ("QEMU 9.1 and newer; target/i386/kvm/kvm.c kvm_get_vm_type",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "kvm.vm-type-null",
        "KVM cannot make the virtual machine type that was asked for",
        r"vm-type \(null\) not supported by KVM",
        Origin.QEMU,
        "The line before says which type; QEMU has no name for it here.",
        ("read the line before this one",),
        ("live: QEMU 10.0 and 11.1, sev-guest,legacy-vm-type=off",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "kvm.create-vm",
        "KVM would not create the virtual machine",
        r"ioctl\(KVM_CREATE_VM\) failed: (?:(?P<number>\d{1,3}) )?(?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "'Device or resource busy' means that another hypervisor holds the CPU; 'Cannot allocate memory' that "
        "there is none; 'Invalid argument' that the kernel does not know the machine type.",
        ("unload other hypervisors (VirtualBox, VMware)", _RUN_LOG),
        ("QEMU 11.1 binary; accel/kvm/kvm-all.c do_kvm_create_vm",),
        decode=_errno,
    ),
    Fault(
        "kvm.run-failed",
        "The guest could not be run, or stopped with a fault",
        r"error: kvm run failed (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "KVM_RUN failed. In SEV-ES, SNP and TDX guests the registers shown are zeros or stale: the host cannot "
        "read them. 'Invalid argument' there mostly means a VMSA that the CPU refuses, or a guest kernel that "
        "cannot do this protection; 'Bad address' a page that the host may not touch.",
        (
            _RUN_LOG,
            "use a firmware built for the platform, and a guest kernel: SEV-ES 5.10, SNP 5.19, TDX 5.19 or newer",
            "use released kernel and QEMU: mixtures of patched ones end here",
            "-cpu: a named model that the host can be (SNP: EPYC-v4; TDX: host)",
        ),
        ("AMDESE/AMDSEV#58, #138, #260; canonical/tdx#348", "QEMU accel/kvm/kvm-all.c kvm_cpu_exec"),
    ),
    Fault(
        "kvm.internal-error",
        "KVM could not emulate what the guest did",
        r"KVM internal error\. Suberror: (?P<suberror>\d{1,4})",
        Origin.QEMU,
        "KVM stopped the guest ({what}). In a guest whose memory and registers the host cannot read, KVM cannot "
        "emulate instructions: the guest or its firmware must not need it (no legacy VGA, no option ROMs, no SMM).",
        ("drop devices with MMIO that needs emulation: VGA, and romfile= on virtio-net (romfile=)", _RUN_LOG),
        ("QEMU 11.1 binary; accel/kvm/kvm-all.c kvm_handle_internal_error",),
        decode=_suberror,
    ),
    Fault(
        "kvm.entry-failed",
        "The CPU refused to enter the guest",
        r"KVM: entry failed, hardware error (?P<code>0x[0-9a-f]{1,16})",
        Origin.KVM,
        "The hardware found the guest's state invalid ({code}).",
        (_RUN_LOG, "update the microcode and the BIOS"),
        ("QEMU 11.1 binary; target/i386/kvm/kvm.c",),
    ),
    Fault(
        "kvm.get-registers",
        "The host cannot read the guest's registers",
        r"Failed to (?P<what>get|put|set) (?:special )?registers(?: \([^)]{1,20}\))?: (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "Expected in a guest whose registers are protected (SEV-ES, SNP, TDX): something asked for them. It comes "
        "with a debugger, a dump, or after the guest has died.",
        ("no gdb stub, no 'info registers', no dump of CPU state", "look for the error before it"),
        ("canonical/tdx#348", "QEMU accel/kvm/kvm-all.c do_kvm_cpu_synchronize_state"),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "kvm.set-msr",
        "KVM does not take a model-specific register",
        r"error: failed to set MSR (?P<msr>0x[0-9a-f]{1,8}) to (?P<value>0x[0-9a-f]{1,16})",
        Origin.QEMU,
        "QEMU copied a CPU feature whose register {msr} this KVM refuses, and stops. Common with -cpu host on a "
        "nested or very new host.",
        ("use a named CPU model", "or leave the feature out: for 0x10a add -arch-capabilities to -cpu"),
        ("live: QEMU 7.2 in a nested host, -cpu host,migratable=off",),
    ),
    Fault(
        "kvm.set-msr-assertion",
        "QEMU stops because KVM refused a register",
        r"kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed",
        Origin.QEMU,
        "Follows 'failed to set MSR', which names the register.",
        ("use a named CPU model instead of host",),
        ("live: QEMU 7.2",),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "kvm.vcpu-init",
        "A vCPU could not be created",
        r"kvm_init_vcpu: (?P<call>\w{1,40}) failed \((?P<index>\d{1,6})\): (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "{call} of vCPU {index} failed: {why}. The line before says why, or the kernel's log does.",
        ("read the line before this one", _RUN_LOG),
        ("live: QEMU 7.2 and 11.1, after a migration blocker", "QEMU accel/kvm/kvm-all.c"),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "kvm.no-guest-memfd",
        "The kernel has no private guest memory",
        r"KVM does not support guest_memfd",
        Origin.QEMU,
        "SEV-SNP and TDX keep private memory in guest_memfd, which came with Linux 6.8 and CONFIG_KVM_GUEST_MEMFD.",
        ("use a kernel that hosts them: SNP 6.11 or newer, TDX 6.16 or newer",),
        ("QEMU 11.1 binary; accel/kvm/kvm-all.c kvm_create_guest_memfd",),
    ),
    Fault(
        "kvm.guest-memfd",
        "Private guest memory could not be created",
        r"Error creating KVM guest_memfd",
        Origin.QEMU,
        "KVM_CREATE_GUEST_MEMFD failed; after a colon comes the reason.",
        (
            "'Cannot allocate memory': free memory, or a smaller guest",
            "'Invalid argument': a kernel too old",
            _RUN_LOG,
        ),
        ("QEMU 11.1 binary; accel/kvm/kvm-all.c",),
    ),
    Fault(
        "kvm.memory-region",
        "KVM does not take a region of guest memory",
        r"KVM_SET_USER_MEMORY_REGION2? failed, slot=(?P<slot>\d{1,6}), start=(?P<start>0x[0-9a-f]{1,16}), "
        r"size=(?P<size>0x[0-9a-f]{1,16})",
        Origin.QEMU,
        "The region at {start}, {size} bytes long, was refused; the line ends with the reason. In SNP and TDX "
        "guests read-only memory (flash, ROM) does not exist.",
        ("firmware with -bios, no pflash", "drop devices that map ROMs: rombar=0 on PCI devices"),
        ("QEMU 11.1 binary; accel/kvm/kvm-all.c",),
    ),
    Fault(
        "kvm.vcpus-beyond-advice",
        "More vCPUs than KVM recommends",
        r"Number of (?P<kind>SMP|hotpluggable) cpus requested \((?P<asked>\d{1,6})\) exceeds the (?P<what>"
        r"recommended|maximum) cpus supported by KVM \((?P<most>\d{1,6})\)",
        Origin.QEMU,
        "A warning for the recommended number, an error for the maximum ({most}). vCPUs are not hot-plugged into "
        "an SEV-ES, SNP or TDX guest anyway: maxcpus is of no use there.",
        ("-smp without maxcpus, or maxcpus equal to the number of vCPUs",),
        ("AMDESE/AMDSEV#215", "QEMU accel/kvm/kvm-all.c"),
        weight=Weight.AFTERMATH,
    ),
)
