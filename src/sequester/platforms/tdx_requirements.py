"""What a host needs for TDX, in the order in which a person would check it.

Sources: Linux arch/x86/virt/vmx/tdx/tdx.c, arch/x86/kvm/vmx/tdx.c; firmware setup names from Intel's reference
firmware and the setup of Dell PowerEdge R760.
"""

from __future__ import annotations

from sequester.host.kernel import (
    file_says,
    kernel_at_least,
    kernel_built_with,
    log_says,
    module_parameter_on,
    present,
)
from sequester.host.kvm import (
    ids_free,
    kvm_vm_type,
)
from sequester.host.processor import (
    architecture,
    cpu_flag,
    cpu_model,
    cpu_vendor,
    cpuid_bit,
    msr_bits,
)
from sequester.host.requirement import Requirement, all_of, disproves, firmware_setup, first_of, proves, when
from sequester.host.software import firmware_installed, libvirt_offers, qemu_type
from sequester.platforms.kvm_requirements import KVM

TDX_SETUP = firmware_setup(
    "Socket Configuration > Processor Configuration > TME, TME-MT, TDX: Memory Encryption (TME), Total Memory "
    "Encryption Multi-Tenant (TME-MT), Trust Domain Extension (TDX), TDX SEAM Loader = Enable, TME-MT memory "
    "integrity = Disable, TME-MT/TDX key split = 1 or more; and SW Guard Extensions (SGX) = Enable for attestation. "
    "All memory channels of each socket must have the same modules",
    {
        "Dell": "System Security > Memory Encryption = Multiple Keys, Global Memory Integrity = Disabled, "
        "Intel TDX = Enabled, TME-MT/TDX Key Split = 1 or more, TDX SEAM Loader = Enabled, Intel SGX = On; "
        "Processor Settings > x2APIC Mode = Enabled",
    },
)
TDX_SEAM = (
    "update the machine's firmware, or put Intel's newer TDX module into EFI/TDX/ of the EFI system partition"
)
TDX_PROCESSORS = {
    (6, 0x8F): "Sapphire Rapids (TDX on some models only)",
    (6, 0xCF): "Emerald Rapids",
    (6, 0xAD): "Granite Rapids",
    (6, 0xAE): "Granite Rapids-D",
    (6, 0xAF): "Sierra Forest",
    (6, 0xDD): "Clearwater Forest",
}
TDX_BIOS_FAULTS = (
    (
        r"virt/tdx: initialization failed: Hibernation support is enabled",
        "Linux cannot both hibernate and run TDX",
        "add nohibernate to the kernel's command line and reboot",
    ),
    (
        r"virt/tdx: initialization failed: too few private KeyIDs",
        "the firmware gave TDX only one key id, which TDX needs for itself",
        "in the firmware's setup set the TME-MT/TDX key split higher",
    ),
    (r"x86/tme: not enabled by BIOS", "memory encryption (TME) is off in the firmware", ""),
    (r"virt/tdx: initialization failed", "", ""),
)
TDX_MODULE_FAULTS = (
    (
        r"virt/tdx: module not loaded",
        "the firmware started no TDX module",
        "in the firmware's setup: TDX SEAM Loader = Enable",
    ),
    (r"frame pointer \(RBP\) clobber bug", "the TDX module has a fault that Linux refuses", TDX_SEAM),
    (
        r"SEAMCALL .*failed: 0xc0000505",
        "the TDX module is older than Linux needs",
        TDX_SEAM,
    ),
    (
        r"SEAMCALL .*failed",
        "the TDX module refused a call; the number is its reason (sequester explain)",
        TDX_SEAM,
    ),
    (
        r"TDMRs exhausted",
        "memory is in more pieces than the TDX module can take",
        "fill the memory channels evenly",
    ),
    (r"(TDX-Module|module) initialization failed", "the TDX module did not start", TDX_SEAM),
)
TDX_RUNS = proves(module_parameter_on("kvm_intel", "tdx"))

TDX = (
    Requirement(
        "arch", "x86-64 host", architecture("x86_64"), "TDX is a feature of Intel's x86-64 processors"
    ),
    Requirement(
        "cpu-vendor",
        "Intel processor",
        cpu_vendor("GenuineIntel"),
        "TDX is a feature of Intel's processors (AMD's counterpart is SEV-SNP)",
        "use a machine with Intel Xeon Scalable of the 5th generation or later",
        after=("arch",),
    ),
    Requirement(
        "cpu-tdx",
        "processor with TDX",
        first_of(
            proves(cpu_flag("tdx_host_platform")),
            proves(cpu_model(TDX_PROCESSORS)),
            disproves(cpuid_bit(7, "ecx", 13, "memory encryption, TME")),
            cpu_model(TDX_PROCESSORS),
        ),
        "TDX came with some 4th and all 5th generation Xeon Scalable",
        "use a machine with Intel Xeon Scalable of the 5th generation or later",
        after=("cpu-vendor",),
    ),
    Requirement(
        "kernel",
        "Linux 6.16",
        kernel_at_least(6, 16, unless="/sys/module/kvm_intel/parameters/tdx"),
        "brought TDX to KVM",
    ),
    Requirement(
        "kernel-built",
        "kernel built for TDX hosts",
        first_of(
            TDX_RUNS,
            proves(cpu_flag("tdx_host_platform")),
            all_of(kernel_built_with("CONFIG_INTEL_TDX_HOST"), kernel_built_with("CONFIG_KVM_INTEL_TDX")),
        ),
        "TDX is an option of the kernel's build",
        after=("kernel",),
    ),
    Requirement(
        "bios",
        "TDX on in the firmware",
        first_of(
            proves(cpu_flag("tdx_host_platform")),
            disproves(log_says(bad=TDX_BIOS_FAULTS)),
            msr_bits(0x87, "IA32_MKTME_KEYID_PARTITIONING", 0xFFFFFFFF << 32, "key ids for TDX"),
            when(
                all_of(kernel_at_least(6, 8), kernel_built_with("CONFIG_INTEL_TDX_HOST")),
                first_of(
                    log_says(
                        (r"virt/tdx: BIOS enabled: private KeyID range",),
                        (),
                        "the firmware gave TDX no key ids",
                    ),
                    cpu_flag("tdx_host_platform"),
                ),
            ),
        ),
        "the firmware reserves memory encryption keys for TDX",
        TDX_SETUP,
        after=("cpu-tdx",),
        root_would_tell="MSR 0x87 and the kernel's log",
    ),
    Requirement(
        "module",
        "TDX module initialized",
        first_of(
            TDX_RUNS,
            proves(file_says("/sys/devices/faux/tdx_host/version", r"\d")),
            log_says((r"virt/tdx: (TDX-Module|module) initialized",), TDX_MODULE_FAULTS),
        ),
        "Intel's module runs the guests in place of the host",
        after=("bios", "kernel", "kernel-built"),
        root_would_tell="the kernel's log",
    ),
    Requirement(
        "kvm-tdx",
        "TDX on in KVM",
        module_parameter_on("kvm_intel", "tdx", "6.16"),
        "it is off unless asked for, and turned off where the TDX module did not start",
        after=("kernel", "kernel-built", "bios", "module"),
    ),
    Requirement(
        "key-ids",
        "a free key id",
        ids_free("tdx", "TDX key ids"),
        "each running guest holds one",
        TDX_SETUP,
        after=("bios", "kvm-tdx"),
    ),
    KVM,
    Requirement(
        "kvm-vm-type",
        "KVM makes TDX guests",
        kvm_vm_type(5, "TDX"),
        "QEMU asks for this and says 'vm-type TDX not supported by KVM' without",
        "mend what failed above; with nothing failed, reload kvm_intel, or install Linux 6.16 or later",
        after=("kvm", "kvm-tdx"),
    ),
    Requirement(
        "qemu",
        "QEMU with tdx-guest",
        qemu_type("tdx-guest", "x86_64", (10, 1), "CONFIG_TDX"),
        "starts the guest; older ones say \"Parameter 'qom-type' does not accept value 'tdx-guest'\"",
    ),
    Requirement(
        "firmware",
        "guest firmware for TDX",
        firmware_installed("intel-tdx", "x86_64", "ovmf-inteltdx (Debian), edk2-ovmf (Fedora, RHEL)"),
        "it must carry TDX metadata",
    ),
    Requirement(
        "quotes",
        "quote generation service",
        present("/var/run/tdx-qgs/qgs.socket", "no service listens there"),
        "without it the guest runs, but cannot prove to others what it is",
        "install and start Intel's qgsd (package tdx-qgs), with SGX on in the firmware",
        needed=False,
    ),
    Requirement("libvirt", "libvirt with TDX", libvirt_offers("tdx", "11.6.0"), needed=False),
)
