"""The memory image of an ELF kernel, as ``objcopy -O binary`` writes it: what is hashed where a raw kernel is loaded.

Layout (System V ABI, ELF-64): identification 16 bytes, of which byte 4 is 2 for 64 bits and byte 5 is 1 for little-
and 2 for big-endian; program headers of 56 bytes, section headers of 64. The image has every section that takes
memory and has contents, at its load address (that of its segment's), zeros between, from the lowest to the highest.
"""

from __future__ import annotations

import struct

from sequester.errors import InputError
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC = b"\x7fELF"
LARGEST = 512 << 20
"""Bytes that a kernel may fill; Linux for POWER takes some 40 MiB."""
_AT_ONCE = 1 << 20
_LOAD, _NOBITS, _ALLOC = 1, 8, 2
_MOST = 1024


@record
class Piece:
    """`size` bytes at `offset` of the file, which are loaded at `address`."""

    address: int
    offset: int
    size: int


def memory_image(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield a 64-bit ELF file's memory image in parts. Raises InputError where the file is malformed."""
    pieces = read_pieces(file, name)
    at = pieces[0].address
    for piece in pieces:
        for size in _sizes(piece.address - at):
            yield bytes(size)
        file.seek(piece.offset)
        for size in _sizes(piece.size):
            data = file.read(size)
            if len(data) != size:
                raise _fault(name, "it is shorter than it says")
            yield data
        at = piece.address + piece.size


def read_pieces(file: BinaryIO, name: str) -> tuple[Piece, ...]:
    """Return what a 64-bit ELF file loads, by address. Raises InputError where it is malformed or loads nothing."""
    file.seek(0)
    head = file.read(64)
    if len(head) < 64 or not head.startswith(MAGIC) or head[4] != 2 or head[5] not in (1, 2):
        raise _fault(name, "it is no 64-bit one")
    order = "<" if head[5] == 1 else ">"
    segments_at, sections_at = struct.unpack_from(order + "QQ", head, 32)
    segment_size, segments, section_size, sections = struct.unpack_from(order + "HHHH", head, 54)
    if segment_size != 56 or section_size != 64 or max(segments, sections) > _MOST:
        raise _fault(name, f"it has {segments} segments and {sections} sections of unusual size or number")
    loads = []
    for fields in _table(file, name, order + "IIQQQQQQ", segments_at, segments):
        kind, _flags, offset, _virtual, physical, in_file = fields[:6]
        if kind == _LOAD:
            loads.append((offset, in_file, physical))
    found = []
    for fields in _table(file, name, order + "IIQQQQIIQQ", sections_at, sections):
        _name, kind, flags, _address, offset, size = fields[:6]
        if kind == _NOBITS or not flags & _ALLOC or not size:
            continue
        for start, length, physical in loads:
            if start <= offset and offset + size <= start + length:
                found.append(Piece(physical + offset - start, offset, size))
                break
    found.sort(key=lambda piece: piece.address)
    end = found[0].address if found else 0
    for piece in found:
        if piece.address < end:
            raise _fault(name, f"two of its sections are loaded at {piece.address:#x}")
        end = piece.address + piece.size
    if not found or end - found[0].address > LARGEST:
        raise _fault(name, "it loads nothing, or more than any kernel")
    return tuple(found)


def _table(file: BinaryIO, name: str, layout: str, at: int, number: int) -> Iterator[tuple[int, ...]]:
    form = struct.Struct(layout)
    if at >= 1 << 40:
        raise _fault(name, f"its headers would be at {at:#x}")
    file.seek(at)
    raw = file.read(form.size * number)
    if len(raw) != form.size * number:
        raise _fault(name, "its headers are outside the file")
    return form.iter_unpack(raw)


def _sizes(total: int) -> Iterator[int]:
    while total > 0:
        yield min(total, _AT_ONCE)
        total -= _AT_ONCE


def _fault(name: str, what: str) -> InputError:
    return InputError(
        f"this ELF file cannot be measured: {what}",
        code="measure.kernel",
        where=name,
        remedy="give the vmlinux that the guest boots",
    )
