"""ACPI tables of an ordinary guest, turned into those that QEMUs with Intel's patches make for a trust domain.

Before TDX came to QEMU (10.1), Intel's and Canonical's builds of 8.2 to 9.2 said in the tables that a TD's interrupts
cannot be level-triggered (posted as "hw/i386: add option to forcibly report edge trigger in acpi tables", v6 41/60).
QEMU itself did not take that: `acpi_build_madt` of 11.1.2 makes no difference between a TD and another guest. With
those patches every interrupt of the PCI link devices in the DSDT is an edge, and the MADT has an override for each of
16 interrupts (of 16 more, where there is a second I/O APIC). The MADT grows by that, so that all behind it moves, and
with it what the loader's commands say.

Loader commands are 128 bytes, little-endian (QEMU hw/acpi/bios-linker-loader.c): 32 bits command, file names 56 bytes::

    2 add pointer    destination, source file, offset in the destination 32, size 8 bits
    3 add checksum   file, offset of the sum, start, length, 32 bits each
    4 write pointer  destination, source file, offset in the destination, offset in the source, 32 bits each
"""

from __future__ import annotations

import re
import struct

from sequester.errors import InputError
from sequester.measure.tdx_events import AcpiTables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = "etc/acpi/tables"
_COMMAND = 128
_ADD_POINTER, _ADD_CHECKSUM, _WRITE_POINTER = 2, 3, 4
_POINTER = struct.Struct("<I56s56sIB")
_CHECKSUM = struct.Struct("<I56sIII")
_WRITTEN = struct.Struct("<I56s56sII")
_HEAD = struct.Struct("<4sI")
_LINK = re.compile(rb"\x89(..)\x09(.)", re.DOTALL)
"""An extended interrupt descriptor (ACPI 6.5, 6.4.3.6): consumer, level, active high, shared; then how many."""
_EDGE = 0x02
_MADT_ENTRIES = 44
_IO_APIC, _OVERRIDE = 1, 2
_EDGE_HIGH = 1 | 1 << 2
_SECOND_BASE = 24
"""Where the second I/O APIC's interrupts begin (`IO_APIC_SECONDARY_IRQBASE`)."""


def with_edges(acpi: AcpiTables) -> AcpiTables:
    """Return the tables with all interrupts as edges. Raises InputError for tables that QEMU did not make."""
    try:
        tables = {signature: (at, size) for signature, at, size in _tables(acpi.tables)}
        dsdt, madt = tables[b"DSDT"], tables[b"APIC"]
    except (KeyError, struct.error):
        raise _fault("there is no DSDT or MADT in them") from None
    edged = bytearray(acpi.tables)
    edged[dsdt[0] : sum(dsdt)] = _dsdt(acpi.tables[dsdt[0] : sum(dsdt)])
    end = sum(madt)
    new = _madt(acpi.tables[madt[0] : end])
    moved = len(new) - madt[1]
    body = bytes(edged[: madt[0]]) + new + bytes(edged[end:])
    spare = body[len(edged) :]
    if moved < 0 or any(spare):
        raise _fault("the MADT has no room to grow")
    loader, rsdp, body = _pointers(acpi, body[: len(edged)], madt[0], end, moved)
    return AcpiTables(loader, rsdp, body)


def _tables(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield signature, place and size of each table; they follow each other up to the zeros."""
    at = 0
    while at + _HEAD.size <= len(data):
        signature, size = _HEAD.unpack_from(data, at)
        if signature == bytes(4):
            return
        if size < _HEAD.size or at + size > len(data):
            raise _fault(f"the table at {at:#x} claims {size} bytes")
        yield signature, at, size
        at += size


def _dsdt(table: bytes) -> bytes:
    def edge(found: re.Match[bytes]) -> bytes:
        length, count = int.from_bytes(found[1], "little"), found[2][0]
        if count == 0 or length != 2 + 4 * count:
            return found[0]
        return found[0][:3] + bytes((found[0][3] | _EDGE,)) + found[0][4:]

    return _LINK.sub(edge, table)


def _madt(table: bytes) -> bytes:
    before, after, io_apics, overridden, at = b"", b"", 0, False, _MADT_ENTRIES
    while at < len(table):
        kind, size = table[at], table[at + 1] if at + 1 < len(table) else 0
        if size < 2 or at + size > len(table):
            raise _fault(f"the MADT's entry at {at} claims {size} bytes")
        entry, at = table[at : at + size], at + size
        io_apics += kind == _IO_APIC
        if kind == _OVERRIDE:
            overridden = True
        elif overridden:
            after += entry
        else:
            before += entry
    if not overridden:
        raise _fault("the MADT overrides no interrupt")
    numbers = [(0, 2), *((number, number) for number in range(1, 16))]
    if io_apics > 1:
        numbers += [(number, number) for number in range(_SECOND_BASE, _SECOND_BASE + 16)]
    made = b"".join(
        struct.pack("<BBBBIH", _OVERRIDE, 10, 0, source, target, _EDGE_HIGH) for source, target in numbers
    )
    body = table[8:_MADT_ENTRIES] + before + made + after
    return _HEAD.pack(b"APIC", _HEAD.size + len(body)) + body


def _pointers(
    acpi: AcpiTables, tables: bytes, start: int, end: int, moved: int
) -> tuple[bytes, bytes, bytes]:
    """Return loader, RSDP and tables with everything that points behind the MADT moved by as much as it grew."""
    loader = bytearray(acpi.loader)
    files = {TABLES: bytearray(tables), "etc/acpi/rsdp": bytearray(acpi.rsdp)}

    def shifted(place: int) -> int:
        return place + moved if place >= end else place

    def name(raw: bytes) -> str:
        return raw.split(b"\0")[0].decode("ascii", "replace")

    for at in range(0, len(loader) - _COMMAND + 1, _COMMAND):
        command = int.from_bytes(loader[at : at + 4], "little")
        if command == _ADD_POINTER:
            _, into, of, offset, size = _POINTER.unpack_from(loader, at)
            if name(into) == TABLES:
                offset = shifted(offset)
            _POINTER.pack_into(loader, at, command, into, of, offset, size)
            file = files.get(name(into))
            if name(of) == TABLES:
                if file is None or size not in (4, 8) or offset + size > len(file):
                    raise _fault("the loader points outside of them")
                value = int.from_bytes(file[offset : offset + size], "little")
                file[offset : offset + size] = shifted(value).to_bytes(size, "little")
        elif command == _ADD_CHECKSUM:
            _, into, offset, first, length = _CHECKSUM.unpack_from(loader, at)
            if name(into) == TABLES:
                length += moved if first == start else 0
                _CHECKSUM.pack_into(loader, at, command, into, shifted(offset), shifted(first), length)
        elif command == _WRITE_POINTER:
            _, into, of, offset, source = _WRITTEN.unpack_from(loader, at)
            if name(of) == TABLES:
                _WRITTEN.pack_into(loader, at, command, into, of, offset, shifted(source))
    return bytes(loader), bytes(files["etc/acpi/rsdp"]), bytes(files[TABLES])


def _fault(what: str) -> InputError:
    return InputError(
        f"these ACPI tables are not as QEMU makes them: {what}",
        code="measure.acpi",
        remedy="read them from a guest of the same shape (--acpi)",
    )
