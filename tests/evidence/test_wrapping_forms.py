"""Evidence is found in what people wrap it in, what came with it is used, and broken wrappings are one error."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_data import DATA

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal, Outcome
from sequester.evidence.collateral import Collateral
from sequester.evidence.files import read_evidence
from sequester.evidence.policy import Policy
from sequester.evidence.recognise import recognise
from sequester.verifying import verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ASKED = Policy(revocation=False)
REPORT = bytes([2, 0, 0, 0]) + bytes(1180)


def real(name: str) -> bytes:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no third-party data here (../shared/data/{name})")
    return path.read_bytes()


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def in_json(**told: object) -> bytes:
    return json.dumps(told).encode()


def text(data: bytes) -> str:
    return b64encode(data).decode()


FORMS = {
    "hex": lambda data: data.hex().encode(),
    "hex in lines": lambda data: b"\n".join(
        data[at : at + 16].hex().encode() for at in range(0, len(data), 16)
    ),
    "base64": b64encode,
    "base64url": lambda data: urlsafe_b64encode(data).rstrip(b"="),
    "our own": lambda data: in_json(evidence=text(data)),
    "numbers": lambda data: in_json(attestation_report=list(data)),
    "trustee": lambda data: in_json(attestation_report=text(data), cert_chain=[]),
    "kernel": lambda data: in_json(outblob=text(data)),
    "QMP": lambda data: in_json(**{"return": {"data": text(data)}}),
    "message wrapper": lambda data: json.dumps(["application/x", urlsafe_b64encode(data).decode()]).encode(),
    "message wrapper in CBOR": lambda data: cbor2.dumps(["application/x", data]),
    "message wrapper in CBOR that says evidence": lambda data: cbor2.dumps([60, data, 4]),
    "twice": lambda data: b64encode(in_json(evidence=text(data))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_real_report_is_found_in_every_form(form: str) -> None:
    data = real("snp/test-report.bin")
    found = recognise(FORMS[form](data), "wrapped")
    assert found.data == data
    assert found.wrappings


def test_certificates_and_logs_that_came_along_are_used() -> None:
    report, vcek = real("snp/test-report.bin"), real("snp/test-vcek.der")
    wrapped = in_json(attestation_report=text(report), cert_chain=[{"cert_type": "VCEK", "data": list(vcek)}])
    assert verify(wrapped, ASKED, Collateral(), NOW).accepted
    log = real("tdx/CCEL_data_ovmf")
    found = recognise(in_json(quote=text(real("tdx/tdx_quote")), cc_eventlog=text(log)), "wrapped")
    assert found.event_logs == (log,)


def test_a_kernels_folder_is_one_piece_of_evidence(tmp_path: Path) -> None:
    (tmp_path / "outblob").write_bytes(real("snp/test-report.bin"))
    (tmp_path / "auxblob").write_bytes(real("snp/test-vcek.der"))
    (tmp_path / "provider").write_text("sev_guest\n")
    assert verify(read_evidence(str(tmp_path)), ASKED, Collateral(), NOW).accepted


def test_azures_evidence_is_held_together_by_its_hashes_and_signatures() -> None:
    data, chain = real("snp/evidence-v1.json"), real("snp/vcek.pem")
    collateral = Collateral((chain,))
    appraisal = verify(data, ASKED, collateral, NOW)
    assert appraisal.accepted
    told = [check.found for check in appraisal.checks if check.outcome is Outcome.PASSED]
    assert any(
        "vTPM's quote, by the key that the report binds; nonce 6368616c6c656e6765" in found for found in told
    )
    evidence = json.loads(data)
    quote = evidence["tpm_quote"]
    for name, code in (("message", "EV201"), ("signature", "EV201")):
        changed = quote[name][:-2] + ("00" if quote[name][-2:] != "00" else "01")
        broken = {**evidence, "tpm_quote": {**quote, name: changed}}
        assert failed(verify(json.dumps(broken).encode(), ASKED, collateral, NOW)) == {code}
    assert failed(verify(json.dumps({**evidence, "tpm_quote": 7}).encode(), ASKED, collateral, NOW)) == {
        "EV201"
    }


@given(st.integers(0, 1109 * 8 - 1))
def test_no_bit_of_azures_runtime_data_can_change(bit: int) -> None:
    data, chain = real("snp/hcl-report.bin"), real("snp/vcek.pem")
    changed = bytearray(data)
    changed[32 + 1184 + 20 + bit // 8] ^= 1 << bit % 8
    appraisal = verify(bytes(changed), ASKED, Collateral((chain,)), NOW)
    assert "EV604" in failed(appraisal)


@pytest.mark.parametrize("cut", [4, 32, 1000, 1235, 1300])
def test_a_report_of_azures_that_ends_too_early_is_one_error(cut: int) -> None:
    with pytest.raises(InputError):
        verify(real("snp/hcl-report.bin")[:cut], ASKED, Collateral(), NOW)


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[" * 100_000,
        b"{}",
        b"[]",
        b'["a"]',
        b'{"quote": 7}',
        b'{"quote": "*"}',
        b'{"quote": [256]}',
        b'{"attestation_report": "AAAA", "cert_chain": 7}',
        b'{"attestation_report": {"version": 2}}',
        b'{"hcl_report": "AAAA"}',
        b'{"outblob": null}',
        b'{"evidence": ""}',
        b'{"measurement": "AAAA", "encr_measurement_key": "AAAA", "cuid": "AAAA"}',
        cbor2.dumps(["application/x", b""]),
        cbor2.dumps(["application/x", "text"]),
        cbor2.dumps([60, REPORT, 2]),
        cbor2.dumps([60, REPORT, "4"]),
        cbor2.dumps([60, REPORT]) + b"x",
        cbor2.dumps([60, REPORT])[:-1],
        b"\x82\x00\x5b" + b"\xff" * 8,
        b"\x82\x00" + b"\x81" * 100_000,
        b"A" * 40,
        b"0x" + b"0" * 64,
    ],
)
def test_a_wrapping_without_evidence_is_one_error(bad: bytes) -> None:
    with pytest.raises(InputError) as raised:
        verify(bad, ASKED, Collateral(), NOW)
    assert "\n" not in str(raised.value)


def test_what_is_wrapped_without_end_is_given_up() -> None:
    data = REPORT
    for _ in range(12):
        data = in_json(evidence=text(data))
    with pytest.raises(InputError, match="wrapped too often"):
        recognise(data, "onion")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["quote", "evidence", "data", "return", "report", "x"]), inner, max_size=3
            )
        ),
        max_leaves=9,
    )
)
def test_any_json_is_evidence_or_one_error(told: object) -> None:
    with pytest.raises(InputError):
        recognise(json.dumps(told).encode(), "json")
