"""Measures s390 Protected Virtualization: the image is ``-kernel``, and brings its initrd and command line."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.files import opened
from sequester.measure.s390_pv import SeLaunch
from sequester.measure.se_image import SeImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

TRUSTEE_NAMES = {"tag": "se.tag", **{f"host-key-{number}": "se.image_phkh" for number in range(64)}}
"""Our registers under the names that Trustee's IBM SE verifier asks for (deps/verifier/src/se/README.md)."""


def launch(pieces: Pieces) -> SeLaunch:
    """Read the image of a Secure Execution guest, and hold its pages against its header."""
    path = pieces.kernel or pieces.firmware
    if not path:
        raise InputError(
            "no Secure Execution image is named", code="measure.kernel", remedy="give --kernel IMAGE"
        )
    notes = pieces.notes
    if pieces.initrd or pieces.append:
        notes = (*notes, "initrd and command line of a protected guest are those in its image, not QEMU's")
    with opened(path) as file:
        image = SeImage(file, path)
        components = image.components()
        return SeLaunch(path, image.header(), tuple(image.digests(components)), notes)


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return this image's launch, or that of another one, which has a register with this value; or None."""
    from sequester.measure.search import Match
    from sequester.record import replaced

    for path in (pieces.kernel or pieces.firmware, *others):
        try:
            made = launch(replaced(pieces, kernel=path))
        except InputError:
            if path == (pieces.kernel or pieces.firmware):
                raise
            continue
        for register in made.measure().registers:
            if register.value == digest:
                other = () if path == (pieces.kernel or pieces.firmware) else (f"image {path}",)
                return Match(made, (f"it is {register.name}", *other) if register.name != "tag" else other)
    return None


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield every value of each image."""
    from sequester.measure.tables import Reference

    for pieces in matrix.by_firmware():
        made = launch(pieces)
        for register in made.measure().registers:
            if register.value is not None:
                yield Reference(register.name, register.value, made.name)
