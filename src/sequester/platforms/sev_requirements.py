"""What a host needs for SEV and SEV-ES, in the order in which a person would check it.

Sources: Linux arch/x86/kvm/svm/sev.c, drivers/crypto/ccp/sev-dev.c; AMD APM volume 2, 15.34 and 15.35.
"""

from __future__ import annotations

from sequester.host.kernel import (
    kernel_at_least,
    module_parameter_on,
)
from sequester.host.kvm import (
    ids_free,
    memory_lockable,
)
from sequester.host.processor import (
    cpu_flag,
    cpuid_bit,
)
from sequester.host.requirement import Requirement, first_of, proves
from sequester.host.software import firmware_installed, libvirt_offers, qemu_type
from sequester.platforms.amd_requirements import (
    AMD_ASIDS,
    AMD_BASE,
    DEV_SEV,
    PSP_INIT,
    SEV_LEAF,
)
from sequester.platforms.kvm_requirements import KVM

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
