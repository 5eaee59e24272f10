"""IBM s390 Protected Virtualization (Secure Execution): the guest's boot loader asks to switch over.

Sources: QEMU target/s390x/kvm/pv.c, hw/s390x/s390-virtio-ccw.c, docs/system/s390x/protvirt.rst; Linux
Documentation/virt/kvm/s390/s390-pv.rst and s390-pv-boot.rst.
"""

from __future__ import annotations

from sequester.platforms.limitation import (
    Demands,
    Engagement,
    HostTrustLimitation,
    Libvirt,
    Limits,
    MigrationBlock,
)

_BEFORE_Z15 = (
    *("z900", "z800", "z990", "z890", "z9EC", "z9BC", "z10EC", "z10BC"),
    *("z196", "z114", "zEC12", "zBC12", "z13", "z13s", "z14", "z14ZR1"),
)
"""Models without the facility `unpack`, which came with z15 (gen15a): ``-cpu help`` of QEMU 7.2 to 11.1."""


class S390Pv(HostTrustLimitation):
    """s390 PV. The CPU feature ``unpack`` makes the switch possible; the guest's image makes it happen."""

    name = "s390-pv"
    title = "IBM s390 Protected Virtualization"
    object_type = "s390-pv-guest"
    also_known_as = ("s390-secure-execution", "se")
    architectures = ("s390x",)
    limits = Limits.ISOLATED | Limits.ATTESTED
    engages = Engagement.AT_SWITCHOVER
    strength = 42
    qemu_since = (6, 0)
    libvirt = Libvirt("s390-pv", "7.6.0")
    demands = Demands(
        machines=("s390-ccw-virtio",),
        cpu_required=("unpack",),
        cpu_too_old=_BEFORE_Z15,
        kernel_feature="secure-execution",
        max_cpus=248,
        huge_pages=False,
        discard=False,
        migration_blocked=MigrationBlock.FROM_SWITCHOVER,
        vfio_note="QEMU's manual (7.2 to 11.1) still calls assigned devices of protected guests unsupported; "
        "vfio-ap came later, with the CPU feature appv",
    )
    migration = "possible until the guest switches over, blocked by QEMU from then on (5.0 to 11.1)"
    evidence = (
        "the image opens only on a machine whose host key it names; attestation by the ultravisor from z16 on"
    )
    requirements = "sequester.platforms.s390_pv_requirements:S390_PV"
    measurement = "sequester.measure.methods.s390_pv"
    simulator = "sequester.simulator.s390_pv"
    fault_table = "sequester.platforms.s390_pv_faults"
    references = (
        "https://www.qemu.org/docs/master/system/s390x/protvirt.html",
        "https://docs.kernel.org/virt/kvm/s390/s390-pv.html",
    )
