"""What a host needs for SEV-SNP, in the order in which a person would check it.

Sources: Linux arch/x86/virt/svm/sev.c, drivers/iommu/amd/init.c, drivers/crypto/ccp/sev-dev.c, arch/x86/kvm/svm/sev.c;
AMD APM volume 2, 15.36.
"""

from __future__ import annotations

from sequester.host.kernel import (
    cmdline_lacks,
    directory_filled,
    kernel_at_least,
    log_says,
    module_parameter_on,
    present,
)
from sequester.host.kvm import (
    ids_free,
    kvm_vm_type,
    sev_firmware_at_least,
)
from sequester.host.processor import (
    cpu_flag,
    cpuid_bit,
    msr_bits,
)
from sequester.host.requirement import Requirement, disproves, first_of, proves, when
from sequester.host.software import firmware_installed, libvirt_offers, qemu_type
from sequester.platforms.amd_requirements import (
    AMD_ASIDS,
    AMD_BASE,
    AMD_RMP,
    AMD_SNP,
    DEV_SEV,
    PSP_INIT,
    RMP_BASE,
    SEV_LEAF,
)
from sequester.platforms.kvm_requirements import KVM

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
