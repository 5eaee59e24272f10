"""AMD Secure Encrypted Virtualization: SEV, and SEV-ES, which also protects registers.

Sources: AMD "Secure Encrypted Virtualization API" 0.24 (publication 55766) chapter 2 (guest policy);
QEMU target/i386/sev.c and qapi/qom.json; Linux Documentation/virt/kvm/x86/amd-memory-encryption.rst;
libvirt docs/formatdomain.rst "Launch Security".
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from sequester.guest.part import Part
from sequester.platforms.limitation import Demands, HostTrustLimitation, Libvirt, Limits, MigrationBlock
from sequester.platforms.property import Bit, Boolean, OneOf, Property, Text, Unsigned

POLICY = (
    Bit(0, "no-debug", "the host cannot debug the guest"),
    Bit(1, "no-key-sharing", "the guest's key cannot be shared with other guests"),
    Bit(2, "es", "registers are encrypted too (SEV-ES)"),
    Bit(3, "no-send", "the guest cannot be sent to another platform"),
    Bit(4, "domain", "the guest may only be sent to platforms of the same domain"),
    Bit(5, "sev", "the guest may only be sent to platforms that can do SEV"),
)
"""SEV API 0.24, table 2. Bits 16-23 and 24-31 are the least API version, major and minor."""

ES = 1 << 2
_API = "the least firmware API version in bits 16-31"

PROPERTIES: tuple[Property, ...] = (
    Property(
        "cbitpos",
        Unsigned(32),
        "position of the C-bit, must be the host's (CPUID 8000_001F EBX): 51; 47 on Naples and Rome",
        default=0,
        libvirt="cbitpos",
        from_host="sev_cbitpos",
        always=51,
        since=(2, 12),
    ),
    Property(
        "reduced-phys-bits",
        Unsigned(32),
        "bits of physical address that the guest loses; 1 on every processor so far (APM 2, 15.34.6)",
        libvirt="reducedPhysBits",
        always=1,
        since=(2, 12),
        check=lambda value: None if 1 <= value <= 63 else f"{value} is not between 1 and 63",
    ),
    Property(
        "policy",
        Unsigned(32, POLICY),
        f"what the firmware allows the host to do with the guest; {_API}",
        default=0x1,
        libvirt="policy",
        since=(2, 12),
        reserved=0xFFC0,
        debug=(0x1, 0x0),
        leaves=(
            (
                0x2,
                0x0,
                "another guest may be started with this guest's key (bit 1, no-key-sharing, is clear)",
            ),
            (0x8, 0x0, "the guest may be sent to another machine (bit 3, no-send, is clear)"),
        ),
    ),
    Property(
        "handle", Unsigned(32), "firmware handle of a guest to share a key with", default=0, since=(2, 12)
    ),
    Property(
        "dh-cert-file",
        Text(),
        "file with the owner's Diffie-Hellman certificate, base64",
        libvirt="dhCert",
        since=(2, 12),
        file=True,
        libvirt_file="dh_cert.base64",
    ),
    Property(
        "session-file",
        Text(),
        "file with the owner's launch session, base64",
        libvirt="session",
        since=(2, 12),
        file=True,
        libvirt_file="session.base64",
    ),
    Property(
        "kernel-hashes",
        Boolean(),
        "put hashes of kernel, initrd and command line into the measured firmware",
        default=False,
        libvirt="@kernelHashes",
        since=(6, 2),
    ),
    Property("sev-device", Text(), "device node of the firmware", default="/dev/sev", since=(2, 12)),
    Property(
        "legacy-vm-type",
        OneOf(("on", "off", "auto")),
        "use the VM type of kernels before 6.10; it changes an ES guest's measurement",
        default="auto",
        since=(9, 1),
    ),
)


class Sev(HostTrustLimitation):
    """SEV: memory is encrypted; registers are not, and memory can be replayed."""

    name = "sev"
    title = "AMD SEV"
    object_type = "sev-guest"
    architectures = ("x86_64",)
    limits = Limits.READ_MEMORY | Limits.ATTESTED
    strength = 10
    qemu_since = (2, 12)
    properties: ClassVar[tuple[Property, ...]] = PROPERTIES
    libvirt = Libvirt("sev", "4.4.0", ("policy",))
    demands = Demands(
        machines=("pc", "q35", "pc-q35", "pc-i440fx", "microvm"),
        firmware="any",
        firmware_descriptor="amd-sev",
        stateless_firmware=True,
        pinned=True,
        discard=False,
        kernel_hashes="kernel-hashes",
        kernel_hash_features=("sev-hashes",),
        migration_blocked=MigrationBlock.FROM_FIRST_RUN,
    )
    migration = (
        "blocked by QEMU from the first `cont` on (all releases to 11.1: 'SEV: Migration is not implemented')"
    )
    evidence = "launch measurement, read by the host before the guest starts and checked by its owner"
    measured_launch = True
    measurement = "sequester.measure.methods.sev"
    requirements = "sequester.platforms.sev_requirements:SEV"
    simulator = "sequester.simulator.sev"
    fault_table = "sequester.platforms.sev_faults"
    references = (
        "AMD Secure Encrypted Virtualization API 0.24 (55766)",
        "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html",
    )


class SevEs(Sev):
    """SEV-ES: the same object with policy bit 2; registers are encrypted and the launch measures them."""

    name = "sev-es"
    title = "AMD SEV-ES"
    requirements = "sequester.platforms.sev_requirements:SEV_ES"
    limits = (
        Limits.READ_MEMORY | Limits.READ_REGISTERS | Limits.CHANGE_REGISTERS | Limits.DEBUG | Limits.ATTESTED
    )
    strength = 20
    qemu_since = (6, 0)
    measurement = "sequester.measure.methods.sev_es"
    properties = tuple(
        replace(prop, must=ES, always=0xF) if prop.name == "policy" else prop for prop in PROPERTIES
    )
    demands = Demands(
        machines=("pc", "q35", "pc-q35", "pc-i440fx"),
        irqchip=("on", "split"),
        forbidden_machine=(("smm", "on"),),
        firmware="any",
        firmware_descriptor="amd-sev-es",
        firmware_features=("sev-es",),
        stateless_firmware=True,
        pinned=True,
        discard=False,
        reset_since=(11, 0),
        hot_cpus=False,
        kernel_hashes="kernel-hashes",
        kernel_hash_features=("sev-hashes",),
        migration_blocked=MigrationBlock.FROM_FIRST_RUN,
    )

    @classmethod
    def claims(cls, part: Part, dialect: str) -> bool:
        """SEV-ES is a `sev-guest` whose policy has bit 2, or one called ``sev-es``."""
        if part.type == cls.name:
            return True
        if not Sev.claims(part, dialect):
            return False
        try:
            return bool(Unsigned(32, POLICY).read(part.get("policy", 0)) & ES)
        except ValueError:
            return False
