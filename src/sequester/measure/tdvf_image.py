"""What a TDX launch takes from a TDVF image: its bytes and the sections that its metadata describes."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.firmware.footer import read_footer
from sequester.firmware.image import ImageBytes
from sequester.firmware.tdvf import BFV, CFV, COPIED, PAGE, TD_HOB, TEMP_MEM, TdvfSection, read_tdvf
from sequester.measure.td_hob import Range
from sequester.record import record

MOST_SECTIONS = 64
MOST_SECTION_BYTES = 256 << 20
"""Real metadata describes seven sections of 4 MiB together."""
_REMEDY = "use a TDVF build, such as Debian's OVMF.inteltdx.ms.fd"


@record
class TdvfImage:
    """An image and its sections, in order."""

    name: str
    data: bytes
    sections: tuple[TdvfSection, ...]

    @property
    def hob(self) -> TdvfSection:
        """Where the hand-off blocks go."""
        return next(section for section in self.sections if section.type == TD_HOB)

    @property
    def added(self) -> tuple[Range, ...]:
        """The memory that is there before the guest starts."""
        kinds = (TD_HOB, TEMP_MEM)
        return tuple(Range(each.address, each.size, True) for each in self.sections if each.type in kinds)

    @property
    def configuration(self) -> bytes | None:
        """The volume with configuration, as the image has it; None where there is none."""
        found = next((section for section in self.sections if section.type == CFV), None)
        return None if found is None else self.data[found.offset : found.offset + found.raw_size]

    def contents(self, section: TdvfSection) -> bytes:
        """Return what QEMU puts into a section's memory: of the image, or zeros."""
        if section.type in COPIED:
            return self.data[section.offset : section.offset + section.size]
        return bytes(section.size)


def read_tdvf_image(data: bytes, name: str) -> TdvfImage:
    """Read an image's metadata. Raises InputError, naming it, where QEMU could not launch it."""
    try:
        table = read_footer(ImageBytes(data))
        distance = table.tdx_metadata if table is not None else None
        if distance is None:
            raise InputError("this image has no TDX metadata", code="firmware.lacking", remedy=_REMEDY)
        sections = read_tdvf(ImageBytes(data), distance).sections
        _check(data, sections)
    except InputError as error:
        raise InputError(
            error.what, code=error.code, where=name, why=error.why, remedy=error.remedy
        ) from None
    return TdvfImage(name, data, sections)


def _check(data: bytes, sections: tuple[TdvfSection, ...]) -> None:
    if len(sections) > MOST_SECTIONS or sum(section.size for section in sections) > MOST_SECTION_BYTES:
        raise _malformed("describes more memory than any real one does")
    for kind, what in ((BFV, "no firmware volume to start in"), (TD_HOB, "no place for hand-off blocks")):
        if not any(section.type == kind and section.size for section in sections):
            raise _malformed(f"has {what} in its TDX metadata")
    end = 0
    for section in sorted(sections, key=lambda section: (section.address, section.size)):
        if section.address < end:
            raise _malformed(f"describes memory at {section.address:#x} twice in its TDX metadata")
        end = section.address + section.size
        if section.type in COPIED and section.offset + section.size > len(data):
            raise InputError(
                f"this image ends before its section {section.name}: it is half of a split one",
                code="firmware.lacking",
                remedy=_REMEDY,
            )
    if end > 1 << 52 or any(section.size % PAGE for section in sections):
        raise _malformed("describes memory that no guest has")


def _malformed(what: str) -> InputError:
    return InputError(f"this image {what}", code="firmware.malformed", remedy=_REMEDY)
