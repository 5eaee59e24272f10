"""The launch digest of SEV and SEV-ES: one SHA-256 over what is put into the guest before it starts.

That is the firmware image, the table of kernel hashes where there is one, and for SEV-ES a VMSA page for each
processor (SEV API 0.24, 6.5 LAUNCH_MEASURE, GCTX.LD; QEMU target/i386/sev.c, docs/system/i386/amd-memory-encryption).
"""

from __future__ import annotations

from hashlib import sha256

from sequester.errors import InputError
from sequester.measure import vmsa
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.ovmf import PAGE, Ovmf, hash_area, reset_vector
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.boot import Boot

REGISTER = "launch-digest"
MOST_VCPUS = 4096
"""KVM_MAX_VCPUS, the largest that x86 can be built with (Linux arch/x86/kvm/Kconfig)."""


@record
class SevLaunch:
    """A SEV guest, or with `es` a SEV-ES guest.

    `signature` is CPUID 1 EAX and `features` SEV_FEATURES, in the VMSAs of SEV-ES only, as are `monitor` and
    `fpu`: whether KVM copies the FPU state too (``legacy-vm-type=off``). `boot` is what goes into the table of
    hashes (``kernel-hashes=on``). Raises InputError where the firmware cannot be launched so.
    """

    firmware: Ovmf
    es: bool = False
    vcpus: int = 1
    signature: int = 0
    features: int = 0
    monitor: str = vmsa.QEMU
    fpu: bool = True
    boot: Boot | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self.vcpus, self.signature, self.features)
        if self.boot is not None:
            hash_area(self.firmware)
        if self.es:
            reset_vector(self.firmware)

    def measure(self) -> Measurement:
        """Return the launch digest, 32 bytes."""
        digest = sha256(self.firmware.data)
        if self.boot is not None:
            digest.update(self.boot.table())
        for page in self.vmsas():
            digest.update(page)
        platform = "sev-es" if self.es else "sev"
        return Measurement(platform, (Register(REGISTER, digest.digest()),), self.notes)

    def vmsas(self) -> Iterator[bytes]:
        """Yield the VMSA page of each processor; nothing for plain SEV."""
        if self.es:
            yield from vmsa.pages(
                self.vcpus, reset_vector(self.firmware), self.signature, self.features, self.monitor, self.fpu
            )

    def contributions(self) -> Iterator[Contribution]:
        """Yield the image, the table of hashes and the VMSAs; `running` is the digest if it ended there."""
        digest = sha256(self.firmware.data)
        image = digest.digest()
        yield Contribution(
            f"firmware {self.firmware.name}",
            "image",
            image,
            image,
            self.firmware.address,
            len(self.firmware.data),
            REGISTER,
        )
        if self.boot is not None:
            table = self.boot.table()
            yield from self.boot.hashes(digest.digest(), REGISTER)
            digest.update(table)
            base = hash_area(self.firmware).base
            yield Contribution(
                "table of kernel hashes",
                "hashes",
                digest.digest(),
                sha256(table).digest(),
                base,
                len(table),
                REGISTER,
            )
        for number, page in enumerate(self.vmsas()):
            digest.update(page)
            yield Contribution(
                f"VMSA of vCPU {number}",
                "vmsa",
                digest.digest(),
                sha256(page).digest(),
                None,
                PAGE,
                REGISTER,
            )


def check_numbers(vcpus: int, signature: int, features: int) -> None:
    """Raise InputError for numbers that no launch can have."""
    if not 1 <= vcpus <= MOST_VCPUS:
        raise InputError(
            f"a guest cannot have {vcpus} vCPUs", code="measure.vcpus", remedy=f"1 to {MOST_VCPUS}"
        )
    if not 0 <= signature < 1 << 32:
        raise InputError(
            f"{signature:#x} is no processor signature", code="measure.cpu", remedy="CPUID 1 EAX has 32 bits"
        )
    if not 0 <= features < 1 << 64:
        raise InputError(
            f"{features:#x} are no guest features", code="measure.features", remedy="SEV_FEATURES has 64 bits"
        )
