"""IBM POWER Protected Execution Facility: the guest asks the ultravisor to become a secure VM.

Sources: QEMU hw/ppc/pef.c, docs/system/ppc/pseries.rst; Linux Documentation/arch/powerpc/ultravisor.rst.
"""

from __future__ import annotations

from sequester.platforms.limitation import Demands, Engagement, HostTrustLimitation, Limits, MigrationBlock


class Pef(HostTrustLimitation):
    """POWER PEF. The property only permits the switch; the guest makes it with the UV_ESM ultracall."""

    name = "pef"
    title = "IBM POWER PEF"
    object_type = "pef-guest"
    architectures = ("ppc64",)
    limits = Limits.ISOLATED
    engages = Engagement.AT_SWITCHOVER
    strength = 30
    qemu_since = (6, 0)
    demands = Demands(machines=("pseries",), vfio_since=None, migration_blocked=MigrationBlock.FROM_START)
    migration = "blocked by QEMU from the start (6.0 to 11.1: 'PEF: Migration is not implemented')"
    evidence = "none for others: the ultravisor opens only an image made for this machine (ESM blob)"
    requirements = "sequester.platforms.pef_requirements:PEF"
    measurement = "sequester.measure.methods.pef"
    simulator = "sequester.simulator.pef"
    fault_table = "sequester.platforms.pef_faults"
    references = (
        "https://docs.kernel.org/arch/powerpc/ultravisor.html",
        "https://www.qemu.org/docs/master/system/ppc/pseries.html",
    )
