"""SEV-SNP reports are read strictly: what must be zero is, and what is not known is refused by name."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snp_made import NOW, OFFSETS, Vendor, certificate_table, report, sign, table

from sequester.errors import InputError, SequesterError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import snp_report
from sequester.evidence.policy import Policy
from sequester.evidence.snp.report import parse, parse_table
from sequester.report.evidence_fields import as_json, as_text
from sequester.verifying import shown, verify

VENDOR = Vendor("Genoa")
COLLATERAL = Collateral(VENDOR.documents())
POLICY = Policy(simulated=True)


def appraise(data: bytes) -> Appraisal:
    """Verify under the simulated vendor."""
    return verify(data, POLICY, COLLATERAL, NOW)


def failed(appraisal: Appraisal) -> set[str]:
    """The codes of the checks that failed."""
    return {check.code for check in appraisal.checks if check.failed}


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("line", ["Milan", "Genoa", "Turin"])
def test_every_version_of_every_product_line_is_read_and_accepted(line: str, version: int) -> None:
    vendor = Vendor(line)
    found = verify(report(vendor, version=version), POLICY, Collateral(vendor.documents()), NOW)
    assert failed(found) == set()
    assert found.accepted
    assert found.simulated
    assert found.claims["reported-tcb"]["microcode"] == vendor.tcb["microcode"]


@pytest.mark.parametrize("field", sorted(OFFSETS))
def test_each_field_is_read_from_where_it_is(field: str) -> None:
    ours = {
        "algorithm": "signature_algorithm",
    }.get(field, field)
    offset, form = OFFSETS[field]
    data = bytearray(report(VENDOR, version=5))
    value: Any = struct.unpack_from(form, data, offset)[0]
    assert getattr(parse(bytes(data), "").report, ours) == value


def test_every_single_flipped_bit_is_refused_for_its_signature_or_its_form() -> None:
    whole = report(VENDOR, version=5, launch_mitigations=1, current_mitigations=3)
    assert appraise(whole).accepted
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit >> 3] ^= 1 << (bit & 7)
        found = appraise(bytes(data))
        assert not found.accepted, bit
        assert failed(found) & {"EV101", "EV201"}, bit


def test_a_flipped_bit_does_not_hide_a_report_with_certificates() -> None:
    whole = report(VENDOR) + certificate_table(VENDOR)
    for bit in (*range(32), *range(0x34 * 8, 0x38 * 8)):
        data = bytearray(whole)
        data[bit >> 3] ^= 1 << (bit & 7)
        assert failed(appraise(bytes(data))) & {"EV101", "EV201"}, bit


def test_what_must_be_zero_is_an_error_of_form_that_names_its_offset() -> None:
    for offset in (0x4C, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x1F8, 0x208, 0x29F):
        body = bytearray(report(VENDOR)[:0x2A0])
        body[offset] = 1
        found = appraise(sign(bytes(body), VENDOR.vcek_key))
        assert failed(found) == {"EV101"}
        assert "offset 0x" in found.checks[0].where


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"version": 6}, "version 6"),
        ({"version": 1}, "version 1"),
        ({"policy": 0x10000}, "POLICY"),
        ({"policy": 0x30000 | 1 << 26}, "POLICY"),
        ({"platform_info": 1 << 6}, "PLATFORM_INFO"),
        ({"platform_info": 1 << 8}, "PLATFORM_INFO"),
        ({"flags": 2 << 2}, "SIGNING_KEY"),
        ({"flags": 1 << 5}, "flags"),
        ({"vmpl": 4}, "VMPL"),
    ],
)
def test_what_has_no_meaning_is_an_error_of_form(fields: dict[str, int], word: str) -> None:
    found = appraise(report(VENDOR, **fields))
    assert failed(found) == {"EV101"}
    assert word in f"{found.checks[0].found} {found.checks[0].where}"


def test_a_report_that_the_host_asked_for_is_not_the_guests() -> None:
    assert failed(appraise(report(VENDOR, vmpl=0xFFFFFFFF))) == {"EV505"}


def test_a_report_with_its_certificates_needs_no_others() -> None:
    data = report(VENDOR) + certificate_table(VENDOR)
    found = verify(data, POLICY, Collateral(), NOW)
    assert found.accepted
    assert found.checks[0].found == "report of version 3, 3 certificates with it"


def test_a_broken_table_of_certificates_is_an_error_of_form() -> None:
    whole = certificate_table(VENDOR)
    broken = [
        whole[:20],
        whole[:100],
        whole[:16] + struct.pack("<II", 1 << 31, 1 << 31) + whole[24:],
        whole[:16] + struct.pack("<II", 0, 24) + whole[24:],
        b"\1" * 16 + struct.pack("<II", 24, 24),
        (b"\1" * 16 + struct.pack("<II", 24, 1)) * 40 + bytes(24),
    ]
    for each in broken:
        with pytest.raises(InputError):
            parse_table(each, "table")
        assert failed(verify(report(VENDOR) + each, POLICY, Collateral(), NOW)) == {"EV101"}


def test_a_table_alone_is_collateral_too() -> None:
    assert verify(report(VENDOR), POLICY, Collateral((certificate_table(VENDOR),)), NOW).accepted


def test_certificates_that_are_none_are_passed_over() -> None:
    junk = table((b"\7" * 16, b"\x30\x82\xff\xff" + bytes(50)), (b"\x08" * 16, b"nothing"))
    found = verify(report(VENDOR) + junk, POLICY, COLLATERAL, NOW)
    assert found.accepted


def test_show_in_json_gives_the_same_bytes_again() -> None:
    for data in (report(VENDOR, version=2), report(VENDOR) + certificate_table(VENDOR)):
        found, fields = shown(data)
        told = json.loads(as_json(found, fields, "x"))
        assert b"".join(bytes.fromhex(each["raw"]) for each in told["fields"]) == data
        assert [each["offset"] for each in told["fields"]] == sorted(
            each["offset"] for each in told["fields"]
        )


def test_show_names_every_field_with_its_meaning() -> None:
    found, fields = shown(report(VENDOR) + certificate_table(VENDOR))
    text = as_text(found, fields, "report.bin")
    for word in (
        "measurement",
        "chip-id",
        "boot-loader 9",
        "ABI 0.0 or later; smt",
        "1.58.3",
        "VCEK: Genoa-B1",
    ):
        assert word in text


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_in_one_line_or_malformed_evidence_of_some_kind(data: bytes) -> None:
    try:
        found = appraise(data)
    except SequesterError:
        return
    assert [check.code for check in found.checks if check.failed] == ["EV101"]


@given(st.data())
def test_damaged_reports_are_never_accepted_and_never_a_traceback(data: st.DataObject) -> None:
    whole = bytearray(report(VENDOR, version=data.draw(st.integers(0, 9))) + certificate_table(VENDOR))
    for _ in range(data.draw(st.integers(1, 12))):
        whole[data.draw(st.integers(0, 0x4A0 + 100))] ^= data.draw(st.integers(1, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = verify(cut, Policy(), Collateral(), NOW)
    except InputError:
        return
    assert not found.accepted


def test_the_module_keeps_to_the_protocol_of_kinds() -> None:
    from sequester.evidence.recognise import kinds

    assert snp_report in kinds()
    for kind in kinds():
        for name in ("NAME", "PLATFORM", "TITLE", "REGISTERS", "TCB_COMPONENTS", "POLICY_KEYS", "recognises"):
            assert hasattr(kind, name), (kind, name)
        for name in ("parse", "claims", "fields", "appraise", "demands"):
            assert callable(getattr(kind, name)), (kind, name)
