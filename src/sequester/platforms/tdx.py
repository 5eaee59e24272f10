"""Intel Trust Domain Extensions.

Sources: Intel TDX Module 1.5 ABI (348551), TD_PARAMS and ATTRIBUTES; QEMU target/i386/kvm/tdx.c and qapi/qom.json
(10.1); Linux arch/x86/include/asm/shared/tdx.h; libvirt docs/formatdomain.rst.
"""

from __future__ import annotations

from sequester.platforms.limitation import Demands, HostTrustLimitation, Libvirt, Limits, MigrationBlock
from sequester.platforms.property import Bit, Boolean, Bytes, Property, SocketAddress, Unsigned

ATTRIBUTES = (
    Bit(0, "debug", "the host may debug the TD"),
    Bit(4, "hgs-plus", "HGS+ for the TD"),
    Bit(5, "perf-profiling", "performance profiling"),
    Bit(6, "pmt-profiling", "PMT profiling"),
    Bit(16, "icssd", "assist for side-channel defence"),
    Bit(27, "lass", "linear address space separation"),
    Bit(28, "sept-ve-disable", "an EPT violation does not raise #VE in the TD"),
    Bit(29, "migratable", "the TD can be migrated"),
    Bit(30, "pks", "supervisor protection keys"),
    Bit(31, "key-locker", "key locker"),
    Bit(62, "tpa", "TD partitioning attestation"),
    Bit(63, "perfmon", "performance monitoring"),
)
"""TDX module ABI, ATTRIBUTES; names as in Linux."""

_QEMU_TAKES = 1 << 28 | 1 << 30 | 1 << 63
"""QEMU 10.1 to 11.1 refuse all other bits: 'Some QEMU unsupported TD attribute bits being requested'."""


class Tdx(HostTrustLimitation):
    """Intel TDX."""

    name = "tdx"
    title = "Intel TDX"
    object_type = "tdx-guest"
    architectures = ("x86_64",)
    limits = Limits.ISOLATED | Limits.ATTESTED
    strength = 41
    qemu_since = (10, 1)
    properties = (
        Property(
            "attributes",
            Unsigned(64, ATTRIBUTES),
            "TD attributes; part of the measurement",
            default=1 << 28,
            libvirt="policy",
            since=(10, 1),
            never=~_QEMU_TAKES & (1 << 64) - 1,
            debug=(1, 1),
        ),
        Property(
            "sept-ve-disable",
            Boolean(),
            "attribute bit 28: Linux refuses to boot in a TD without it",
            default=True,
            since=(10, 1),
        ),
        Property(
            "mrconfigid", Bytes(48), "SHA-384 of the configuration", libvirt="mrConfigId", since=(10, 1)
        ),
        Property("mrowner", Bytes(48), "SHA-384 that names the owner", libvirt="mrOwner", since=(10, 1)),
        Property(
            "mrownerconfig",
            Bytes(48),
            "SHA-384 of the owner's configuration",
            libvirt="mrOwnerConfig",
            since=(10, 1),
        ),
        Property(
            "quote-generation-socket",
            SocketAddress(),
            "where the quote generation service listens; without it the guest gets no quotes",
            libvirt="quoteGenerationService",
            since=(10, 1),
        ),
    )
    libvirt = Libvirt("tdx", "11.6.0")
    demands = Demands(
        machines=("q35", "pc-q35"),
        irqchip=("split",),
        forbidden_machine=(("smm", "on"), ("pic", "on")),
        firmware="rom",
        firmware_descriptor="intel-tdx",
        firmware_features=("tdx",),
        stateless_firmware=True,
        tables_measured=True,
        cpu_models=("host", "max"),
        cpu_forbidden=("pmu",),
        host_phys_bits=True,
        guest_memfd=True,
        reset_since=(11, 0),
        vfio_since=(10, 1),
        hot_cpus=False,
        migration_blocked=MigrationBlock.FROM_START,
    )
    migration = "refused: TDX forces the non-migratable CPU feature invtsc (QEMU 10.1 to 11.1)"
    evidence = "quote, asked for by the guest and signed by the platform's quoting enclave"
    requirements = "sequester.platforms.tdx_requirements:TDX"
    measurement = "sequester.measure.methods.tdx"
    simulator = "sequester.simulator.tdx"
    fault_table = "sequester.platforms.tdx_faults"
    references = (
        "Intel TDX Module 1.5 ABI specification (348551)",
        "https://www.qemu.org/docs/master/system/i386/tdx.html",
    )
