"""The pieces of a launch as they are known before any file is read: from options, or from a guest's definition."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.files import read_image
from sequester.measure.ovmf import FOUR_GIB, Ovmf, read_ovmf
from sequester.measure.vmsa import QEMU
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sequester.measure.boot import Boot
    from sequester.measure.tdx_events import AcpiTables

NOTHING: Mapping[str, Any] = {}


@record
class Pieces:
    """What is launched; which of it matters depends on the platform.

    `platform` is our name of it. `firmware`, `kernel`, `initrd` and `svsm` are paths, '' where there is none;
    `measured_kernel` says whether the kernel goes into the measurement (``kernel-hashes``). `vcpus` and `signature`
    (CPUID 1 EAX) are None where not known. `monitor` makes the initial processor state, `features` is SEV_FEATURES,
    None for the usual one. `new_vm_type` says whether KVM copies the FPU state into VMSAs (SEV-ES only:
    ``legacy-vm-type=off``). `seed` stands in for the firmware's pages. `variables` is the size of the variable
    store below the firmware in bytes. `memory` is the guest's in bytes, `acpi` a folder with the files that QEMU
    gives its firmware for ACPI; `tables` are their contents, where they were read from a QEMU.
    `realm` says what a host gives its realms, `device_tree` is the path of what QEMU makes for one (CCA).
    `properties` are those of the limitation. `notes` say what the measurement rests on.
    """

    platform: str
    firmware: str = ""
    vcpus: int | None = None
    signature: int | None = None
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    measured_kernel: bool = True
    monitor: str = QEMU
    features: int | None = None
    new_vm_type: bool = True
    seed: bytes = b""
    svsm: str = ""
    variables: int | None = None
    memory: int | None = None
    acpi: str = ""
    tables: AcpiTables | None = None
    realm: str = ""
    device_tree: str = ""
    properties: Mapping[str, Any] = NOTHING
    notes: tuple[str, ...] = ()

    def read_firmware(self, end: int = FOUR_GIB) -> Ovmf:
        """Read the firmware image. Raises InputError where there is none."""
        if not self.firmware:
            raise InputError(
                "no firmware image is named",
                code="measure.firmware",
                remedy="give --firmware: what is measured is in it",
            )
        return read_ovmf(read_image(self.firmware), self.firmware, end)

    def read_boot(self) -> Boot | None:
        """Read the kernel, if it is measured."""
        return self.boot_at_hand() if self.measured_kernel else None

    def boot_at_hand(self) -> Boot | None:
        """Read the kernel, measured or not."""
        if not (self.kernel or self.initrd or self.append):
            return None
        from sequester.measure.boot import read_boot

        return read_boot(self.kernel, self.initrd, self.append)

    def needed_vcpus(self) -> int:
        """Return the number of vCPUs. Raises InputError where it is not known."""
        if self.vcpus is None:
            raise InputError(
                "the number of vCPUs is not known, and each is measured",
                code="measure.vcpus",
                remedy="give --cpus",
            )
        return self.vcpus

    def needed_signature(self) -> int:
        """Return the processors' signature, 0 where the monitor does not measure it. InputError where unknown."""
        if self.signature is not None:
            return self.signature
        if self.monitor != QEMU:
            return 0
        raise InputError(
            "the type of the vCPUs is not known, and is measured",
            code="measure.cpu",
            remedy="give --cpu: a QEMU model, family/model/stepping, or CPUID 1 EAX",
        )
