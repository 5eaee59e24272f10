"""Real reports of real chips get the verdict that the peers who published them expect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sequester.evidence.appraisal import Appraisal, Outcome
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.verifying import shown, verify

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "snp"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the third-party data is not beside this checkout")
THEN = datetime(2025, 6, 1, tzinfo=UTC)
UNLISTED = Policy(revocation=False)
"""AMD's revocation lists are not among the data."""


def appraise(name: str, *documents: str, policy: Policy = UNLISTED, now: datetime = THEN) -> Appraisal:
    """Verify a file with others."""
    collateral = Collateral(tuple((DATA / each).read_bytes() for each in documents))
    return verify((DATA / name).read_bytes(), policy, collateral, now, name)


def failed(appraisal: Appraisal) -> list[str]:
    """The codes of the checks that failed."""
    return [check.code for check in appraisal.checks if check.failed]


@pytest.mark.parametrize(
    ("report", "documents"),
    [
        ("test-report.bin", ("test-vcek.der",)),
        ("test-report.bin", ("test-vcek.der", "milan.testcer")),
        ("test-report.bin", ("vcek.testcer", "test-vlek.der", "test-vcek-invalid-new.der", "test-vcek.der")),
        ("test-vlek-report.bin", ("test-vlek.der",)),
    ],
)
def test_a_real_report_is_accepted_with_its_certificate(report: str, documents: tuple[str, ...]) -> None:
    assert failed(appraise(report, *documents)) == []
    assert appraise(report, *documents).accepted


def test_a_real_report_of_a_guest_that_may_be_debugged_is_refused_for_that_alone() -> None:
    assert failed(appraise("attestation.bin", "vcek.testcer", "milan.testcer")) == ["EV501"]
    allowed = Policy(revocation=False, debug=True)
    assert appraise("attestation.bin", "vcek.testcer", "milan.testcer", policy=allowed).accepted


def test_a_certificate_that_amd_did_not_sign_is_refused() -> None:
    found = failed(appraise("test-report.bin", "test-vcek-invalid-new.der"))
    assert found == ["EV201", "EV202", "EV204"]


def test_another_chips_certificate_breaks_the_signature_and_the_binding() -> None:
    assert failed(appraise("test-report.bin", "vcek.testcer")) == ["EV201", "EV204"]


def test_a_report_without_a_certificate_says_where_amd_has_it() -> None:
    found = next(check for check in appraise("test-report.bin").checks if check.code == "EV201")
    assert found.failed
    assert "kdsintf.amd.com/vcek/v1/" in found.remedy
    assert "blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115" in found.remedy


def test_without_a_policy_a_missing_revocation_list_is_a_refusal_that_says_where_it_is() -> None:
    refused = appraise("test-report.bin", "test-vcek.der", policy=Policy())
    assert failed(refused) == ["EV301"]
    assert "https://kdsintf.amd.com/vcek/v1/Milan/crl" in next(c for c in refused.checks if c.failed).remedy


def test_an_expired_certificate_is_refused() -> None:
    late = datetime(2026, 1, 1, tzinfo=UTC)
    assert failed(appraise("test-vlek-report.bin", "test-vlek.der", now=late)) == ["EV203"]


@pytest.mark.parametrize("name", ["attestation.bin", "test-report.bin", "test-vlek-report.bin"])
def test_the_fields_of_a_real_report_are_its_bytes(name: str) -> None:
    data = (DATA / name).read_bytes()
    assert b"".join(field.raw for field in shown(data)[1]) == data


def test_the_vcek_chain_in_one_file_will_do() -> None:
    data = (DATA / "hcl-report.bin").read_bytes()
    at = next(at for at in range(0, 64, 4) if data[at : at + 4] == b"\x02\0\0\0" and data[at + 0x34] == 1)
    chain = Collateral(((DATA / "vcek.pem").read_bytes(),))
    found = verify(data[at : at + 1184], UNLISTED, chain, THEN)
    assert found.accepted
    assert {c.code for c in found.checks if c.outcome is Outcome.PASSED} >= {
        "EV201",
        "EV202",
        "EV203",
        "EV204",
    }


def test_a_flipped_bit_of_a_real_report_breaks_its_signature_or_form() -> None:
    whole, collateral = (
        (DATA / "test-report.bin").read_bytes(),
        Collateral(((DATA / "test-vcek.der").read_bytes(),)),
    )
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        assert set(failed(verify(bytes(data), UNLISTED, collateral, THEN))) & {"EV101", "EV201"}, at


def test_a_flipped_bit_of_a_real_certificate_breaks_the_chain_or_the_signature() -> None:
    report, whole = (DATA / "test-report.bin").read_bytes(), (DATA / "test-vcek.der").read_bytes()
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << at % 7
        found = verify(report, UNLISTED, Collateral((bytes(data),)), THEN)
        assert set(failed(found)) & {"EV201", "EV202"}, at
