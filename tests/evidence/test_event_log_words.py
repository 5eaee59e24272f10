"""Event logs in words: what their makers' own decoder sees, every type of event, and data of any kind."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from hashlib import sha384
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_data import DATA

from sequester.evidence.collateral import Collateral
from sequester.evidence.event_log import types
from sequester.evidence.event_log.device_path import path_text
from sequester.evidence.event_log.log import SHA384, Event, parse
from sequester.evidence.event_log.words import tell
from sequester.evidence.policy import Policy
from sequester.report.evidence_fields import as_json, as_text
from sequester.verifying import shown, verify

LOGS = ("ovmf", "grub")
NOW = datetime(2026, 11, 27, tzinfo=UTC)
END = b"\x7f\xff\x04\0"
GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def real(name: str) -> tuple[bytes, list[dict[str, Any]]]:
    path = DATA / "tdx" / f"CCEL_data_{name}"
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/tdx)")
    told = json.loads((DATA / "tdx" / f"CCEL_data_{name}_out.json").read_text())
    return path.read_bytes(), told["uefi_event_logs"]


def event(kind: int, data: bytes, measured: bytes | None = None) -> Event:
    digest = sha384(data if measured is None else measured).digest()
    return Event(1, kind, ((SHA384, digest),), data, 0)


def utf16(text: str) -> bytes:
    return text.encode("utf-16-le")


def variable(name: str, data: bytes) -> bytes:
    return GLOBAL + struct.pack("<QQ", len(name), len(data)) + utf16(name) + data


def node(kind: int, subtype: int, data: bytes) -> bytes:
    return struct.pack("<BBH", kind, subtype, 4 + len(data)) + data


@pytest.mark.parametrize("name", LOGS)
def test_every_event_of_a_real_log_says_what_its_makers_decoder_says(name: str) -> None:
    data, told = real(name)
    for found, expected in zip(parse(data), told, strict=True):
        ours, theirs = tell(found), expected["details"]
        assert types.name_of(found.type) == expected["type_name"]
        assert (ours.covered == "data") == expected["digest_matches_event"]
        assert "malformed" not in ours.value
        if "unicode_name" in theirs:
            assert ours.value["name"] == theirs["unicode_name"]
            assert ours.value["size"] == theirs["variable_data_length"]
            raw = bytes.fromhex(theirs["variable_name"].replace("-", ""))
            assert (
                ours.value["owner"].replace("-", "").lower()
                == (raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]).hex()
            )
        elif "string" in theirs:
            assert theirs["string"] in (ours.value.get("text"), ours.value.get("name"))
        for part in theirs.get("device_paths", ()):
            assert same_node(part, ours.value["path"]), (part, ours.value["path"])


def same_node(theirs: str, path: str) -> bool:
    """Tell whether a path has a node that the other decoder writes in its own way."""
    kind, inside = theirs.rstrip(")").split("(", 1)
    if kind == "ACPI":
        return inside == "PNP0A03,0" and "PciRoot(0x0)" in path
    if kind == "Pci":
        function, device = inside.split(",")
        return f"Pci({int(device):#x},{int(function):#x})" in path
    return f"{kind}({inside.rstrip(',')})" in path


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_shown_without_loss_and_refused_as_evidence(name: str) -> None:
    data, told = real(name)
    found, fields = shown(data, name)
    listed = list(fields)
    assert found.kind.NAME == "event-log"
    assert b"".join(each.raw for each in listed) == data
    assert len(listed) == len(told) + 2
    assert "LOADED_IMAGE::LoadOptions" in as_text(found, listed, name)
    again = json.loads(as_json(found, listed, name))
    assert bytes.fromhex("".join(each["raw"] for each in again["fields"])) == data
    appraisal = verify(data, Policy(), Collateral(), NOW)
    assert {check.code for check in appraisal.checks if check.failed} == {"EV201"}
    assert appraisal.claims["registers"]["rtmr3"] == bytes(48).hex()


OPTION = struct.pack("<IH", 1, 4) + utf16("Disk\0") + END
HASHES = bytes.fromhex("2616c4c14c509240aca941f936934328") + struct.pack("<III", 28 + 96, 0, 48) + bytes(96)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (types.VARIABLE_CONFIGURATION, variable("SecureBoot", b"\1"), "SecureBoot is on"),
        (types.VARIABLE_CONFIGURATION, variable("SecureBoot", b"\0"), "SecureBoot is off"),
        (types.VARIABLE_CONFIGURATION, variable("PK", b""), "PK is not there"),
        (types.VARIABLE_CONFIGURATION, variable("dbx", HASHES), "dbx: 2 SHA-256s"),
        (types.VARIABLE_CONFIGURATION, variable("dbx", HASHES[:-1]), "malformed"),
        (types.VARIABLE_CONFIGURATION, variable("dbx", HASHES[:20]), "malformed"),
        (types.VARIABLE_BOOT, variable("BootOrder", b"\2\0\x0a\0"), "BootOrder: Boot0002, Boot000A"),
        (types.VARIABLE_BOOT, variable("Boot0001", OPTION), "Boot0001: 'Disk'"),
        (types.VARIABLE_BOOT, variable("Boot0001", b"\0" + OPTION[1:]), "not active"),
        (types.VARIABLE_BOOT, variable("Boot0001", OPTION[:9]), "malformed"),
        (types.VARIABLE_AUTHORITY, variable("SbatLevel", b"sbat,1,2023012900\nshim,2\n"), "shim,2"),
        (types.VARIABLE_BOOT, b"short", "malformed"),
        (types.VARIABLE_BOOT, variable("X", b"\1") + b"\0", "malformed"),
        (types.SEPARATOR, bytes(4), "not the firmware's own"),
        (types.SEPARATOR, b"\1\0\0\0", "reports an error"),
        (types.SEPARATOR, b"\1", "malformed"),
        (types.IPL, b"grub_cmd: insmod gzio\0", "GRUB: insmod gzio"),
        (types.IPL, b"kernel_cmdline: /vmlinuz ro\0", "command line: /vmlinuz ro"),
        (types.IPL, utf16(".cmdline\0"), "section .cmdline"),
        (types.TAG, struct.pack("<II", 0x8F3B22EC, 4) + b"abc\0", "the initial RAM disk"),
        (types.TAG, struct.pack("<II", 0xF5BC582A, 2) + b"a\0", "loader.conf"),
        (types.TAG, struct.pack("<II", 1, 4) + b"abc", "malformed"),
        (types.APPLICATION, struct.pack("<QQQQ", 1, 2, 3, 4) + END, "2 bytes"),
        (types.APPLICATION, struct.pack("<QQQQ", 1, 2, 3, 9) + END, "malformed"),
        (types.APPLICATION, struct.pack("<QQQQ", 1, 2, 3, 0), "a program from memory"),
        (types.FIRMWARE_2, b"\2Fv" + struct.pack("<QQ", 0x1000, 64), "Fv, 64 bytes at 0x1000"),
        (types.FIRMWARE, struct.pack("<QQ", 0x1000, 64), "64 bytes at 0x1000"),
        (types.FIRMWARE_2, b"\xffFv", "malformed"),
        (types.TABLES, struct.pack("<Q16sQ", 1, GLOBAL, 7), "8BE4DF61-93CA-11D2-AA0D-00E098032B8C at 0x7"),
        (types.TABLES_2, b"\0" + struct.pack("<Q", 1 << 40), "malformed"),
        (types.GPT, b"EFI PART", "malformed"),
        (types.CONFIGURATION, b"td_payload_info\0" + struct.pack("<I", 4) + b"ro\0\0", "'ro'"),
        (types.EFI_ACTION, b"Exit Boot Services Invocation", "'Exit Boot Services Invocation'"),
        (types.CRTM_VERSION, utf16("1.0\0"), "'1.0'"),
        (0x9, b"\xff" * 8, "microcode, 8 bytes"),
        (0x12345678, b"\xff" * 8, "8 bytes"),
    ],
)
def test_each_type_has_its_words(kind: int, data: bytes, words: str) -> None:
    assert words in tell(event(kind, data)).words


@pytest.mark.parametrize(
    ("kind", "data", "measured", "covered"),
    [
        (types.EFI_ACTION, b"Exit", b"Exit", "data"),
        (types.EFI_ACTION, b"Exit", b"Enter", ""),
        (types.VARIABLE_BOOT, variable("BootOrder", b"\1\0"), b"\1\0", "variable"),
        (types.IPL, b"grub_cmd: boot\0", b"boot", "text"),
        (types.IPL, b"grub_cmd boot\0\xff", b"boot\0", "text"),
        (types.CONFIGURATION, b"td_hob".ljust(16, b"\0") + b"\2\0\0\0ab", b"ab", "table"),
        (types.NO_ACTION, b"Exit", b"Exit", ""),
        (types.VARIABLE_BOOT, b"cut", b"off", ""),
    ],
)
def test_a_log_says_what_was_measured_only_where_the_digest_is_of_it(
    kind: int, data: bytes, measured: bytes, covered: str
) -> None:
    assert tell(event(kind, data, measured)).covered == covered


def test_an_event_without_sha384_covers_nothing() -> None:
    assert tell(Event(1, types.EFI_ACTION, (), b"Exit", 0)).covered == ""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (node(2, 1, struct.pack("<II", 0x0A0341D0, 1)), "PciRoot(0x1)"),
        (node(2, 1, struct.pack("<II", 0x0A0841D0, 0)), "PcieRoot(0x0)"),
        (node(2, 1, struct.pack("<II", 0x060441D0, 0)), "Acpi(PNP0604,0x0)"),
        (node(2, 1, struct.pack("<II", 0x1234, 0)), "Acpi(0x00001234,0x0)"),
        (node(1, 1, b"\2\x1f"), "Pci(0x1f,0x2)"),
        (node(3, 18, struct.pack("<HHH", 0, 0xFFFF, 0)), "Sata(0x0,0xffff,0x0)"),
        (node(3, 2, struct.pack("<HH", 1, 2)), "Scsi(0x1,0x2)"),
        (node(3, 5, b"\1\0"), "USB(0x1,0x0)"),
        (node(3, 11, b"\x52\x54\0\x12\x34\x56".ljust(32, b"\0") + b"\1"), "MAC(525400123456,0x1)"),
        (node(3, 24, b"http://a/b"), "Uri(http://a/b)"),
        (
            node(4, 1, struct.pack("<IQQ16sBB", 1, 2, 3, b"\x78\x56\x34\x12", 1, 1)),
            "HD(1,MBR,0x12345678,0x2,0x3)",
        ),
        (node(4, 8, struct.pack("<IQQ", 0, 1, 2)), "Offset(0x1,0x2)"),
        (node(1, 3, struct.pack("<IQQ", 11, 1, 2)), "MemoryMapped(0xb,0x1,0x2)"),
        (node(1, 4, GLOBAL + b"\1"), "VenHw(8BE4DF61-93CA-11D2-AA0D-00E098032B8C,01)"),
        (node(4, 4, utf16("\\a\0")) + node(0x7F, 1, b"") + node(1, 1, b"\0\0"), "File(\\a)/,/Pci(0x0,0x0)"),
        (node(1, 1, b"\0"), "Path(1,1,00)"),
        (node(9, 9, b"\1"), "Path(9,9,01)"),
    ],
)
def test_device_paths_are_written_as_the_specification_has_them(data: bytes, text: str) -> None:
    assert path_text(data + END) == text


@pytest.mark.parametrize(
    "data", [b"", b"\1\1", node(1, 1, b"\0\0"), b"\1\1\3\0", b"\1\1\xff\xff", node(9, 9, b"") * 300]
)
def test_a_device_path_without_an_end_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="device path"):
        path_text(data)


@given(st.sampled_from([*types.TYPES, 0x77]), st.binary(max_size=300))
def test_any_data_of_any_type_is_told(kind: int, data: bytes) -> None:
    json.dumps(tell(event(kind, data)).value)


@given(st.data())
def test_changed_real_events_are_told(data: st.DataObject) -> None:
    log, _ = real(data.draw(st.sampled_from(LOGS)))
    found = data.draw(st.sampled_from(parse(log)))
    changed = bytearray(found.data)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, min(len(changed), 200) - 1))] = data.draw(st.integers(0, 255))
    told = tell(Event(found.register, found.type, found.digests, bytes(changed), 0))
    json.dumps(told.value)
    if bytes(changed) != found.data:
        assert told.covered != "data"
