"""What a SEV launch takes from an OVMF image: its bytes, where it lies, and what its footer table says."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.firmware.footer import HASH_TABLE_SIZE, SVSM_INFO, Area, FooterTable, read_footer
from sequester.firmware.image import ImageBytes
from sequester.firmware.sev import SevSection, read_sev_metadata
from sequester.record import record

FOUR_GIB = 1 << 32
PAGE = 4096
MOST_SECTIONS = 256
MOST_SECTION_BYTES = 1 << 30
"""Real metadata describes a dozen sections of less than 1 MiB together."""

_REMEDY = "use a build with SEV support, such as Debian's OVMF.amdsev.fd"


@record
class Ovmf:
    """An image that ends at `end` in guest memory; `table` is None where it has none. Equal to itself only."""

    name: str
    data: bytes
    table: FooterTable | None
    end: int = FOUR_GIB

    __eq__, __hash__ = object.__eq__, object.__hash__

    @property
    def address(self) -> int:
        """The guest address of its first byte."""
        return self.end - len(self.data)


def read_ovmf(data: bytes, name: str = "firmware", end: int = FOUR_GIB) -> Ovmf:
    """Read an image's footer table. Raises InputError, naming the image, where it is malformed or too large."""
    if not 0 < len(data) <= end:
        raise InputError(
            "this image is empty" if not data else "this image does not fit below its end in guest memory",
            code="firmware.malformed",
            where=name,
        )
    try:
        return Ovmf(name, data, read_footer(ImageBytes(data)), end)
    except InputError as error:
        raise _of(name, error) from None


def reset_vector(ovmf: Ovmf) -> int:
    """Return the address where all processors but the first start. InputError where the image has none."""
    found = _table(ovmf).sev_es_reset
    if not found:
        raise _missing(ovmf, "does not say where further vCPUs of an SEV-ES or SNP guest start")
    return found


def hash_area(ovmf: Ovmf) -> Area:
    """Return where the image wants the kernel hashes. InputError where QEMU would refuse to put them there."""
    found = _table(ovmf).hashes
    if found is None or not found.base or found.size < HASH_TABLE_SIZE:
        raise _missing(ovmf, "has no room for kernel hashes, so that it would not check the kernel")
    return found


def snp_sections(ovmf: Ovmf) -> tuple[SevSection, ...]:
    """Return the memory that an SNP launch prepares, in order. Raises InputError where it cannot be prepared."""
    distance = _table(ovmf).sev_metadata
    if distance is None:
        raise _missing(ovmf, "has no SEV metadata, which SEV-SNP needs")
    try:
        sections = read_sev_metadata(ImageBytes(ovmf.data), distance).sections
    except InputError as error:
        raise _of(ovmf.name, error) from None
    if len(sections) > MOST_SECTIONS or sum(section.size for section in sections) > MOST_SECTION_BYTES:
        raise _malformed(ovmf, "describes more memory in its SEV metadata than any real one does")
    end = 0
    for section in sorted(sections, key=lambda section: (section.base, section.size)):
        if section.base % PAGE or section.size % PAGE:
            raise _malformed(
                ovmf, f"has SEV metadata for {section.size:#x} bytes at {section.base:#x}: no whole pages"
            )
        if section.size and section.base < end:
            raise _malformed(ovmf, f"describes memory at {section.base:#x} twice in its SEV metadata")
        end = max(end, section.base + section.size)
    return sections


def svsm_entry(svsm: Ovmf) -> int:
    """Return the address where an SVSM image's processors start. InputError where the image does not say."""
    entry = _table(svsm).entry(SVSM_INFO)
    if entry is None or len(entry.data) < 4:
        raise InputError("this is no SVSM image", code="firmware.malformed", where=svsm.name)
    return int.from_bytes(entry.data[:4], "little") + svsm.address


def _table(ovmf: Ovmf) -> FooterTable:
    if ovmf.table is None:
        raise _missing(ovmf, "has no table of GUIDs at its end: it is no OVMF, or half of a split one")
    return ovmf.table


def _missing(ovmf: Ovmf, what: str) -> InputError:
    return InputError(f"this image {what}", code="firmware.lacking", where=ovmf.name, remedy=_REMEDY)


def _malformed(ovmf: Ovmf, what: str) -> InputError:
    return _of(ovmf.name, InputError(f"this image {what}", code="firmware.malformed"))


def _of(name: str, error: InputError) -> InputError:
    return InputError(error.what, code=error.code, where=name, why=error.why, remedy=error.remedy)
