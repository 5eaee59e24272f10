"""Lines of the host's kernel log about TDX (virt/tdx, kvm_intel, SEAMCALL)."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight
from sequester.platforms.tdx_status_faults import seamcall_status

_SOURCE = "Linux 7.2 arch/x86/virt/vmx/tdx/tdx.c"
_KVM = "Linux 7.2 arch/x86/kvm/vmx/tdx.c"

FAULTS: tuple[Fault, ...] = (
    Fault(
        "tdx.module-not-loaded",
        "There is no TDX module",
        r"(?:virt/)?tdx: module not loaded",
        Origin.KERNEL,
        "The BIOS has TDX on and has not loaded the module: the SEAM loader is off, or the BIOS does not bring one.",
        (
            "BIOS setup: TDX SEAM Loader enabled",
            "put TDX-SEAM.so and its sigstruct into /boot/efi/EFI/TDX, where the BIOS looks for a newer one",
            "update the BIOS, or ask the maker",
        ),
        (_SOURCE, "canonical/tdx#425"),
    ),
    Fault(
        "tdx.not-enabled-by-bios",
        "TDX is not fully enabled in the BIOS setup",
        r"(?:virt/)?tdx: (?:not enabled by BIOS|TDX not supported by the host platform|Cannot enable TDX on "
        r"TDX disabled "
        r"platform)|kvm_intel: TDX not supported by the host platform",
        Origin.KERNEL,
        "Keys may be set aside ('BIOS enabled: private KeyID range') and the rest still be off: the loader, SGX, or "
        "one of the memory options. It also stands there on a CPU without TDX.",
        (
            "BIOS setup: TME on, TME bypass off, TME-MT on, TDX on, SEAM loader on, key split 1 or more, SGX on, "
            "physical address limit to 46 bits off",
            "all memory slots that TDX asks for filled in the same way (the manual's memory population rules)",
            "power off and on; then rdmsr 0x1401 -f 11:11 must be 1",
        ),
        (_SOURCE, "canonical/tdx#33, #83, #102, #260"),
    ),
    Fault(
        "tdx.few-keys",
        "The BIOS gives TDX too few keys",
        r"initialization failed: too few private KeyIDs available",
        Origin.KERNEL,
        "One key is the module's own and each TD takes one.",
        ("BIOS setup: TME-MT/TDX key split to a larger number",),
        (_SOURCE,),
    ),
    Fault(
        "tdx.hibernation",
        "TDX and hibernation exclude each other",
        r"initialization failed: Hibernation support is enabled",
        Origin.KERNEL,
        "The kernel could hibernate, which would lose the module's state.",
        ("kernel command line: nohibernate; reboot",),
        (_SOURCE,),
    ),
    Fault(
        "tdx.memory-map",
        "The kernel's memory map does not suit the TDX module",
        r"initialization failed: (?:TDMRs exhausted|TDMR \[0x[0-9a-f]{1,16}, 0x[0-9a-f]{1,16}\): reserved "
        r"areas exhausted)",
        Origin.KERNEL,
        "Memory has too many holes for the module's table.",
        ("update the TDX module and the BIOS", "no memmap= on the kernel command line"),
        (_SOURCE, "canonical/tdx#135"),
    ),
    Fault(
        "tdx.cpu-lacks",
        "The CPU or KVM lacks something that TDX needs",
        r"(?P<what>XSAVE|MOVDIR64B|Self-snoop|EPT|APICv|OSXSAVE|TDP MMU and MMIO caching and EPT A/D bit) (?:is|are) "
        r"required for TDX",
        Origin.KERNEL,
        "{what} is missing or switched off.",
        (
            "drop module parameters that switch it off: kvm_intel.ept, enable_apicv, eptad, kvm.tdp_mmu",
            "reboot",
        ),
        (_SOURCE, _KVM),
    ),
    Fault(
        "tdx.module-too-old",
        "The TDX module is too old for this kernel",
        r"frame pointer \(RBP\) clobber bug present, upgrade TDX module|Disable TDX: MAX_VCPU_PER_TD "
        r"\(\d{1,6}\) smaller",
        Origin.KERNEL,
        "The kernel refuses this module.",
        ("update the TDX module: a newer BIOS, or TDX-SEAM.so in /boot/efi/EFI/TDX",),
        (_SOURCE, _KVM),
    ),
    Fault(
        "tdx.module-failed",
        "The TDX module could not be started",
        r"(?:module|TDX-Module) initialization failed \((?P<number>-?\d{1,4})\)|kvm_intel: Failed to "
        r"initialize TDX module",
        Origin.KERNEL,
        "The line before has the reason, mostly a SEAMCALL with its status.",
        ("explain the SEAMCALL line before this one", "update the TDX module and the BIOS"),
        (_SOURCE, "canonical/tdx#83, #331"),
        weight=Weight.AFTERMATH,
    ),
    Fault(
        "tdx.seamcall-old-module",
        "The TDX module is too old for this kernel",
        r"SEAMCALL \((?P<leaf>0x0{0,14}22)\) failed: (?P<hw_error>0xc000050500000000)",
        Origin.FIRMWARE,
        "TDH.SYS.RD was answered with SYS_NOT_READY: a module of version 1.0, and the kernel wants 1.5. The log says "
        "'major_version 1, minor_version 0', or nothing.",
        (
            "update the BIOS, which brings the module",
            "or put a 1.5 module into /boot/efi/EFI/TDX: TDX-SEAM.so and TDX-SEAM.so.sigstruct; reboot",
        ),
        ("canonical/tdx#83, #331, README of that project", "TDX module 1.5 ABI"),
        decode=seamcall_status,
    ),
    Fault(
        "tdx.seamcall",
        "The TDX module refused a call",
        r"SEAMCALL (?:\((?P<leaf>0x[0-9a-f]{1,16})\) |(?P<name>TDH_\w{1,30}) )failed: (?P<hw_error>0x[0-9a-f]{1,16})",
        Origin.FIRMWARE,
        "{leaf}{name}: {hw_error}, {_cause}.",
        ("{_step}", "dmesg: the lines around it"),
        (_SOURCE, _KVM, "TDX module 1.5 ABI", "canonical/tdx#153, #161, #213"),
        weight=Weight.GENERAL,
        decode=seamcall_status,
    ),
    Fault(
        "tdx.seamcall-early",
        "The TDX module refused a call (older log format)",
        r"SEAMCALL failed: CPU \d{1,5}: leaf (?P<leaf>\d{1,4}), error (?P<hw_error>0x[0-9a-f]{1,16})",
        Origin.FIRMWARE,
        "{leaf}: {hw_error}, {_cause}.",
        ("{_step}",),
        ("Ubuntu 6.5 intel-opt; canonical/tdx#25",),
        decode=seamcall_status,
    ),
    Fault(
        "tdx.status",
        "A status of the TDX module",
        r"(?:TDH[._]|TDX|hw_error)[^\n]{0,60}?(?P<hw_error>0x[4-9a-f][0-9a-f]{15})\b",
        Origin.FIRMWARE,
        "{hw_error}: {_cause}.",
        ("{_step}",),
        ("TDX module 1.5 ABI", "intel/tdx-module#24"),
        weight=Weight.GENERAL,
        decode=seamcall_status,
    ),
    Fault(
        "tdx.package-offline",
        "Each socket needs a CPU that is online",
        r"All packages need to have online CPU to create TD|TDX requires all packages to have an online CPU",
        Origin.KVM,
        "A TD's key must be set on every socket.",
        ("put a CPU of each socket online: echo 1 > /sys/devices/system/cpu/cpuN/online",),
        (_SOURCE, _KVM),
    ),
    Fault(
        "tdx.hkid-leaked",
        "A key was lost",
        r"HKID (?P<key>\d{1,6}) is leaked",
        Origin.KVM,
        "Key {key} could not be freed at a TD's end and stays in use until the next boot.",
        ("reboot when keys run out", "update the host's kernel and the TDX module"),
        (_KVM,),
    ),
    Fault(
        "tdx.access-before-accept",
        "The guest used a page before accepting it",
        r"Guest access before accepting (?P<page>0x[0-9a-f]{1,16}) on vCPU (?P<vcpu>\d{1,6})",
        Origin.KVM,
        "With SEPT_VE_DISABLE set the TD stops there: firmware or kernel of the guest has a gap, or something on the "
        "host took the page away.",
        ("update the guest's firmware and kernel", "no balloon, no discarding of its memory"),
        (_KVM,),
    ),
)
