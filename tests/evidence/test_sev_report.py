"""SEV attestation reports: made by the simulated platform, and no bit of them otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import sev_report
from sequester.evidence.policy import Policy
from sequester.owner.sev_chain import SevChain
from sequester.simulator.identity import Identity
from sequester.simulator.sev_firmware import SevFirmware
from sequester.simulator.sev_platform import API, BUILD, chain, diffie_hellman, endorsement
from sequester.verifying import shown, verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DIGEST, NONCE = b"d" * 32, b"n" * 16
TRUSTING = Policy(simulated=True)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def document(identity: Identity) -> bytes:
    return chain(identity).pack()


def made(identity: Identity, policy: int = 0xF) -> bytes:
    firmware = SevFirmware(
        diffie_hellman(identity), endorsement(identity), API, BUILD, lambda size: bytes(size)
    )
    firmware.launch_start(policy, None, None)
    firmware.launch_measure(DIGEST)
    return firmware.attestation(NONCE)


@pytest.fixture(scope="module")
def report(identity: Identity) -> bytes:
    return made(identity)


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def test_a_simulated_report_is_accepted_where_that_is_trusted_and_only_there(
    report: bytes, document: bytes
) -> None:
    policy = replace(TRUSTING, report_data=NONCE, measurements={"digest": (DIGEST,)})
    appraisal = verify(report, policy, Collateral((document,)), NOW)
    assert appraisal.accepted
    assert appraisal.simulated
    assert failed(verify(report, Policy(), Collateral((document,)), NOW)) == {"EV206"}
    assert failed(verify(report, TRUSTING, Collateral(), NOW)) == {"EV201"}


@given(st.integers(0, 208 * 8 - 1))
def test_no_changed_bit_passes(report: bytes, document: bytes, bit: int) -> None:
    changed = bytearray(report)
    changed[bit // 8] ^= 1 << bit % 8
    appraisal = verify(bytes(changed), TRUSTING, Collateral((document,)), NOW)
    assert failed(appraisal) & {"EV101", "EV201"}


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (replace(TRUSTING, report_data=b"other"), "EV601"),
        (replace(TRUSTING, measurements={"digest": (b"x" * 32,)}), "EV602"),
        (replace(TRUSTING, platforms={"sev": {"guest-policy": 7}}), "EV503"),
    ],
)
def test_each_question_of_a_policy_can_be_failed_alone(
    report: bytes, document: bytes, policy: Policy, code: str
) -> None:
    assert failed(verify(report, policy, Collateral((document,)), NOW)) == {code}


@pytest.mark.parametrize(("bits", "codes"), [(0xE, {"EV501"}), (0x7, {"EV502"}), (0xF, set())])
def test_debug_and_sending_are_refused_unless_allowed(
    identity: Identity, document: bytes, bits: int, codes: set[str]
) -> None:
    data = made(identity, bits)
    assert failed(verify(data, TRUSTING, Collateral((document,)), NOW)) == codes
    allowing = replace(TRUSTING, debug=True, migration=True)
    assert verify(data, allowing, Collateral((document,)), NOW).accepted


def test_a_chain_that_does_not_hold_is_no_good(report: bytes, identity: Identity) -> None:
    good = chain(identity)
    broken = replace(good, cek=replace(good.cek, api=(9, 9)))
    assert failed(verify(report, TRUSTING, Collateral((broken.pack(),)), NOW)) == {"EV202"}
    rootless = SevChain(good.pdh, good.pek, good.oca, good.cek)
    assert failed(verify(report, TRUSTING, Collateral((rootless.pack(),)), NOW)) == {"EV202"}


def test_show_loses_nothing(report: bytes) -> None:
    found, fields = shown(report)
    assert found.kind is sev_report
    assert b"".join(field.raw for field in fields) == report


@given(st.binary(min_size=200, max_size=210))
def test_any_bytes_are_refused_or_one_error(data: bytes) -> None:
    sev_report.recognises(data)
    try:
        sev_report.parse(data, "report")
    except InputError:
        return
    assert not verify(data, TRUSTING, Collateral(), NOW).accepted
