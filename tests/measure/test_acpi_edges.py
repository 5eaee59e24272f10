"""ACPI tables with every interrupt an edge: the rest is as it was, and still whole for a firmware."""

from __future__ import annotations

import struct

import pytest
from acpi_blobs import LEVEL, blob, linked, table
from hypothesis import given, settings
from hypothesis import strategies as st
from tdvf_images import tdvf

from sequester.errors import InputError
from sequester.measure.acpi_edges import with_edges
from sequester.measure.ovmf_ways import Ways
from sequester.measure.tdvf_image import read_tdvf_image
from sequester.measure.tdx import Kernel, TdxLaunch
from sequester.measure.tdx_events import AcpiTables
from sequester.measure.tdx_guesses import nearest
from sequester.record import replaced

WAYS = Ways(True, True, False, (b"menu", b"setup"))
EDGE = b"\x89\x06\x00\x0b\x01"


def overrides(madt: bytes) -> list[tuple[int, int, int]]:
    found, at = [], 44
    while at < len(madt):
        if madt[at] == 2:
            source, target, flags = struct.unpack_from("<BIH", madt, at + 3)
            found.append((source, target, flags))
        at += madt[at + 1]
    return found


@pytest.mark.parametrize("io_apics", [1, 2])
def test_each_interrupt_has_an_override_as_an_edge(io_apics: int) -> None:
    madt = linked(with_edges(blob(io_apics)))[b"APIC"]
    wanted = [(0, 2, 5), *((number, number, 5) for number in range(1, 16))]
    if io_apics == 2:
        wanted += [(number, number, 5) for number in range(24, 40)]
    assert overrides(madt) == wanted
    assert madt[-6:] == struct.pack("<BBBHB", 4, 6, 255, 0, 1)


def test_what_is_behind_the_madt_moves_and_is_found_again() -> None:
    before, after = linked(blob()), linked(with_edges(blob()))
    assert before.keys() == after.keys() == {b"RSDT", b"FACP", b"APIC", b"WAET", b"FACS", b"DSDT"}
    assert before[b"WAET"] == after[b"WAET"]
    assert before[b"FACP"] == after[b"FACP"]
    moved = len(after[b"APIC"]) - len(before[b"APIC"])
    assert moved == 110
    made = with_edges(blob())
    assert len(made.tables) == len(blob().tables)
    written = [at for at in range(0, 0x1000, 128) if made.loader[at] == 4]
    there = [struct.unpack_from("<I", acpi.loader, written[0] + 120)[0] for acpi in (blob(), made)]
    assert there[1] - there[0] == moved


def test_only_link_interrupts_of_the_dsdt_change() -> None:
    three = b"\x89\x0e\x00\x09\x03" + struct.pack("<III", 5, 10, 11)
    other = b"\x89\x06\x00\x01\x01" + bytes(4)
    torn = b"\x89\x07\x00\x09\x01" + bytes(4)
    one = LEVEL + bytes(4)
    dsdt = linked(with_edges(blob(dsdt=one + three + other + torn)))[b"DSDT"]
    assert dsdt[36:] == EDGE + bytes(4) + three[:3] + b"\x0b" + three[4:] + other + torn


def test_tables_with_edges_stay_as_they_are() -> None:
    made = with_edges(blob())
    assert with_edges(made) == made


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (b"", "no DSDT or MADT"),
        (table(b"DSDT", b"").ljust(100, b"\0"), "no DSDT or MADT"),
        (b"DSDT" + struct.pack("<I", 1 << 30), "claims 1073741824 bytes"),
        (b"DSDT" + struct.pack("<I", 3) + bytes(30), "claims 3 bytes"),
        (table(b"DSDT", b"") + table(b"APIC", bytes(8) + b"\2\0"), "entry at 44 claims 0"),
        (table(b"DSDT", b"") + table(b"APIC", bytes(8)), "overrides no interrupt"),
        (blob(room=0).tables, "no room to grow"),
    ],
)
def test_tables_that_lie_are_refused(tables: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_edges(AcpiTables(blob().loader, blob().rsdp, tables))


def test_a_loader_that_points_outside_is_refused() -> None:
    whole = blob()
    loader = bytearray(whole.loader)
    struct.pack_into("<I", loader, 2 * 128 + 116, 0x7FFFFFFF)
    with pytest.raises(InputError, match="points outside"):
        with_edges(AcpiTables(bytes(loader), whole.rsdp, whole.tables))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["loader", "rsdp", "tables"]), st.integers(0, 0x7FF), st.integers(0, 255))
def test_changed_bytes_are_refused_or_taken_but_never_a_traceback(which: str, at: int, value: int) -> None:
    whole = blob()
    parts = {"loader": whole.loader, "rsdp": whole.rsdp, "tables": whole.tables}
    changed = bytearray(parts[which])
    changed[at % len(changed)] = value
    try:
        made = with_edges(AcpiTables(**{**parts, which: bytes(changed)}))
    except InputError:
        return
    assert len(made.tables) == len(whole.tables)


def test_a_register_with_edges_in_its_tables_is_traced_to_them() -> None:
    launch = TdxLaunch(read_tdvf_image(tdvf(), "TDVF.fd"), 2 << 30, blob(), Kernel(bytes(48)), WAYS)
    seen = replaced(launch, acpi=with_edges(blob())).register("RTMR0")
    assert seen is not None
    found = nearest(seen, launch, ())
    assert found is not None
    assert "edge-triggered" in " ".join(found.differences)
