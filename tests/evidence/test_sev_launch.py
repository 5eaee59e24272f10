"""Launch measurements of SEV: in every form in which they are told, under the owner's key alone."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import is_of, sev_launch, sev_report, snp_report
from sequester.evidence.policy import Policy
from sequester.evidence.policy_file import read_policy
from sequester.evidence.recognise import recognise
from sequester.evidence.secrets import Secret, with_secrets
from sequester.measure.launch_measurement import launch_measurement
from sequester.simulator.identity import Identity
from sequester.simulator.sev_platform import chain
from sequester.verifying import shown, verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TIK, DIGEST, NONCE = b"t" * 16, b"d" * 32, b"n" * 16
KEY = Secret(TIK)
API, BUILD, BITS = (1, 55), 8, 0xF


def told(bits: int = BITS, **others: Any) -> dict[str, Any]:
    value = launch_measurement(DIGEST, TIK, NONCE, bits, API, BUILD)
    return {
        "schema": "sequester-launch/1",
        "platform": "sev-es",
        "measurement": b64encode(value).decode(),
        "policy": bits,
        "api-major": API[0],
        "api-minor": API[1],
        "build-id": BUILD,
        **others,
    }


def ours(**others: Any) -> bytes:
    return json.dumps(told(**others), indent=2).encode()


def virsh() -> bytes:
    said = told()
    names = ("measurement", "api-major", "api-minor", "build-id", "policy")
    return "".join(f"{f'sev-{name}':15}: {said[name]}\n" for name in names).encode()


def qmp() -> bytes:
    said = told()
    state = {"enabled": True, "sev-type": "sev", "state": "launch-secret", "handle": 1}
    state |= {name: said[name] for name in ("api-major", "api-minor", "build-id", "policy")}
    answers = ({"return": state, "id": "1"}, {"return": {"data": said["measurement"]}})
    return b"\n".join(json.dumps(each).encode() for each in answers) + b"\n"


def session() -> bytes:
    """What a monitor really says: greeting, empty answers, and events in between."""
    event = b'{"event": "STOP", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}'
    first, second = qmp().splitlines()
    return b"\r\n".join((b'{"QMP": {"version": {}}}', b'{"return": {}}', first, event, second))


FORMS = {"our own": ours, "virsh": virsh, "QMP": qmp, "a monitor's whole session": session}


def asking(**others: Any) -> Policy:
    own: dict[str, Any] = {"tik": (KEY,), "guest-policy": BITS}
    return replace(Policy(measurements={"digest": (DIGEST,)}, platforms={"sev": own}), **others)


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


@pytest.mark.parametrize("form", FORMS)
def test_a_launch_is_accepted_in_every_form(form: str) -> None:
    data = FORMS[form]()
    assert recognise(data, form).kind is sev_launch
    assert verify(data, asking(), Collateral(), NOW, platform="sev-es").accepted
    other = replace(asking(), measurements={"digest": (b"x" * 32,)})
    assert failed(verify(data, other, Collateral(), NOW)) == {"EV201"}
    assert b"".join(field.raw for field in shown(data)[1]) == data


def test_one_of_several_keys_and_digests_is_enough() -> None:
    own = {"tik": (Secret(b"x" * 16), KEY)}
    policy = Policy(measurements={"digest": (b"x" * 32, DIGEST)}, platforms={"sev": own})
    assert verify(ours(), policy, Collateral(), NOW).accepted


@pytest.mark.parametrize(
    ("policy", "codes"),
    [
        (asking(platforms={"sev": {}}), {"EV201"}),
        (asking(platforms={"sev": {"tik": (Secret(b"x" * 16),)}}), {"EV201"}),
        (asking(measurements={}), {"EV201"}),
        (asking(report_data=b"r"), {"EV601"}),
        (asking(platforms={"sev": {"tik": (KEY,), "guest-policy": 7}}), {"EV503"}),
    ],
)
def test_each_question_of_a_policy_can_be_failed_alone(policy: Policy, codes: set[str]) -> None:
    assert failed(verify(ours(), policy, Collateral(), NOW)) == codes


@pytest.mark.parametrize(("bits", "codes"), [(0xE, {"EV501"}), (0x7, {"EV502"}), (0xF, set())])
def test_debug_and_sending_are_refused_unless_allowed(bits: int, codes: set[str]) -> None:
    policy = asking(platforms={"sev": {"tik": (KEY,)}})
    assert failed(verify(ours(bits=bits), policy, Collateral(), NOW)) == codes
    assert verify(ours(bits=bits), replace(policy, debug=True, migration=True), Collateral(), NOW).accepted


@pytest.mark.parametrize("changed", [{"policy": 0xB}, {"api-major": 2}, {"api-minor": 54}, {"build-id": 9}])
def test_what_is_measured_cannot_be_told_otherwise(changed: dict[str, int]) -> None:
    policy = asking(platforms={"sev": {"tik": (KEY,)}})
    assert failed(verify(ours(**changed), policy, Collateral(), NOW)) == {"EV201"}


@given(st.integers(0, 48 * 8 - 1))
def test_no_changed_bit_of_a_measurement_passes(bit: int) -> None:
    value = bytearray(launch_measurement(DIGEST, TIK, NONCE, BITS, API, BUILD))
    value[bit // 8] ^= 1 << bit % 8
    data = ours(measurement=b64encode(value).decode())
    assert failed(verify(data, asking(), Collateral(), NOW)) == {"EV201"}


def test_a_simulated_launch_is_told_by_itself_or_by_its_chain(tmp_path: Path) -> None:
    certificates = Collateral((chain(Identity(tmp_path)).pack(),))
    for data, collateral in ((ours(simulated=True), Collateral()), (ours(), certificates)):
        assert failed(verify(data, asking(), collateral, NOW)) == {"EV206"}
        appraisal = verify(data, asking(simulated=True), collateral, NOW)
        assert appraisal.accepted
        assert appraisal.simulated


@pytest.mark.parametrize(
    "data",
    [
        ours(measurement="%%%"),
        ours(measurement=b64encode(bytes(47)).decode()),
        ours(policy=-1),
        ours(policy=True),
        ours(**{"build-id": "8"}),
        ours(schema="sequester-launch/2"),
        ours()[:-1],
        ours() + ours(),
        ours().replace(b'"policy"', b'"policy": 1, "policy"'),
        virsh().replace(b"sev-api-major", b"sev-api-minor"),
        virsh() + b"and more\n",
        virsh().replace(b"sev-build-id", b"sev-build"),
        virsh().replace(b": 15", b": -15"),
        virsh().replace(b": 15", b": \xd9\xa1"),
        qmp().splitlines()[0],
        qmp() + qmp(),
        qmp() + b"x",
        qmp().splitlines()[0] + b"[1]",
        b'{"build-id": 1, "api-major": ' + b"[" * 100_000,
        b'{"build-id": 1, "api-major": 1, "policy": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_launch_that_is_told_wrongly_is_one_refusal(data: bytes) -> None:
    assert recognise(data, "launch").kind is sev_launch
    assert failed(verify(data, asking(), Collateral(), NOW)) == {"EV101"}


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_or_one_error(data: bytes) -> None:
    for before in (b"", b"sev-measurement: sev-policy: ", b'{"build-id": 1, "api-major": 1, '):
        sev_launch.recognises(before + data)
        try:
            sev_launch.parse(before + data, "launch")
        except InputError:
            continue


def test_the_owners_key_is_read_from_the_file_that_the_policy_names(tmp_path: Path) -> None:
    (tmp_path / "web_tik.bin").write_bytes(TIK)
    text = f'[sev]\ntik = "web_tik.bin"\n[measurements]\ndigest = "{DIGEST.hex()}"\n'
    policy = with_secrets(read_policy(text.encode(), "policy"), str(tmp_path))
    assert verify(ours(), policy, Collateral(), NOW).accepted
    (tmp_path / "web_tik.bin").write_bytes(TIK + b"\n")
    with pytest.raises(InputError, match="16 bytes"):
        with_secrets(read_policy(text.encode(), "policy"), str(tmp_path))


def test_sev_es_is_a_variant_of_sev_and_nothing_else_is() -> None:
    assert is_of(sev_launch, "sev-es")
    assert is_of(sev_report, "sev")
    assert not is_of(sev_report, "sev-snp")
    assert not is_of(snp_report, "sev-es")
