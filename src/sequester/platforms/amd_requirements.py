"""What SEV, SEV-ES and SEV-SNP need of a host in common, in the order in which a person would check it.

Sources: Linux arch/x86/kernel/cpu/amd.c (which flags are taken away and when), drivers/crypto/ccp/sev-dev.c; AMD APM
volume 2, 15.34 to 15.36; firmware setup names from AMD's reference firmware (AMD CBS) and the setup of Dell PowerEdge
R6615.
"""

from __future__ import annotations

from sequester.host.kernel import (
    kernel_built_with,
    log_says,
    module_parameter_on,
)
from sequester.host.kvm import (
    node_usable,
)
from sequester.host.processor import (
    architecture,
    cpu_flag,
    cpu_vendor,
    cpuid_bit,
    cpuinfo_says,
    msr_bits,
)
from sequester.host.requirement import Requirement, disproves, firmware_setup, first_of, proves

SEV_LEAF = 0x8000001F
SYSCFG, HWCR, RMP_BASE = 0xC0010010, 0xC0010015, 0xC0010132

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
