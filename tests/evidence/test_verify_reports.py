"""Appraisals in every format say the same, and no more than was found."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from snp_made import NOW, Vendor, report

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.criteria import CRITERIA, criterion
from sequester.evidence.policy import Policy
from sequester.report import appraisal_ear as ear
from sequester.report.appraisal_json import report as as_json
from sequester.report.appraisal_sarif import report as as_sarif
from sequester.report.appraisal_text import report as as_text
from sequester.report.criterion import markdown, page
from sequester.verifying import verify

VENDOR = Vendor("Genoa")
COLLATERAL = Collateral(VENDOR.documents())


def appraise(policy: Policy, /, **fields: object) -> Appraisal:
    """Verify a report of the made-up vendor."""
    return verify(report(VENDOR, **fields), policy, COLLATERAL, NOW, "report.bin")


TRUSTING = Policy(simulated=True)
REFUSED = appraise(Policy(debug=False, simulated=True), policy=0x30000 | 1 << 19)
ACCEPTED = appraise(TRUSTING)


def test_text_gives_the_verdict_and_for_failed_checks_what_was_expected() -> None:
    text = as_text([REFUSED])
    assert text.startswith("report.bin: refused (snp-report)\n")
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  NO  EV501"))
    assert lines[at + 1].split() == ["found", *["the", "guest's", "policy", "allows", "debugging"]]
    assert lines[at + 2].split() == ["expected", "off"]
    assert lines[at + 3].split()[:3] == ["where", "POLICY", "bit"]
    assert lines[at + 4].strip().startswith("→ start the guest without")


def test_text_says_that_simulated_evidence_protects_nothing_and_what_was_not_asked() -> None:
    text = as_text([ACCEPTED, REFUSED])
    assert "accepted, but simulated: this guest is not protected" in text
    assert "this policy accepts any guest" in text
    assert text.endswith("2 pieces of evidence: 1 accepted, 1 refused\n")
    assert "\033" not in text
    assert "\033[32m" in as_text([ACCEPTED], coloured=True)


def test_json_has_every_check() -> None:
    told = json.loads(as_json([ACCEPTED, REFUSED], NOW, {"x": "unreadable"}))
    assert told["schema"] == "sequester-appraisal/1"
    assert told["time"] == "2026-06-01T12:00:00Z"
    assert told["accepted"] is False
    first, second = told["evidence"]
    assert (first["accepted"], first["simulated"], second["accepted"]) == (True, True, False)
    assert len(first["checks"]) == len(ACCEPTED.checks)
    bad = next(check for check in second["checks"] if check["outcome"] == "failed")
    assert {"code", "title", "found", "expected", "where", "remedy"} <= bad.keys()
    assert first["claims"]["chip-id"] == VENDOR.chip_id.hex()
    assert told["unread"] == [{"name": "x", "error": "unreadable"}]


def test_sarif_has_the_failed_checks_with_their_criteria() -> None:
    run = json.loads(as_sarif([ACCEPTED, REFUSED]))["runs"][0]
    assert [result["ruleId"] for result in run["results"]] == ["EV501"]
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == "EV501"
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "report.bin"


def test_an_ear_is_affirming_only_for_what_was_found() -> None:
    told = ear.claims([appraise(Policy(simulated=True, report_data=b"nonce"), report_data=b"nonce")], NOW)
    assert told["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert told["iat"] == int(NOW.timestamp())
    submod = told["submods"]["report.bin"]
    assert submod["ear_status"] == "warning"  # simulated
    assert submod["ear_trustworthiness_vector"]["hardware"] == 32
    assert "executables" not in submod["ear_trustworthiness_vector"]
    assert urlsafe_b64decode(submod["eat_nonce"] + "==") == b"nonce".ljust(64, b"\0")


@pytest.mark.parametrize(
    ("policy", "fields", "name", "value"),
    [
        (TRUSTING, {"policy": 0x30000 | 1 << 19}, "configuration", 96),
        (TRUSTING, {"policy": 0x30000 | 1 << 19}, "runtime-opaque", 96),
        (Policy(simulated=True, measurements={"measurement": (bytes(48),)}), {}, "executables", 96),
        (Policy(simulated=True, minimum_tcb={"snp": 200}), {}, "hardware", 96),
        (Policy(), {}, "hardware", 97),
        (TRUSTING, {"reported_tcb": 1}, "instance-identity", 97),
        (Policy(simulated=True, report_data=b"1"), {}, "instance-identity", 97),
        (TRUSTING, {"algorithm": 7}, "executables", 99),
    ],
)
def test_an_ear_of_refused_evidence_is_contraindicated(
    policy: Policy, fields: dict[str, object], name: str, value: int
) -> None:
    found = appraise(policy, **fields)
    submod = ear.claims([found], NOW)["submods"]["report.bin"]
    assert not found.accepted
    assert submod["ear_status"] == "contraindicated"
    assert submod["ear_trustworthiness_vector"][name] == value


def test_an_ear_of_evidence_without_form_is_contraindicated() -> None:
    broken = verify(bytes(4) + report(VENDOR)[4:], TRUSTING, COLLATERAL, NOW, "report.bin")
    submod = ear.claims([broken], NOW)["submods"]["report.bin"]
    assert submod["ear_status"] == "contraindicated"
    assert set(submod["ear_trustworthiness_vector"].values()) == {99}


def test_pieces_of_one_name_are_told_apart_in_an_ear() -> None:
    assert list(ear.claims([ACCEPTED, REFUSED], NOW)["submods"]) == ["report.bin", "report.bin#2"]


@pytest.mark.parametrize(
    ("curve", "name", "size", "digest"),
    [(ec.SECP256R1(), "ES256", 32, SHA256()), (ec.SECP384R1(), "ES384", 48, SHA384())],
)
def test_a_signed_ear_is_a_jwt(
    curve: ec.EllipticCurve, name: str, size: int, digest: SHA256 | SHA384
) -> None:
    key = ec.generate_private_key(curve)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = ear.report([ACCEPTED], NOW, ear.read_key(pem, "key.pem")).strip()
    head, body, signature = token.split(".")
    decoded = [urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (head, body, signature)]
    assert json.loads(decoded[0]) == {"alg": name, "typ": "JWT"}
    assert json.loads(decoded[1]) == ear.claims([ACCEPTED], NOW)
    r, s = (int.from_bytes(decoded[2][at : at + size], "big") for at in (0, size))
    key.public_key().verify(encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(digest))


def test_a_key_that_signs_no_jwt_is_refused_without_a_byte_of_it() -> None:
    other = ec.generate_private_key(ec.SECP521R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data in (pem, b"secret", b""):
        with pytest.raises(InputError) as caught:
            ear.read_key(data, "key.pem")
        assert "secret" not in str(caught.value)


def test_every_criterion_has_a_page_and_a_code_of_its_own() -> None:
    assert len({each.code for each in CRITERIA}) == len(CRITERIA)
    for each in CRITERIA:
        assert each.title in page(each)
        assert markdown(each).startswith(f"# {each.code}: ")
        assert criterion(each.code.lower()) is each
