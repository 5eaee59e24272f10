"""Arm Confidential Compute Architecture: realms.

No released QEMU or Linux can host a realm yet (looked at: QEMU 11.1.2, Linux 7.2): the object and its properties
follow the public patch series "arm: Run Arm CCA VMs with KVM" (RFC v3, November 2024; its `rme-guest` object in
qapi/qom.json) and Arm's Realm Management Monitor specification 1.0 (DEN0137), realm parameters.
"""

from __future__ import annotations

from sequester.platforms.limitation import Demands, HostTrustLimitation, Limits, MigrationBlock
from sequester.platforms.property import Boolean, Bytes, OneOf, Property


class Cca(HostTrustLimitation):
    """Arm CCA."""

    name = "cca"
    title = "Arm CCA"
    object_type = "rme-guest"
    also_known_as = ("arm-cca", "realm")
    architectures = ("aarch64",)
    limits = Limits.ISOLATED | Limits.ATTESTED
    strength = 39
    qemu_since = ()
    properties = (
        Property("personalization-value", Bytes(64), "realm personalization value, shown in the realm token"),
        Property(
            "measurement-algorithm",
            OneOf(("sha256", "sha512")),
            "hash of the realm's initial and extensible measurements",
            default="sha512",
        ),
        Property("measurement-log", Boolean(), "leave an event log for the guest's firmware", default=False),
    )
    demands = Demands(
        machines=("virt",),
        cpu_models=("host",),
        guest_memfd=True,
        hot_cpus=False,
        reset_since=(),
        vfio_since=None,
        migration_blocked=MigrationBlock.FROM_START,
    )
    migration = "blocked from the start by the proposed QEMU patches ('RME: migration is not implemented')"
    evidence = "attestation token: a platform token and a realm token, asked for by the guest"
    measurement = "sequester.measure.methods.cca"
    requirements = "sequester.platforms.cca_requirements:CCA"
    simulator = "sequester.simulator.cca"
    fault_table = "sequester.platforms.cca_faults"
    references = (
        "Arm Realm Management Monitor specification 1.0 (DEN0137)",
        "https://docs.kernel.org/arch/arm64/arm-cca.html",
    )
