"""Measures TDX."""

from __future__ import annotations

import os
from hashlib import sha384

from sequester.errors import InputError
from sequester.measure.files import file_digest, read_image
from sequester.measure.methods import check_length
from sequester.measure.tdvf_image import TdvfImage, read_tdvf_image
from sequester.measure.tdx import SIZE, Kernel, TdxLaunch
from sequester.measure.tdx_events import AcpiTables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.igvm import TdxIgvmLaunch
    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

LARGEST_KERNEL = 512 << 20
_OWNERS = ("mrconfigid", "mrowner", "mrownerconfig")
_ACPI = (
    ("table-loader", "etc/table-loader/raw", "etc/table-loader", "table_loader.bin"),
    ("rsdp", "etc/acpi/rsdp/raw", "etc/acpi/rsdp", "rsdp.bin"),
    ("tables", "etc/acpi/tables/raw", "etc/acpi/tables", "acpi_tables.bin"),
)
"""Names of the three files in a folder: our own, those of Linux' /sys/firmware/qemu_fw_cfg/by_name, tdx-measure's."""

TRUSTEE_NAMES = {
    "MRTD": "mr_td",
    **{f"RTMR{number}": f"rtmr_{number}" for number in range(4)},
    "MRCONFIGID": "mr_config_id",
    "MROWNER": "mr_owner",
    "MROWNERCONFIG": "mr_owner_config",
}
"""Our registers under the names that Trustee's default policy asks for (ear_default_policy_cpu.rego)."""


def launch(pieces: Pieces) -> TdxLaunch | TdxIgvmLaunch:
    """Read the files of a TDX launch."""
    data = _image(pieces.firmware)
    if data.startswith(b"IGVM"):
        from sequester.measure import igvm

        return igvm.TdxIgvmLaunch(igvm.read_igvm(data, igvm.TDX, pieces.firmware), pieces.notes)
    firmware = read_tdvf_image(data, pieces.firmware)
    kernel = _kernel(pieces)
    ways = None
    if kernel is not None:
        from sequester.measure.ovmf_ways import read_ways

        ways = read_ways(firmware.data)
    config, owner, owner_config = (pieces.properties.get(name) or bytes(SIZE) for name in _OWNERS)
    return TdxLaunch(
        firmware,
        pieces.memory,
        _acpi(pieces.acpi) if pieces.acpi else pieces.tables,
        kernel,
        ways,
        (config, owner, owner_config),
        notes=pieces.notes,
    )


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch nearest to these pieces of which a register has this value, or None."""
    from sequester.measure.tdx_guesses import nearest

    check_length(digest, SIZE, "TDX")
    given = launch(pieces)
    if not isinstance(given, TdxLaunch):
        from sequester.measure import igvm, igvm_guesses

        return igvm_guesses.nearest(digest, given, pieces, igvm_guesses.readable(others, igvm.TDX))
    return nearest(digest, given, _readable(others))


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield every register that is known, with each firmware image: processors are not measured."""
    from sequester.measure.tables import Reference

    for pieces in matrix.by_firmware():
        for register in launch(pieces).measure().registers:
            if register.value is not None:
                yield Reference(register.name, register.value, pieces.firmware)


def _image(path: str) -> bytes:
    if not path:
        raise InputError(
            "no firmware image is named",
            code="measure.firmware",
            remedy="give --firmware: what is measured is in it",
        )
    return read_image(path)


def _kernel(pieces: Pieces) -> Kernel | None:
    if not pieces.kernel:
        if pieces.initrd or pieces.append:
            raise InputError(
                f"{'an initrd' if pieces.initrd else 'a command line'} is measured with a kernel only",
                code="measure.kernel",
                remedy="give --kernel too",
            )
        return None
    from sequester.measure.authenticode import image_digest

    image = read_image(pieces.kernel, LARGEST_KERNEL)
    initrd = file_digest(pieces.initrd, sha384) if pieces.initrd else None
    return Kernel(image_digest(image, pieces.kernel), initrd, pieces.append)


def _acpi(folder: str) -> AcpiTables:
    found = []
    for names in _ACPI:
        path = next((path for name in names if os.path.isfile(path := os.path.join(folder, name))), "")
        if not path:
            raise InputError(
                f"this folder has no {names[0]}",
                code="measure.acpi",
                where=folder,
                remedy="copy /sys/firmware/qemu_fw_cfg/by_name/etc of a guest of the same shape",
            )
        found.append(read_image(path))
    return AcpiTables(*found)


def _readable(paths: tuple[str, ...]) -> tuple[TdvfImage, ...]:
    found = []
    for path in paths:
        try:
            found.append(read_tdvf_image(read_image(path), path))
        except InputError:
            continue
    return tuple(found)
