"""CCA tokens: a real one with its key, made ones bit by bit, reference values, and CBOR that lies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_data import DATA

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.cca.cbor import CborError, Tagged, decode
from sequester.evidence.cca.corim import read as read_corim
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import cca_token
from sequester.evidence.policy import Policy
from sequester.simulator.cca import _cose_key, _sign1
from sequester.simulator.certificates import Issuer, Subject, pem
from sequester.verifying import shown, verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PLATFORM_KEY = ec.derive_private_key(0xCA, ec.SECP384R1())
REALM_KEY = ec.derive_private_key(0x4EA, ec.SECP384R1())
PUBLIC = PLATFORM_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
IMPLEMENTATION, INSTANCE = b"m" * 32, b"\1" + b"i" * 32
DIGEST, SIGNER = sha256(b"RMM").digest(), sha256(b"signer").digest()
KEY = _cose_key(REALM_KEY)
REALM = {
    10: b"nonce".ljust(64, b"\0"),
    44235: bytes(64),
    44236: "sha-512",
    44237: KEY,
    44238: b"r" * 64,
    44239: [bytes(64)] * 4,
    44240: "sha-256",
}
PLATFORM = {
    10: sha256(KEY).digest(),
    256: INSTANCE,
    265: "tag:arm.com,2023:cca_platform#1.0.0",
    2395: 0x3000,
    2396: IMPLEMENTATION,
    2399: [{1: "RMM", 2: DIGEST, 4: "1.0", 5: SIGNER}],
    2401: b"config",
    2402: "sha-256",
}


def token(realm: Any = None, platform: Any = None) -> bytes:
    parts = {
        44234: _sign1(PLATFORM_KEY, {**PLATFORM, **(platform or {})}),
        44241: _sign1(REALM_KEY, {**REALM, **(realm or {})}),
    }
    return cbor2.dumps(cbor2.CBORTag(399, parts), canonical=True)


TOKEN = token()


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def asked(data: bytes, policy: Policy | None = None, *documents: bytes) -> Appraisal:
    return verify(data, policy or Policy(), Collateral(documents or (PUBLIC,)), NOW)


def real(name: str) -> bytes:
    path = DATA / "cca" / name
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/cca)")
    return path.read_bytes()


def test_a_real_token_is_accepted_with_its_platforms_key_and_not_without() -> None:
    data = real("cca-example-token.cbor")
    assert asked(data, None, real("cpak-pub.json")).accepted
    assert failed(asked(data, None, PUBLIC)) == {"EV202"}
    assert failed(verify(data, Policy(), Collateral(), NOW)) == {"EV202"}


def test_a_real_tokens_claims_are_told() -> None:
    told = asked(real("cca-example-token.cbor"), None, real("cpak-pub.json")).claims
    assert told["lifecycle"] == {"value": 12291, "state": "secured"}
    assert told["rim"].startswith("ae87fbf7f105e71a")
    assert [each["type"] for each in told["software"]][:2] == ["RSE_BL1_2", "RSE_BL2"]


@pytest.mark.parametrize("data", [TOKEN, token({10: b"x" * 64})])
def test_show_loses_nothing(data: bytes) -> None:
    found, fields = shown(data)
    assert found.kind is cca_token
    assert b"".join(field.raw for field in fields) == data


@given(st.integers(0, len(TOKEN) * 8 - 1))
@settings(max_examples=300)
def test_no_changed_bit_of_a_token_passes(bit: int) -> None:
    changed = bytearray(TOKEN)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        appraisal = asked(bytes(changed))
    except InputError:
        return
    assert failed(appraisal) & {"EV101", "EV201", "EV202", "EV204"}


def test_a_simulated_platform_is_told_by_its_certificate() -> None:
    vendor = Issuer(Subject("SIMULATED CCA platform"), PLATFORM_KEY, SHA384())
    certificate = pem(vendor.own(NOW))
    assert failed(asked(TOKEN, None, certificate)) == {"EV206"}
    assert asked(TOKEN, Policy(simulated=True), certificate).accepted
    assert asked(TOKEN, Policy(simulated=True), certificate).simulated
    ordinary = Issuer(Subject("a CCA platform", organization="somebody"), PLATFORM_KEY, SHA384())
    assert failed(asked(TOKEN, Policy(simulated=True), pem(ordinary.own(NOW)))) == {"EV202"}


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(report_data=b"other"), "EV601"),
        (Policy(measurements={"rim": (b"x" * 64,)}), "EV602"),
        (Policy(measurements={"rem2": (b"x" * 64,)}), "EV602"),
        (Policy(platforms={"cca": {"personalization": b"p"}}), "EV604"),
        (Policy(platforms={"cca": {"implementations": (bytes(32),)}}), "EV403"),
        (Policy(platforms={"cca": {"instances": (bytes(33),)}}), "EV403"),
    ],
)
def test_each_question_of_a_policy_can_be_failed_alone(policy: Policy, code: str) -> None:
    assert failed(asked(TOKEN, policy)) == {code}


def test_what_a_policy_asks_for_can_be_right() -> None:
    own = {"personalization": b"", "implementations": (IMPLEMENTATION,), "instances": (INSTANCE,)}
    policy = Policy(report_data=b"nonce", measurements={"rim": (b"r" * 64,)}, platforms={"cca": own})
    assert asked(TOKEN, policy).accepted


@pytest.mark.parametrize("lifecycle", [0, 0x1000, 0x2FFF, 0x3100, 0x4000, 0x5000, 0x6000, 1 << 40])
def test_a_platform_that_is_not_secured_is_refused(lifecycle: int) -> None:
    assert failed(asked(token(platform={2395: lifecycle}))) == {"EV501"}
    allowed = lifecycle >> 8 in (0x40, 0x50)
    assert asked(token(platform={2395: lifecycle}), Policy(debug=True)).accepted == allowed


def test_the_platform_must_vouch_for_this_realms_key() -> None:
    assert failed(asked(token(platform={10: bytes(32)}))) == {"EV204"}
    assert failed(asked(token({44240: "md5"}))) == {"EV204"}
    point = REALM_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    old = token({44237: point}, {10: sha256(point).digest()})
    assert asked(old).accepted
    for bad in (
        b"\4" + bytes(96),
        b"short",
        cbor2.dumps({1: 2, -1: 9, -2: b"", -3: b""}),
        cbor2.dumps({1: 1}),
    ):
        assert "EV201" in failed(asked(token({44237: bad}, {10: sha256(bad).digest()})))


def corim(**changes: Any) -> bytes:
    environment = changes.get("environment", {0: {0: cbor2.CBORTag(560, IMPLEMENTATION)}})
    value = {2: [[1, changes.get("digest", DIGEST)]], 13: [cbor2.CBORTag(560, SIGNER)]}
    instance = {**environment, 1: cbor2.CBORTag(550, changes.get("instance", INSTANCE))}
    keys = [cbor2.CBORTag(changes.get("tag", 554), PUBLIC.decode())]
    triples = {0: [[environment, [{0: "cca.software-component", 1: value}]]], 3: [[instance, keys]]}
    comid = cbor2.CBORTag(506, cbor2.dumps({1: {0: b"x" * 16}, 4: triples}))
    return cbor2.dumps(cbor2.CBORTag(501, {0: "test", 1: [comid]}))


def test_a_corim_brings_the_platforms_key_and_its_good_software() -> None:
    appraisal = asked(TOKEN, None, corim())
    assert appraisal.accepted
    tcb = next(check for check in appraisal.checks if check.code == "EV401")
    assert tcb.outcome.value == "passed"
    assert failed(asked(TOKEN, None, corim(digest=bytes(32)))) == {"EV401"}
    assert failed(asked(TOKEN, None, corim(instance=b"\1" + bytes(32)))) == {"EV202"}


@pytest.mark.parametrize("changes", [{"environment": {}}, {"environment": {0: {}}}, {"tag": 555}])
def test_a_corim_that_is_not_understood_is_not_used_at_all(changes: Any) -> None:
    with pytest.raises(CborError):
        read_corim(corim(**changes))
    assert failed(asked(TOKEN, None, corim(**changes))) == {"EV202"}


def test_real_corims_are_read_or_refused_as_their_names_say() -> None:
    good = read_corim(real("corim-cca-platform-valid.cbor"))
    assert (len(good.software), len(good.anchors)) == (4, 1)
    for name in ("corim-cca-platform-bad-no-class.cbor", "corim-cca-platform-bad-ta-cert.cbor"):
        with pytest.raises(CborError):
            read_corim(real(name))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends"),
        (b"\x9f\x01\xff", "indefinite"),
        (b"\x5f\x41\x00\xff", "indefinite"),
        (b"\xf9\x00\x00", "float"),
        (b"\xf7", "simple"),
        (b"\xa2\x01\x01\x01\x02", "twice"),
        (b"\xa1\x40\x01", "key"),
        (b"\xa1\xf5\x01", "key"),
        (b"\x01\x01", "follow"),
        (b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff", "claims"),
        (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "ends"),
        (b"\x81" * 100 + b"\x01", "deep"),
        (b"\xc1" * 100 + b"\x01", "deep"),
        (b"\x99\x27\x10" + b"\x01" * 10_000, "many"),
        (b"\x61\xff", "UTF-8"),
    ],
)
def test_cbor_that_lies_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(CborError, match=says):
        decode(data)


_values = st.recursive(
    st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=80)
    | st.text(max_size=40)
    | st.booleans()
    | st.none(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-9, 99999) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(_values)
def test_cbor_is_read_as_another_library_writes_it(value: Any) -> None:
    assert decode(cbor2.dumps(value)) == value
    assert decode(cbor2.dumps(cbor2.CBORTag(7, value))) == Tagged(7, value)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_token_or_one_error(data: bytes) -> None:
    for bad in (data, b"\xd9\x01\x8f" + data):
        cca_token.recognises(bad)
        with pytest.raises(InputError):
            cca_token.parse(bad, "token")


@pytest.mark.parametrize("claim", [*REALM, *PLATFORM])
def test_a_missing_or_wrong_claim_is_named(claim: int) -> None:
    in_realm = claim in REALM
    for value in (None, 7.5, [], b"x" * 5):
        if claim in (44237, 2401) and value == b"x" * 5:
            continue
        if claim == 10:
            in_realm = True
        made = token({claim: value}) if in_realm else token(platform={claim: value})
        if value == [] and claim == 2399:
            continue
        assert failed(asked(made)) == {"EV101"}


def test_the_key_may_come_as_a_set_of_jwks_and_nothing_else_counts() -> None:
    numbers = PLATFORM_KEY.public_key().public_numbers()
    from base64 import urlsafe_b64encode

    def spelled(number: int) -> str:
        return urlsafe_b64encode(number.to_bytes(48, "big")).decode().rstrip("=")

    jwk = {"kty": "EC", "crv": "P-384", "x": spelled(numbers.x), "y": spelled(numbers.y)}
    assert asked(TOKEN, None, json.dumps({"keys": [jwk]}).encode()).accepted
    for wrong in (
        {**jwk, "crv": "P-256"},
        {**jwk, "x": "*"},
        {**jwk, "y": spelled(5)},
        {"kty": "RSA"},
        {"keys": 7},
    ):
        assert failed(asked(TOKEN, None, json.dumps(wrong).encode())) == {"EV202"}
    assert failed(asked(TOKEN, None, b"something before\n" + PUBLIC)) == {"EV202"}


def test_a_token_with_more_in_it_is_refused() -> None:
    parts = cbor2.loads(TOKEN).value
    more = cbor2.dumps(cbor2.CBORTag(399, {**parts, 1: b""}))
    assert failed(asked(more)) == {"EV101"}
