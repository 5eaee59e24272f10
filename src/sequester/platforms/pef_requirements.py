"""What a host needs for PEF, in the order in which a person would check it.

Source: Linux Documentation/arch/powerpc/ultravisor.rst.
"""

from __future__ import annotations

from sequester.host.kernel import (
    kernel_built_with,
    module_loaded,
    present,
)
from sequester.host.kvm import (
    kvm_capability,
)
from sequester.host.processor import (
    architecture,
    cpuinfo_says,
)
from sequester.host.requirement import Requirement, first_of, proves
from sequester.host.software import qemu_machine, qemu_type
from sequester.platforms.kvm_requirements import KVM

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
