"""ACPI tables as QEMU hands them to firmware, made by description, and the linker that firmware runs over them."""

from __future__ import annotations

import struct

from sequester.measure.tdx_events import AcpiTables

TABLES, RSDP = "etc/acpi/tables", "etc/acpi/rsdp"
ROOM = 0x2000
LEVEL = b"\x89\x06\x00\x09\x01"
"""An interrupt of a PCI link device: level-triggered, active high, shared, one of them."""


def table(signature: bytes, body: bytes) -> bytes:
    return signature + struct.pack("<I", 36 + len(body)) + bytes(28) + body


def madt(io_apics: int = 1) -> bytes:
    entries = struct.pack("<BBBBI", 0, 8, 0, 0, 1)
    entries += b"".join(
        struct.pack("<BBBBII", 1, 12, number, 0, 0xFEC00000, 24 * number) for number in range(io_apics)
    )
    for source, target, flags in ((0, 2, 0), (5, 5, 13), (9, 9, 13), (10, 10, 13), (11, 11, 13)):
        entries += struct.pack("<BBBBIH", 2, 10, 0, source, target, flags)
    return table(
        b"APIC", struct.pack("<II", 0xFEE00000, 1) + entries + struct.pack("<BBBHB", 4, 6, 255, 0, 1)
    )


def blob(io_apics: int = 1, dsdt: bytes = b"aml" + LEVEL + b"\x10\0\0\0aml", room: int = ROOM) -> AcpiTables:
    """Return tables with pointers before and behind the MADT, and the loader's commands for them."""
    data, places = b"", {}
    loader = command(1, TABLES, "", 64, 2) + command(1, RSDP, "", 16, 1)

    def add(signature: bytes, body: bytes) -> None:
        nonlocal data
        places[signature] = len(data)
        data += body

    add(b"FACS", b"FACS" + struct.pack("<I", 64) + bytes(56))
    add(b"DSDT", table(b"DSDT", dsdt))
    add(b"FACP", table(b"FACP", struct.pack("<II", places[b"FACS"], places[b"DSDT"])))
    add(b"APIC", madt(io_apics))
    add(b"WAET", table(b"WAET", bytes(4)))
    named = (b"FACP", b"APIC", b"WAET")
    add(b"RSDT", table(b"RSDT", struct.pack("<III", *(places[name] for name in named))))
    for at, size in ((places[b"FACP"] + 36, 4), (places[b"FACP"] + 40, 4)):
        loader += command(2, TABLES, TABLES, at, size)
    for number in range(3):
        loader += command(2, TABLES, TABLES, places[b"RSDT"] + 36 + 4 * number, 4)
    for name in (b"DSDT", b"FACP", b"APIC", b"WAET", b"RSDT"):
        at = places[name]
        loader += command(3, TABLES, "", at + 9, at, struct.unpack_from("<I", data, at + 4)[0])
    rsdp = b"RSD PTR " + bytes(8) + struct.pack("<I", places[b"RSDT"])
    loader += command(2, RSDP, TABLES, 16, 4) + command(3, RSDP, "", 8, 0, 20)
    loader += command(4, "etc/hardware", TABLES, 8, places[b"WAET"] + 36, 8)
    return AcpiTables(loader.ljust(0x1000, b"\0"), rsdp, data.ljust(room, b"\0"))


def command(kind: int, one: str, other: str, *numbers: int) -> bytes:
    first, second = (name.encode().ljust(56, b"\0") for name in (one, other))
    bodies = {1: ("<IB", first), 2: ("<IB", first + second), 3: ("<III", first), 4: ("<IIB", first + second)}
    layout, names = bodies[kind]
    return (struct.pack("<I", kind) + names + struct.pack(layout, *numbers)).ljust(128, b"\0")


def linked(acpi: AcpiTables) -> dict[bytes, bytes]:
    """Run the loader's commands as firmware does, and return the tables that its root names, checked."""
    bases = {TABLES: 0x7E000000, RSDP: 0xF5000}
    files = {TABLES: bytearray(acpi.tables), RSDP: bytearray(acpi.rsdp)}

    def name(raw: bytes) -> str:
        return raw.split(b"\0")[0].decode()

    for at in range(0, len(acpi.loader), 128):
        entry = acpi.loader[at : at + 128]
        kind = struct.unpack_from("<I", entry)[0]
        if kind == 2:
            into, of = name(entry[4:60]), name(entry[60:116])
            offset, size = struct.unpack_from("<IB", entry, 116)
            value = int.from_bytes(files[into][offset : offset + size], "little") + bases[of]
            files[into][offset : offset + size] = value.to_bytes(size, "little")
        elif kind == 3:
            file = files[name(entry[4:60])]
            offset, start, length = struct.unpack_from("<III", entry, 60)
            assert start <= offset < start + length
            file[offset] = -sum(file[start : start + length]) & 0xFF

    def whole(address: int) -> bytes:
        at = address - bases[TABLES]
        found = bytes(files[TABLES][at : at + struct.unpack_from("<I", files[TABLES], at + 4)[0]])
        assert sum(found) & 0xFF == 0 or found.startswith(b"FACS")
        return found

    rsdp = files[RSDP]
    assert sum(rsdp[:20]) & 0xFF == 0
    root = whole(struct.unpack_from("<I", rsdp, 16)[0])
    found = {root[:4]: root}
    for at in range(36, len(root), 4):
        each = whole(struct.unpack_from("<I", root, at)[0])
        found[each[:4]] = each
    facp = found[b"FACP"]
    for at in (36, 40):
        each = whole(struct.unpack_from("<I", facp, at)[0])
        found[each[:4]] = each
    return found
