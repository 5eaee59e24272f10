"""Attestation of Secure Execution guests: read as pvattest does, and stricter; answered a criterion at a time."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from measure_data import DATA
from s390_made import Guest, answer, key, key_hash, secrets

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal, Outcome
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import s390_exchange
from sequester.evidence.policy import Policy
from sequester.evidence.policy_file import read_policy
from sequester.evidence.s390 import exchange, request
from sequester.evidence.s390.checks import measurement
from sequester.evidence.secrets import Secret, with_secrets
from sequester.measure.se_image import read_header
from sequester.verifying import shown, verify

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOST = key(0x2222).public_key()
HASH = key_hash(HOST)
GUEST = Guest()
KEY = Secret(secrets().protection)
S390 = DATA / "s390"
CHAIN = ("root_ca.chained.crt", "inter_ca.chained.crt", "ibm.crt", "ibm.crl")


def real(name: str) -> bytes:
    path = S390 / name
    if not path.exists():
        pytest.skip(f"no third-party data here (../shared/data/s390/{name})")
    return path.read_bytes()


def asking(**own: Any) -> Policy:
    """Return a policy that has the key and names host key and guest; underscores are hyphens."""
    told = {"arpk": (KEY,), "host-keys": (HASH,)} | {k.replace("_", "-"): v for k, v in own.items()}
    return Policy(measurements=GUEST.registers, platforms={"s390-pv": told})


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def outcome(appraisal: Appraisal, code: str) -> Outcome:
    return next(check.outcome for check in appraisal.checks if check.code == code)


@pytest.mark.parametrize(
    "name", ["exchange.bin", "exchange/full.bin", "exchange/full_resp.bin", "exchange/add_resp.bin"]
)
def test_pvattests_own_answers_are_read_whole(name: str) -> None:
    data = real(name)
    found = exchange.parse(data, name)
    assert found.answered
    assert found.request == b"\x11" * 16
    assert found.measurement == b"\x12" * 64
    assert found.config_uid == b"\x14" * 16
    assert len(found.additional) == 32
    assert len(found.user) == (0 if "add" in name else 256)
    assert b"".join(field.raw for field in shown(data)[1]) == data
    assert failed(verify(data, Policy(), Collateral(), NOW)) == {"EV101"}


@pytest.mark.parametrize("name", ["exchange/full_req.bin", "exchange/add_req.bin"])
def test_a_request_is_no_answer(name: str) -> None:
    data = real(name)
    found = exchange.parse(data, name)
    assert not found.answered
    assert found.request == b"\x11" * 16
    assert exchange.build(found.request, 64, 32) == data


def test_a_request_that_nobody_answered_is_refused() -> None:
    whole = exchange.parse(answer([HOST]), "answer")
    appraisal = verify(exchange.build(whole.request, 64), asking(), Collateral(), NOW)
    assert failed(appraisal) == {"EV101"}
    assert "not answered" in appraisal.checks[0].found


def test_pvs_request_opens_with_its_key() -> None:
    found = request.parse(real("arcb.bin"), "arcb")
    assert found.asks(1)
    assert found.asks(2)
    assert found.asks(3)
    assert not found.asks(4)
    assert len(found.host_keys) == 1
    opened = request.open_request(found, b"\x17" * 32)
    assert opened is not None
    assert (opened.key, opened.nonce) == (b"\x77" * 64, b"\xab" * 16)
    assert request.open_request(found, b"\x18" * 32) is None


def test_a_guest_of_a_real_header_and_a_real_request_is_accepted() -> None:
    header = read_header(real("secure_guest.hdr"))
    guest = Guest(header.pld, header.ald, header.tld, header.tag)
    arcb = real("arcb.bin")
    told = request.parse(arcb, "arcb")
    ours = exchange.parse(
        answer([HOST], guest, image_host_key=HASH, request_host_key=told.host_keys[0]), "ours"
    )
    opened = request.open_request(told, b"\x17" * 32)
    assert opened is not None
    value = measurement(guest.pld + guest.ald + guest.tld + guest.tag, ours, opened)
    data = exchange.build(arcb, value, ours.additional, ours.user, ours.config_uid)
    policy = Policy(platforms={"s390-pv": {"arpk": (KEY,), "host-keys": (told.host_keys[0], HASH)}})
    appraisal = verify(data, policy, Collateral((real("secure_guest.hdr"),)), NOW)
    assert appraisal.accepted
    assert outcome(appraisal, "EV602") is Outcome.PASSED
    assert b"".join(field.raw for field in shown(data)[1]) == data


@pytest.mark.parametrize(
    ("user", "nonce", "more", "expected"),
    [
        (b"\x07" * 256, b"\x08" * 16, b"\x09" * 128, "88794c62cce7"),
        (b"\x07" * 256, b"", b"\x09" * 128, "fbd4f738a390"),
        (b"", b"", b"\x09" * 128, "63671fbf2950"),
        (b"", b"", b"", "c5c34c93835d"),
    ],
)
def test_the_measurement_is_s390_tools(user: bytes, nonce: bytes, more: bytes, expected: str) -> None:
    """First bytes of what rust/pv/src/uvattest/attest.rs expects of the same input."""
    told = exchange.parse(exchange.build(b"r", b"m", more, user, b"\x05" * 16), "made")
    opened = request.Opened(b"\x41" * 64, nonce)
    guest = b"\x01" * 64 + b"\x02" * 64 + b"\x03" * 64 + b"\x04" * 16
    assert measurement(guest, told, opened).hex().startswith(expected)


def test_an_answer_is_accepted_by_the_guests_registers_by_its_header_or_not_at_all() -> None:
    data = answer([HOST], user=b"nonce")
    assert verify(data, asking(), Collateral(), NOW).accepted
    nameless = replace(asking(), measurements={})
    assert verify(data, nameless, Collateral((GUEST.header,)), NOW).accepted
    assert verify(data, nameless, Collateral((bytes(0x14000) + GUEST.header + bytes(4096),)), NOW).accepted
    assert failed(verify(data, nameless, Collateral(), NOW)) == {"EV201"}
    other = replace(GUEST, tag=b"\x05" * 16)
    assert failed(verify(data, nameless, Collateral((other.header,)), NOW)) == {"EV201"}
    both = Collateral((other.header, GUEST.header))
    assert verify(data, nameless, both, NOW).accepted
    assert failed(verify(data, replace(asking(), measurements={"tag": (other.tag,)}), both, NOW)) == {"EV602"}


def test_a_header_that_came_with_the_evidence_names_no_guest() -> None:
    own = Collateral().with_enclosed((GUEST.header,), ())
    evidence = s390_exchange.parse(answer([HOST]), "answer")
    checks = list(s390_exchange.appraise(evidence, own, replace(asking(), measurements={}), NOW))
    found = [check for check in checks if check.code == "EV602"]
    assert [check.outcome for check in found] == [Outcome.SKIPPED]
    assert "any guest will do" in found[0].found


def test_several_values_of_a_register_are_tried_together() -> None:
    others = {name: (b"\x99" * len(values[0]), *values) for name, values in GUEST.registers.items()}
    assert verify(answer([HOST]), replace(asking(), measurements=others), Collateral(), NOW).accepted


@given(st.data())
def test_no_changed_bit_passes(data: st.DataObject) -> None:
    good = answer([HOST, key(0x3333).public_key()], user=b"u" * 64, request_host_key=HASH)
    policy = asking(host_keys=(HASH, key_hash(key(0x3333).public_key())))
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    changed = bytearray(good)
    changed[bit // 8] ^= 1 << bit % 8
    appraisal = verify(bytes(changed), policy, Collateral(), NOW)
    assert not appraisal.accepted
    assert failed(appraisal) & {"EV101", "EV201"}
    assert verify(good, policy, Collateral(), NOW).accepted


@pytest.mark.parametrize(
    ("told", "own", "code"),
    [
        ({}, {"arpk": ()}, "EV201"),
        ({}, {"arpk": (Secret(b"x" * 32),)}, "EV201"),
        ({}, {"host_keys": ()}, "EV202"),
        ({}, {"config_uid": b"x" * 16}, "EV604"),
        ({}, {"secret_store": b"x" * 64}, "EV604"),
        ({"secret_store": b"y" * 64}, {"secret_store": b"x" * 64}, "EV604"),
        ({}, {"firmware_states": (b"f" * 320,)}, "EV401"),
        ({"firmware_state": b"g" * 320}, {"firmware_states": (b"f" * 320,)}, "EV401"),
        ({"request_host_key": b"k" * 32}, {}, "EV204"),
        ({"image_host_key": b"k" * 32}, {}, "EV403"),
        ({"uid": b"SIMULATED".ljust(16, b"\0")}, {}, "EV206"),
    ],
)
def test_each_question_can_be_failed_alone(told: dict[str, bytes], own: dict[str, Any], code: str) -> None:
    assert failed(verify(answer([HOST], **told), asking(**own), Collateral(), NOW)) == {code}


@pytest.mark.parametrize(
    ("told", "own"),
    [
        ({"secret_store": b"x" * 64}, {"secret_store": b"x" * 64}),
        ({"firmware_state": b"f" * 320}, {"firmware_states": (b"e" * 320, b"f" * 320)}),
        ({"image_host_key": HASH, "request_host_key": HASH}, {}),
        ({}, {"arpk": (Secret(b"x" * 32), KEY)}),
    ],
)
def test_each_question_can_be_answered(told: dict[str, bytes], own: dict[str, Any]) -> None:
    assert verify(answer([HOST], **told), asking(**own), Collateral(), NOW).accepted


def test_user_data_are_the_report_data() -> None:
    for user in (b"nonce", b"nonce".ljust(64, b"\0")):
        data = answer([HOST], user=user)
        assert verify(data, replace(asking(), report_data=b"nonce"), Collateral(), NOW).accepted
    for user in (b"", b"nonc", b"nonce2", b"other"):
        data = answer([HOST], user=user)
        assert failed(verify(data, replace(asking(), report_data=b"nonce"), Collateral(), NOW)) == {"EV601"}


def test_a_simulated_machine_is_told_by_its_guests_uid() -> None:
    data = answer([HOST], uid=b"SIMULATED".ljust(16, b"\0"))
    appraisal = verify(data, replace(asking(), simulated=True), Collateral(), NOW)
    assert appraisal.accepted
    assert appraisal.simulated


def real_host(name: str) -> Any:
    return x509.load_pem_x509_certificate(real(f"cert/{name}")).public_key()


def root_pin() -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256

    return x509.load_pem_x509_certificate(real("cert/root_ca.crt")).fingerprint(SHA256())


@pytest.mark.parametrize(
    ("host", "papers", "code"),
    [
        ("host.crt", CHAIN, ""),
        ("host2.crt", CHAIN, ""),
        ("host.crt", (*CHAIN, "ibm_armonk.crt"), ""),
        ("host_armonk.crt", (*CHAIN[:2], "ibm_armonk.crt", "ibm_armonk.crl"), ""),
        ("host_crt_expired.crt", CHAIN, "EV203"),
        ("host_rev.crt", CHAIN, "EV301"),
        ("host.crt", CHAIN[:3], "EV301"),
        ("host.crt", (*CHAIN[:3], "ibm_outdated_early.crl"), "EV301"),
        ("host.crt", (*CHAIN[:3], "ibm_wrong_issuer.crl"), "EV301"),
        ("host.crt", CHAIN[1:], "EV202"),
        ("host.crt", (), "EV202"),
    ],
)
def test_host_key_documents_are_judged_as_their_names_tell(
    host: str, papers: tuple[str, ...], code: str
) -> None:
    documents = tuple(real(f"cert/{name}") for name in (host, *papers))
    policy = asking(host_keys=(), roots=(root_pin(),))
    data = answer([real_host(host)])
    appraisal = verify(data, policy, Collateral(documents), NOW)
    assert failed(appraisal) == ({code} if code else set())
    if code == "EV301" and host == "host.crt":
        lenient = verify(data, replace(policy, revocation=False), Collateral(documents), NOW)
        assert lenient.accepted
    if host == "host_rev.crt":
        assert failed(verify(data, replace(policy, revocation=False), Collateral(documents), NOW)) == {code}


def test_every_machine_that_can_open_the_request_must_be_trusted() -> None:
    documents = tuple(real(f"cert/{name}") for name in ("host.crt", *CHAIN))
    data = answer([real_host("host.crt"), HOST])
    policy = asking(host_keys=(), roots=(root_pin(),))
    assert failed(verify(data, policy, Collateral(documents), NOW)) == {"EV202"}
    assert verify(data, asking(roots=(root_pin(),)), Collateral(documents), NOW).accepted


def test_a_root_is_trusted_by_its_pin_alone() -> None:
    documents = tuple(real(f"cert/{name}") for name in ("host.crt", *CHAIN))
    policy = asking(host_keys=(), roots=(b"x" * 32,))
    assert failed(verify(answer([real_host("host.crt")]), policy, Collateral(documents), NOW)) == {"EV202"}


def edited(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("at", "new", "what"),
    [
        (8, b"\0\0\2\0", "version"),
        (0xC, b"\0\0\xff\xff", "it says that it has"),
        (0x17, b"\1", "reserved"),
        (0x18, bytes(8), "begins at|no attestation request"),
        (0x18, b"\xff\xff\xff\xff", "more than"),
        (0x24, b"\0\0\0\x20", "outside"),
        (0x24, b"\0\0\0\x40", "begins at"),
        (0x34, b"\0\0\0\x50", "no bytes"),
        (0x38, b"\0\0\0\x0f", "belong to nothing|UID"),
        (0x38, b"\xff\xff\xff\xff", "more than"),
    ],
)
def test_an_exchange_is_read_strictly(at: int, new: bytes, what: str) -> None:
    with pytest.raises(InputError, match=what):
        exchange.parse(edited(answer([HOST]), at, new), "made")


@pytest.mark.parametrize(
    ("at", "new", "what"),
    [
        (0, b"x", "version"),
        (8, b"\0\0\2\0", "version"),
        (0xC, b"\0\0\0\1", "it says that it has"),
        (0x1C, b"\1", "reserved"),
        (0x27, b"\2", "key slots"),
        (0x27, b"\0", "key slots"),
        (0x28, b"\1", "reserved"),
        (0x2F, b"\x40", "encrypted"),
        (0x30, b"\0", "flags"),
        (0x3B, b"\2", "algorithm"),
        (0x3F, b"\1", "reserved"),
    ],
)
def test_a_request_is_read_strictly(at: int, new: bytes, what: str) -> None:
    data = exchange.parse(answer([HOST]), "made").request
    with pytest.raises(InputError, match=what):
        request.parse(edited(data, at, new), "made")


def test_additional_data_that_are_missing_are_no_form() -> None:
    whole = exchange.parse(answer([HOST], request_host_key=HASH), "made")
    short = exchange.build(whole.request, whole.measurement, b"x" * 31, b"", whole.config_uid)
    assert failed(verify(short, asking(), Collateral(), NOW)) == {"EV101"}


@given(st.binary(max_size=700), st.booleans())
def test_any_bytes_are_refused_or_one_error(data: bytes, named: bool) -> None:
    data = exchange.MAGIC + data if named else data
    s390_exchange.recognises(data)
    try:
        evidence = s390_exchange.parse(data, "made")
    except InputError:
        return
    assert any(check.failed for check in s390_exchange.appraise(evidence, Collateral(), Policy(), NOW))


@given(st.binary(max_size=600))
def test_any_request_is_read_or_one_error(data: bytes) -> None:
    whole = exchange.build(data or b"x", bytes(64), b"", b"", bytes(16))
    evidence = s390_exchange.parse(whole, "made")
    assert b"".join(field.raw for field in s390_exchange.fields(evidence)) == whole


def test_the_key_is_read_from_the_file_that_the_policy_names_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "arp.key").write_bytes(KEY.value)
    policy = with_secrets(read_policy(b'[s390-pv]\narpk = "arp.key"\n', "policy"), str(tmp_path))
    assert policy.of("s390-pv")["arpk"] == (KEY,)
    assert KEY.value.hex() not in repr(policy)
    assert repr(KEY.value) not in repr(policy)
    (tmp_path / "arp.key").write_bytes(KEY.value + b"\n")
    with pytest.raises(InputError, match="32 bytes") as error:
        with_secrets(read_policy(b'[s390-pv]\narpk = "arp.key"\n', "policy"), str(tmp_path))
    assert error.value.code == "policy.secret"
    with pytest.raises(InputError, match="arpk"):
        read_policy(b"[s390-pv]\narpk = 3\n", "policy")


def test_a_key_whose_file_nobody_read_opens_nothing() -> None:
    policy = read_policy(b'[s390-pv]\narpk = "arp.key"\n', "policy")
    assert failed(verify(answer([HOST]), policy, Collateral(), NOW)) == {"EV201"}


def test_the_hash_of_a_host_key_is_that_of_its_slot() -> None:
    found = request.parse(exchange.parse(answer([HOST]), "made").request, "made")
    assert found.host_keys == (HASH,)
    assert len(hashlib.sha256().digest()) == request.HASH
