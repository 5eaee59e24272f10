"""ACPI tables from real QEMUs, read when real firmware has read them, and made into a TD's."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from real_qemu import RealQemu, manifest

import sequester
from sequester.measure.acpi_edges import with_edges
from sequester.measure.tdx_events import AcpiTables
from sequester.measuring import contributions, measure, pieces_of_plan, with_tables_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))

from acpi_blobs import linked

ROOT = Path(__file__).resolve().parents[2] / ".cache" / "real"
WINDOW = 0x3800_0000_0000
"""Where firmware puts 64-bit PCI memory on processors of 46 address bits and more: the top eighth."""


def firmware(name: str) -> Path:
    for entry in manifest(ROOT).get("firmware", []):
        if entry["name"] == name:
            return Path(ROOT, entry["path"])
    pytest.skip(f"no {name} here; tools/real-tools fetches it")


def planned(qemu: RealQemu, image: Path, *more: str) -> sequester.Plan:
    words = "-M q35,hpet=off,confidential-guest-support=t -object tdx-guest,id=t -accel kvm -cpu host -m 2G -smp 2"
    devices = "-nodefaults -netdev user,id=n -device virtio-net-pci,netdev=n"
    argv = [str(qemu.path), *words.split(), *devices.split(), "-bios", str(image), *more]
    return sequester.plan(sequester.from_argv(argv))


def tables(qemu: RealQemu, image: Path, *more: str) -> AcpiTables:
    plan = planned(qemu, image, *more)
    found = with_tables_of(pieces_of_plan(plan), plan).tables
    assert found is not None
    return found


@pytest.mark.real_qemu(arch="x86_64")
def test_tables_are_read_when_the_firmware_has_set_the_machine_up(qemu: RealQemu) -> None:
    image = firmware("OVMF.inteltdx.ms.fd")
    found = tables(qemu, image)
    assert tables(qemu, image) == found
    plain, edged = linked(found), linked(with_edges(found))
    assert {b"FACP", b"APIC", b"MCFG", b"DSDT", b"FACS", b"RSDT"} <= plain.keys()
    assert struct.pack("<Q", WINDOW) in plain[b"DSDT"]
    if qemu.release >= (10, 0):  # 7.2 says that there is a PIC even where there is none
        assert plain[b"APIC"][40:44] == bytes(4)
    if qemu.release >= (10, 1):
        assert len(edged[b"APIC"]) - len(plain[b"APIC"]) == 110
    assert b"\x89\x06\x00\x09" not in edged[b"DSDT"]
    assert edged.keys() == plain.keys()


@pytest.mark.real_qemu(arch="x86_64", version="11.1")
def test_they_follow_the_machine_and_not_the_build_of_the_firmware(qemu: RealQemu) -> None:
    image = firmware("OVMF.inteltdx.ms.fd")
    assert tables(qemu, image) == tables(qemu, firmware("OVMF.fd"))
    assert tables(qemu, image) != tables(qemu, image, "-device", "virtio-rng-pci")


@pytest.mark.real_qemu(arch="x86_64", version="11.1")
def test_rtmr0_has_the_events_of_the_tables_and_says_what_they_rest_on(qemu: RealQemu) -> None:
    plan = planned(qemu, firmware("OVMF.inteltdx.ms.fd"))
    pieces = with_tables_of(pieces_of_plan(plan), plan)
    assert any("never held against a TD" in note for note in measure(pieces).notes)
    steps = [step.what for step in contributions(pieces) if step.register == "RTMR0"]
    assert [what for what in steps if what.startswith("ACPI DATA")] == [
        "ACPI DATA etc/table-loader",
        "ACPI DATA etc/acpi/rsdp",
        "ACPI DATA etc/acpi/tables",
    ]
