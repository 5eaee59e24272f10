"""What a host needs for s390 Protected Virtualization, in the order in which a person would check it.

Source: Linux arch/s390/kernel/uv.c.
"""

from __future__ import annotations

from sequester.host.kernel import (
    cmdline_on,
    file_says,
    kernel_at_least,
    log_says,
    present,
)
from sequester.host.kvm import (
    kvm_capability,
)
from sequester.host.processor import (
    architecture,
    facility,
)
from sequester.host.requirement import Requirement, disproves, first_of, proves
from sequester.host.software import libvirt_offers, qemu_type
from sequester.platforms.kvm_requirements import KVM

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
