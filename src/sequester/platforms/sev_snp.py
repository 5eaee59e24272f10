"""AMD SEV-SNP: memory can be neither read nor changed, replayed or remapped; the guest proves itself by report.

Sources: AMD "SEV Secure Nested Paging Firmware ABI" 1.58 (publication 56860), table 9 (guest policy), tables 75-77
(ID block, ID authentication); QEMU target/i386/sev.c and qapi/qom.json (9.1); libvirt docs/formatdomain.rst.
"""

from __future__ import annotations

from sequester.platforms.limitation import Demands, HostTrustLimitation, Libvirt, Limits, MigrationBlock
from sequester.platforms.property import Bit, Boolean, Bytes, Property, Text, Unsigned
from sequester.platforms.snp_policy_bits import POLICY_BITS

POLICY = tuple(Bit(*each) for each in POLICY_BITS)


class SevSnp(HostTrustLimitation):
    """SEV-SNP."""

    name = "sev-snp"
    title = "AMD SEV-SNP"
    object_type = "sev-snp-guest"
    also_known_as = ("snp",)
    architectures = ("x86_64",)
    limits = Limits.ISOLATED | Limits.ATTESTED
    strength = 40
    qemu_since = (9, 1)
    properties = (
        Property(
            "cbitpos",
            Unsigned(32),
            "position of the C-bit; must be the host's (CPUID 8000_001F EBX[5:0]); 51 on Milan, Genoa and Turin",
            default=0,
            libvirt="cbitpos",
            from_host="sev_cbitpos",
            always=51,
            since=(9, 1),
        ),
        Property(
            "reduced-phys-bits",
            Unsigned(32),
            "bits of physical address that the guest loses; 1 on every processor so far (APM 2, 15.34.6)",
            libvirt="reducedPhysBits",
            always=1,
            since=(9, 1),
            check=lambda value: None if 1 <= value <= 63 else f"{value} is not between 1 and 63",
        ),
        Property(
            "policy",
            Unsigned(64, POLICY),
            "what the firmware allows the host to do with the guest; the least ABI version in bits 0-15",
            default=0x30000,
            libvirt="policy",
            since=(9, 1),
            must=1 << 17,
            reserved=~((1 << 26) - 1) & (1 << 64) - 1,
            debug=(1 << 19, 1 << 19),
            agent=1 << 18,
        ),
        Property(
            "guest-visible-workarounds",
            Bytes(16),
            "hypervisor-defined workarounds that the guest is told of",
            libvirt="guestVisibleWorkarounds",
            since=(9, 1),
        ),
        Property("id-block", Bytes(96), "expected measurement and identity", libvirt="idBlock", since=(9, 1)),
        Property(
            "id-auth", Bytes(4096), "signatures and keys over the ID block", libvirt="idAuth", since=(9, 1)
        ),
        Property(
            "author-key-enabled",
            Boolean(),
            "the ID authentication carries an author key",
            default=False,
            libvirt="@authorKey",
            since=(9, 1),
        ),
        Property(
            "host-data",
            Bytes(32),
            "data of the host's choosing, shown in reports",
            libvirt="hostData",
            since=(9, 1),
        ),
        Property(
            "vcek-disabled",
            Boolean(),
            "reports may not be signed with the chip's own key (VCEK)",
            default=False,
            libvirt="@vcek",
            inverted=True,
            since=(9, 1),
        ),
        Property(
            "kernel-hashes",
            Boolean(),
            "put hashes of kernel, initrd and command line into the measured firmware",
            default=False,
            libvirt="@kernelHashes",
            since=(9, 1),
        ),
        Property("sev-device", Text(), "device node of the firmware", default="/dev/sev", since=(9, 1)),
    )
    libvirt = Libvirt("sev-snp", "10.5.0", ("policy",))
    demands = Demands(
        machines=("pc", "q35", "pc-q35", "pc-i440fx"),
        forbidden_machine=(("smm", "on"),),
        firmware="rom",
        firmware_descriptor="amd-sev-snp",
        firmware_features=("sev-snp",),
        stateless_firmware=True,
        guest_memfd=True,
        reset_since=(11, 0),
        vfio_since=(9, 2),
        hot_cpus=False,
        kernel_hashes="kernel-hashes",
        kernel_hash_features=("sev-hashes", "snp-hashes"),
        hashes_need_kernel=True,
        migration_blocked=MigrationBlock.FROM_FIRST_RUN,
    )
    migration = (
        "blocked by QEMU from the first `cont` on (9.1 to 11.1; 'SEV-SNP: Migration is not implemented' in 10.0, "
        "'SEV: ...' in 11.1)"
    )
    evidence = (
        "attestation report, asked for by the guest and signed by the chip (VCEK) or a cloud's key (VLEK)"
    )
    measurement = "sequester.measure.methods.sev_snp"
    requirements = "sequester.platforms.sev_snp_requirements:SEV_SNP"
    simulator = "sequester.simulator.sev_snp"
    fault_table = "sequester.platforms.sev_faults"
    references = (
        "AMD SEV-SNP Firmware ABI 1.58 (56860)",
        "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html",
    )
