"""The host requirements of each platform, in the order in which a person would check them.

Every chain is a tuple of `Requirement`. AMD_BASE is what SEV, SEV-ES and SEV-SNP share.

Sources: Linux arch/x86/kernel/cpu/amd.c (which flags are taken away and when), arch/x86/virt/svm/sev.c,
drivers/iommu/amd/init.c, drivers/crypto/ccp/sev-dev.c, arch/x86/kvm/svm/sev.c, arch/x86/virt/vmx/tdx/tdx.c,
arch/x86/kvm/vmx/tdx.c, arch/s390/kernel/uv.c; AMD APM volume 2, 15.34 to 15.36; firmware setup names from AMD's
reference firmware (AMD CBS), Intel's reference firmware and the setup of Dell PowerEdge R6615 and R760.
"""

from __future__ import annotations

from sequester.host.kernel import (
    cmdline_lacks,
    cmdline_on,
    directory_filled,
    file_says,
    kernel_at_least,
    kernel_built_with,
    log_says,
    module_loaded,
    module_parameter_on,
    present,
)
from sequester.host.kvm import (
    ids_free,
    kvm_capability,
    kvm_usable,
    kvm_vm_type,
    memory_lockable,
    node_usable,
    sev_firmware_at_least,
)
from sequester.host.processor import (
    architecture,
    cpu_flag,
    cpu_model,
    cpu_vendor,
    cpuid_bit,
    cpuinfo_says,
    facility,
    msr_bits,
)
from sequester.host.requirement import Requirement, all_of, disproves, firmware_setup, first_of, proves, when
from sequester.host.software import firmware_installed, libvirt_offers, qemu_machine, qemu_type

SEV_LEAF = 0x8000001F
SYSCFG, HWCR, RMP_BASE = 0xC0010010, 0xC0010015, 0xC0010132

# ------------------------------------------------------------------------------------------- AMD, all of SEV

AMD_SMEE = firmware_setup(
    "Advanced > AMD CBS > CPU Common Options > SMEE = Enable (and SEV Control = Enable), not Auto",
    {"Dell": "Processor Settings > Secure Memory Encryption = Enabled"},
)
AMD_ASIDS = firmware_setup(
    "Advanced > AMD CBS > CPU Common Options > SEV-ES ASID Space Limit Control = Manual, "
    "SEV-ES ASID Space Limit = 99 or what you need plus one",
    {"Dell": "Processor Settings > Minimum SEV non-ES ASID = above 1, by as many guests as you need"},
)
AMD_SNP = firmware_setup(
    "Advanced > AMD CBS > NBIO Common Options > SEV-SNP Support = Enable (Auto means off) and IOMMU = Enabled",
    {
        "Dell": "Processor Settings > Secure Nested Paging = Enabled and IOMMU Support = Enabled",
        "Supermicro": "Advanced > NB Configuration > SEV-SNP Support = Enabled (Auto means off), IOMMU = Enabled",
    },
)
AMD_RMP = firmware_setup(
    "Advanced > AMD CBS > CPU Common Options (or NBIO) > SNP Memory (RMP Table) Coverage = Enabled, not Custom",
    {
        "Dell": "Processor Settings > SNP Memory Coverage = Enabled",
        "Supermicro": "Advanced > CPU Configuration > SNP Memory (RMP Table) Coverage = Enabled, not Custom",
    },
)
AMD_INIT_FAULTS = (
    (
        r"failed to INIT\b.*error 0x3\b",
        "the security processor refuses the machine's configuration (INVALID_CONFIG)",
        "boot through UEFI, not legacy BIOS; turn memory interleaving off; update the machine's firmware",
    ),
    (
        r"failed to INIT\b.*error 0x1\b",
        "the security processor is in another state (INVALID_PLATFORM_STATE)",
        "power the machine off and on",
    ),
    (
        r"failed to INIT\b",
        "the security processor did not initialize",
        "update the machine's firmware, or linux-firmware",
    ),
    (
        r"SEV.*(sev command|cmd) .*timed out",
        "the security processor does not answer",
        "power the machine off and on",
    ),
    (r"memory encryption not enabled by BIOS", "memory encryption is off in the machine's firmware", ""),
)

AMD_BASE = (
    Requirement("arch", "x86-64 host", architecture("x86_64"), "SEV is a feature of AMD's x86-64 processors"),
    Requirement(
        "cpu-vendor",
        "AMD processor",
        cpu_vendor("AuthenticAMD", "HygonGenuine"),
        "SEV is a feature of AMD's processors (Intel's counterpart is TDX)",
        "use a machine with an AMD EPYC processor",
        after=("arch",),
    ),
    Requirement(
        "cpu-epyc",
        "server processor",
        cpuinfo_says("model name", r"(?!.*(Ryzen|Athlon|Threadripper))"),
        "Ryzen and Threadripper show the flag sev, but their security processor has no SEV firmware",
        "use a machine with an AMD EPYC processor",
        after=("cpu-vendor",),
    ),
    Requirement(
        "cpu-sev",
        "processor with SEV",
        first_of(cpuid_bit(SEV_LEAF, "eax", 1, "SEV"), proves(cpu_flag("sev"))),
        "encrypts a guest's memory with a key that only the security processor has",
        "use AMD EPYC 7001 (Naples) or later",
        after=("cpu-vendor",),
    ),
    Requirement(
        "memory-encryption",
        "memory encryption on in the firmware",
        first_of(
            disproves(msr_bits(SYSCFG, "SYSCFG", 1 << 23, "memory encryption")),
            disproves(msr_bits(HWCR, "HWCR", 1, "SMM lock")),
            disproves(log_says(bad=AMD_INIT_FAULTS[-1:])),
            cpu_flag("sev"),
        ),
        "Linux takes the flag sev away unless the firmware turned memory encryption on and locked SMM",
        AMD_SMEE,
        after=("cpu-sev",),
        root_would_tell="MSR 0xc0010010 (SYSCFG) bit 23",
    ),
    Requirement(
        "kernel-built",
        "kernel built for SEV hosts",
        first_of(proves(module_parameter_on("kvm_amd", "sev")), kernel_built_with("CONFIG_KVM_AMD_SEV")),
        "KVM's part of SEV is an option of the kernel's build",
    ),
)

DEV_SEV = Requirement(
    "dev-sev",
    "the security processor's device",
    node_usable(
        "/dev/sev",
        "no driver (ccp) found a security processor with SEV firmware",
        "modprobe ccp; if it is loaded, update the machine's firmware and see dmesg | grep -i ccp",
    ),
    "QEMU opens it; libvirt's system daemon passes it to its guests by itself, whatever its owner",
    after=("cpu-epyc", "memory-encryption"),
)
PSP_INIT = Requirement(
    "psp-init",
    "security processor initialized",
    first_of(
        proves(module_parameter_on("kvm_amd", "sev")),
        log_says(good=(r"SEV(-SNP)? API:\d", r"SEV API:\d"), bad=AMD_INIT_FAULTS),
    ),
    "its firmware holds the guests' keys and answers all of SEV's commands",
    "update the machine's firmware (it carries the security processor's)",
    after=("cpu-epyc", "memory-encryption"),
    root_would_tell="the kernel's log",
)
KVM = Requirement(
    "kvm",
    "KVM",
    kvm_usable(),
    "only KVM runs protected guests; QEMU's emulation (TCG) cannot",
)

# ------------------------------------------------------------------------------------------- SEV and SEV-ES

SEV = (
    *AMD_BASE,
    Requirement(
        "kernel",
        "Linux 4.16",
        kernel_at_least(4, 16, unless="/sys/module/kvm_amd/parameters/sev"),
        "brought SEV to KVM",
    ),
    PSP_INIT,
    Requirement(
        "kvm-sev",
        "SEV on in KVM",
        module_parameter_on(
            "kvm_amd", "sev", "4.16", "mend what failed above: KVM turns it off where SEV cannot run"
        ),
        "KVM makes SEV guests only when its module says so",
        after=("cpu-epyc", "cpu-sev", "memory-encryption", "kernel-built", "psp-init", "kernel"),
    ),
    DEV_SEV,
    Requirement(
        "asids",
        "a free ASID",
        ids_free("sev", "SEV ASIDs", "sev_asids"),
        "each running guest holds one; plain SEV guests have those that SEV-ES and SEV-SNP leave",
        AMD_ASIDS,
        after=("cpu-sev",),
    ),
    KVM,
    Requirement(
        "memlock",
        "lockable memory",
        memory_lockable(1 << 30),
        "QEMU pins all of a SEV guest's memory: the limit must be above it by 256 MiB",
        "ulimit -l unlimited: 'USER - memlock unlimited' in /etc/security/limits.d/, or LimitMEMLOCK=infinity",
        needed=False,
    ),
    Requirement(
        "qemu",
        "QEMU with sev-guest",
        qemu_type("sev-guest", "x86_64", (2, 12), "CONFIG_SEV"),
        "makes the guest's key and encrypts its firmware",
    ),
    Requirement(
        "firmware",
        "guest firmware for SEV",
        firmware_installed("amd-sev", "x86_64", "ovmf"),
        "OVMF has to map its memory as encrypted",
    ),
    Requirement("libvirt", "libvirt with SEV", libvirt_offers("sev", "4.4.0"), needed=False),
)

SEV_ES = (
    *AMD_BASE,
    Requirement(
        "cpu-sev-es",
        "processor with SEV-ES",
        first_of(cpuid_bit(SEV_LEAF, "eax", 3, "SEV-ES"), proves(cpu_flag("sev_es"))),
        "encrypts the guest's registers as well",
        "use AMD EPYC 7002 (Rome) or later",
        after=("cpu-sev",),
    ),
    Requirement(
        "kernel",
        "Linux 5.11",
        kernel_at_least(5, 11, unless="/sys/module/kvm_amd/parameters/sev_es"),
        "brought SEV-ES to KVM",
    ),
    PSP_INIT,
    Requirement(
        "kvm-sev-es",
        "SEV-ES on in KVM",
        module_parameter_on(
            "kvm_amd", "sev_es", "5.11", "mend what failed above: KVM turns it off where it cannot run"
        ),
        "KVM turns it off with no ASIDs for it, or with kvm.mmio_caching off",
        after=(
            *("cpu-epyc", "cpu-sev", "memory-encryption", "kernel-built", "psp-init", "kernel"),
            *("cpu-sev-es", "asids"),
        ),
    ),
    DEV_SEV,
    Requirement(
        "asids",
        "a free SEV-ES ASID",
        ids_free("sev_es", "SEV-ES ASIDs", "sev_es_asids"),
        "the firmware divides the ASIDs: with a minimum of 1 for plain SEV none are left for SEV-ES and SEV-SNP",
        AMD_ASIDS,
        after=("cpu-sev-es",),
    ),
    KVM,
    *(one for one in SEV if one.name in ("memlock", "qemu", "libvirt")),
    Requirement(
        "firmware",
        "guest firmware for SEV-ES",
        firmware_installed("amd-sev-es", "x86_64", "ovmf-amdsev (Debian), edk2-ovmf (Fedora, RHEL)"),
        "it must carry the reset vector that encrypted processors start from",
    ),
)

# ------------------------------------------------------------------------------------------- SEV-SNP

SNP_RUNS = proves(module_parameter_on("kvm_amd", "sev_snp"))
SNP_PARAMETER = "/sys/module/kvm_amd/parameters/sev_snp"

SEV_SNP = (
    *AMD_BASE,
    Requirement(
        "cpu-sev-snp",
        "processor with SEV-SNP",
        first_of(cpuid_bit(SEV_LEAF, "eax", 4, "SEV-SNP"), proves(cpu_flag("sev_snp"))),
        "protects memory against being changed, replayed and remapped",
        "use AMD EPYC 7003 (Milan) or later; this processor can do SEV at most",
        after=("cpu-sev",),
    ),
    Requirement(
        "iommu",
        "IOMMU translating, with SNP",
        first_of(
            SNP_RUNS,
            log_says(
                good=(r"AMD-Vi: IOMMU SNP support enabled",),
                bad=(
                    (
                        r"SNP: IOMMU disabled or configured in passthrough mode",
                        "SEV-SNP needs an IOMMU that translates; iommu=pt, as virt-host-validate advises, rules it out",
                        "take iommu=pt (and iommu=off, amd_iommu=off) off the kernel's command line and reboot",
                    ),
                    (
                        r"SNP: IOMMU is configured with V2 page table mode",
                        "SEV-SNP works with the IOMMU's first page table format only",
                        "take amd_iommu=pgtbl_v2 off the kernel's command line and reboot",
                    ),
                    (
                        r"SNP: IOMMU SNP feature not enabled",
                        "in spite of the words it is SEV-SNP that is off (or Auto) in the firmware's setup",
                        "",
                    ),
                ),
            ),
            disproves(cmdline_lacks("iommu", "pt", "off", "soft")),
            disproves(cmdline_lacks("iommu.passthrough", "1", "y", "on")),
            disproves(cmdline_lacks("amd_iommu", "off", "pgtbl_v2")),
            disproves(
                present("/sys/firmware/acpi/tables/IVRS", "the firmware describes no IOMMU: it is off there")
            ),
            directory_filled("/sys/kernel/iommu_groups", "no IOMMU is in use"),
        ),
        "devices must not reach a guest's memory either, so Linux turns SNP on only with the IOMMU",
        AMD_SNP,
        after=("cpu-sev-snp",),
        root_would_tell="the kernel's log",
    ),
    Requirement(
        "rmp",
        "reverse map table reserved",
        first_of(
            SNP_RUNS,
            msr_bits(RMP_BASE, "RMP_BASE", (1 << 52) - (1 << 13), "address of the reverse map table"),
            log_says(
                good=(r"SEV-SNP: (Segmented )?RMP (base )?table physical range",),
                bad=(
                    (
                        r"Memory for the RMP table has not been reserved by BIOS",
                        "the firmware reserved no memory for it",
                        "",
                    ),
                    (
                        r"Memory reserved for the RMP table does not cover",
                        "the table covers only a part of memory (setting 'Custom')",
                        "",
                    ),
                    (
                        r"RMP configuration not valid",
                        "its addresses make no sense",
                        "update the machine's firmware",
                    ),
                ),
            ),
            when(kernel_at_least(6, 9), cpu_flag("sev_snp")),
        ),
        "the table says which page belongs to which guest; since 6.9 Linux drops the flag sev_snp without it",
        AMD_RMP,
        after=("cpu-sev-snp", "memory-encryption"),
        root_would_tell="MSR 0xc0010132 (RMP_BASE) and the kernel's log",
    ),
    Requirement(
        "kernel",
        "Linux 6.11",
        kernel_at_least(6, 11, unless=SNP_PARAMETER),
        "brought SEV-SNP to KVM",
    ),
    PSP_INIT,
    Requirement(
        "psp-firmware",
        "SEV firmware 1.51",
        first_of(SNP_RUNS, sev_firmware_at_least(1, 51)),
        "the first that Linux takes for SEV-SNP",
        "update the machine's firmware, or put a newer amd_sev_fam*.sbin (package linux-firmware, amd64-microcode) "
        "into /lib/firmware/amd and reload ccp",
        after=("psp-init",),
        root_would_tell="/dev/sev or the kernel's log",
    ),
    Requirement(
        "kvm-sev-snp",
        "SEV-SNP on in KVM",
        module_parameter_on(
            "kvm_amd", "sev_snp", "6.11", "mend what failed above: KVM turns it off where SNP cannot run"
        ),
        "KVM makes SEV-SNP guests only when its module says so",
        after=(
            *("cpu-epyc", "cpu-sev", "memory-encryption", "kernel-built", "psp-init", "kernel"),
            *("cpu-sev-snp", "iommu", "rmp", "psp-firmware", "asids"),
        ),
    ),
    DEV_SEV,
    Requirement(
        "asids",
        "a free SEV-ES/SNP ASID",
        ids_free("sev_es", "SEV-ES/SNP ASIDs", "sev_es_asids"),
        "the firmware divides the ASIDs: with a minimum of 1 for plain SEV none are left for SEV-ES and SEV-SNP",
        AMD_ASIDS,
        after=("cpu-sev-snp",),
    ),
    KVM,
    Requirement(
        "kvm-vm-type",
        "KVM makes SEV-SNP guests",
        kvm_vm_type(4, "SEV-SNP"),
        "QEMU asks for this and says 'vm-type SEV-SNP not supported by KVM' without",
        "mend what failed above; with nothing failed, reload kvm_amd, or install Linux 6.11 or later",
        after=("kvm", "kvm-sev-snp"),
    ),
    Requirement(
        "qemu",
        "QEMU with sev-snp-guest",
        qemu_type("sev-snp-guest", "x86_64", (9, 1), "CONFIG_SEV"),
        "starts and measures the guest",
    ),
    Requirement(
        "firmware",
        "guest firmware for SEV-SNP",
        firmware_installed("amd-sev-snp", "x86_64", "ovmf-amdsev (Debian), edk2-ovmf (Fedora, RHEL)"),
        "it must carry SEV metadata and accept its memory page by page",
    ),
    Requirement("libvirt", "libvirt with SEV-SNP", libvirt_offers("sev-snp", "10.5.0"), needed=False),
)

# ------------------------------------------------------------------------------------------- Intel TDX

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

# ------------------------------------------------------------------------------------------- IBM Z

S390_PV = (
    Requirement(
        "arch", "IBM Z host", architecture("s390x"), "Protected Virtualization is a feature of IBM Z"
    ),
    Requirement(
        "facility",
        "machine with the ultravisor",
        facility(158, "ultravisor call"),
        "the ultravisor, part of the machine's firmware, runs protected guests",
        "use IBM z15 or LinuxONE III or later with the Secure Execution feature enabled, in an LPAR and not in z/VM",
        after=("arch",),
    ),
    Requirement(
        "kernel",
        "kernel with the ultravisor interface",
        first_of(proves(present("/sys/firmware/uv")), kernel_at_least(5, 7)),
        "Linux 5.7 brought protected guests to KVM",
        after=("arch",),
    ),
    Requirement(
        "prot-virt-argument",
        "prot_virt=1 for the kernel",
        cmdline_on("prot_virt", "add prot_virt=1 to the kernel's parameters, run zipl and reboot"),
        "the kernel gives memory to the ultravisor at boot, and only when told to",
        after=("facility", "kernel"),
    ),
    Requirement(
        "prot-virt-host",
        "ultravisor initialized",
        first_of(
            disproves(
                log_says(
                    bad=(
                        (
                            r"prot_virt: Failed to reserve",
                            "there was not enough memory for the ultravisor's base storage",
                            "give the LPAR more memory",
                        ),
                        (
                            r"prot_virt: Ultravisor init failed",
                            "the ultravisor refused",
                            "see its rc in the kernel's log",
                        ),
                        (r"prot_virt: The ultravisor call facility is not available", "", ""),
                    )
                )
            ),
            file_says(
                "/sys/firmware/uv/prot_virt_host",
                "1",
                "this kernel does not know the ultravisor, or it is off",
            ),
        ),
        "the kernel says so when it handed over to the ultravisor",
        after=("facility", "kernel", "prot-virt-argument"),
    ),
    KVM,
    Requirement(
        "kvm-protected",
        "KVM runs protected guests",
        kvm_capability(180, "KVM_CAP_S390_PROTECTED"),
        "QEMU's -cpu host then has the feature unpack",
        "mend what failed above; with nothing failed, install Linux 5.7 or later",
        after=("kvm", "prot-virt-host"),
    ),
    Requirement(
        "huge-pages",
        "no huge pages for guests",
        file_says("/sys/module/kvm/parameters/hpage", "0"),
        "a guest on 1 MiB pages cannot switch over",
        "kvm.hpage=0, or do not back protected guests with huge pages",
        needed=False,
    ),
    Requirement(
        "qemu",
        "QEMU with s390-pv-guest",
        qemu_type("s390-pv-guest", "s390x", (6, 0), "KVM, on s390x"),
        "the type is only in a QEMU that was built with KVM for this machine",
    ),
    Requirement("libvirt", "libvirt with s390 PV", libvirt_offers("s390-pv", "7.6.0"), needed=False),
)

# ------------------------------------------------------------------------------------------- POWER

PEF = (
    Requirement("arch", "POWER host", architecture("ppc64"), "PEF is a feature of IBM POWER9"),
    Requirement(
        "cpu",
        "POWER9 processor",
        cpuinfo_says("cpu", r"POWER9\b"),
        "POWER10 and later have no Protected Execution Facility that IBM ships",
        "use a POWER9 machine with ultravisor firmware",
        after=("arch",),
    ),
    Requirement(
        "ultravisor",
        "ultravisor firmware",
        present("/proc/device-tree/ibm,ultravisor", "the device tree names no ultravisor"),
        "the ultravisor keeps protected memory from the hypervisor",
        "install OPAL firmware with the ultravisor and turn on secure memory in the machine's setup",
        after=("cpu",),
    ),
    Requirement(
        "kernel-built",
        "kernel built for the ultravisor",
        first_of(proves(kvm_capability(181, "KVM_CAP_PPC_SECURE_GUEST")), kernel_built_with("CONFIG_PPC_UV")),
        "the kernel talks to the ultravisor in place of the hardware",
    ),
    Requirement(
        "kvm-hv",
        "KVM HV",
        module_loaded("kvm_hv"),
        "protected guests run on the processor's own virtualization only",
        after=("arch",),
    ),
    KVM,
    Requirement(
        "kvm-secure",
        "KVM runs secure guests",
        kvm_capability(181, "KVM_CAP_PPC_SECURE_GUEST"),
        "QEMU says 'KVM implementation does not support Secure VMs' without",
        "mend what failed above; with nothing failed, install Linux 5.7 or later",
        after=("kvm", "kvm-hv", "ultravisor", "kernel-built"),
    ),
    Requirement(
        "qemu",
        "QEMU with pef-guest",
        qemu_type("pef-guest", "ppc64", (6, 0)),
        "permits the guest to switch over",
    ),
    Requirement(
        "machine",
        "QEMU with pseries",
        qemu_machine("pseries", "ppc64"),
        "the only machine that can switch over",
        after=("qemu",),
    ),
)

# ------------------------------------------------------------------------------------------- Arm

CCA = (
    Requirement("arch", "Arm host", architecture("aarch64"), "CCA is a feature of Armv9-A processors"),
    Requirement(
        "qemu",
        "QEMU with rme-guest",
        qemu_type("rme-guest", "aarch64", (12, 0)),
        "no released QEMU has it (11.1), and no released Linux runs realms (7.2)",
        "wait, or use Arm's or Linaro's development trees",
        after=("arch",),
    ),
)

ALL = {
    "sev": SEV,
    "sev-es": SEV_ES,
    "sev-snp": SEV_SNP,
    "tdx": TDX,
    "s390-pv": S390_PV,
    "pef": PEF,
    "cca": CCA,
}
