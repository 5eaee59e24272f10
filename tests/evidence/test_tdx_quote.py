"""TDX quotes: real ones get their verdict, another verifier agrees, and no changed bit of a signed part passes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_data import DATA

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import tdx_quote
from sequester.evidence.policy import Policy
from sequester.evidence.tdx import tables
from sequester.evidence.tdx.pck import platform
from sequester.evidence.tdx.quote import parse
from sequester.evidence.tdx.signing import endorser
from sequester.simulator.identity import Identity
from sequester.simulator.tdx_chain import collateral as simulated_collateral
from sequester.simulator.tdx_chain import quoting_enclave
from sequester.simulator.tdx_quote import Body
from sequester.verifying import shown, verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
THEN = datetime(2025, 6, 20, tzinfo=UTC)
TRUSTING = Policy(simulated=True)
FOLDER = DATA / "tdx"
REAL = {
    "tdx_prod_quote_SPR_E4.dat": 4,
    "quote_v5_sample.dat": 5,
    "tdx_quote": 4,
    "trustee_tdx_quote_4.dat": 4,
    "trustee_tdx_quote_5.dat": 5,
}
ATTRIBUTES_AT, MRTD_AT, RTMR0_AT = 48 + 120, 48 + 136, 48 + 328


def real(name: str) -> bytes:
    path = FOLDER / name
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/tdx)")
    return path.read_bytes()


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def documents(identity: Identity) -> tuple[bytes, ...]:
    return tuple(simulated_collateral(identity, NOW).values())


@pytest.fixture(scope="module")
def quote(identity: Identity) -> bytes:
    return made(identity)


def made(identity: Identity, **changes: Any) -> bytes:
    body = Body(
        b"m" * 48,
        1 << 28,
        0x602E7,
        b"t" * 48,
        (b"c" * 48, b"o" * 48, b"x" * 48),
        (b"0" * 48, b"1" * 48, b"2" * 48, b"3" * 48),
        b"nonce",
    )
    return quoting_enclave(identity, NOW).quote(replace(body, **changes))


def test_a_quote_under_the_simulated_root_is_accepted_where_that_is_trusted_and_only_there(
    quote: bytes, documents: tuple[bytes, ...]
) -> None:
    appraisal = verify(quote, replace(TRUSTING, report_data=b"nonce"), Collateral(documents), NOW)
    assert appraisal.accepted, failed(appraisal)
    assert appraisal.simulated
    assert failed(verify(quote, Policy(), Collateral(documents), NOW)) == {"EV206"}


@given(st.data())
@settings(max_examples=200)
def test_no_changed_bit_of_a_quote_passes(
    quote: bytes, documents: tuple[bytes, ...], data: st.DataObject
) -> None:
    end = quote.index(b"-----BEGIN")
    bit = data.draw(st.integers(0, end * 8 - 1))
    changed = bytearray(quote)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        appraisal = verify(bytes(changed), TRUSTING, Collateral(documents), NOW)
    except InputError:
        return
    assert not appraisal.accepted
    by = "EV201" if bit // 8 < 48 + 584 else "EV101" if bit // 8 < 48 + 584 + 4 else ""
    assert failed(appraisal) & ({by, "EV101"} if by else {"EV101", "EV201", "EV205", "EV202"})


@pytest.mark.parametrize("name", REAL)
def test_every_field_of_a_real_quote_is_shown_without_loss(name: str) -> None:
    data = real(name)
    found, fields = shown(data, name)
    fields = list(fields)
    assert found.kind is tdx_quote
    assert b"".join(field.raw for field in fields) == data
    offset = 0
    for field in fields:
        assert field.offset == offset
        offset += len(field.raw)
    assert parse(data, name).version == REAL[name]
    assert endorser(parse(data, name).chain).platform is not None


@pytest.mark.parametrize("name", REAL)
def test_a_real_quote_without_collateral_is_whole_and_signed_but_nothing_more_is_known(name: str) -> None:
    appraisal = verify(real(name), Policy(debug=True), Collateral(), NOW)
    assert failed(appraisal) == {"EV301", "EV302"}
    assert failed(verify(real(name), Policy(debug=True, revocation=False), Collateral(), NOW)) == {"EV302"}


def test_a_debuggable_guest_is_refused_by_default() -> None:
    appraisal = verify(real("trustee_tdx_quote_4.dat"), Policy(revocation=False), Collateral(), THEN)
    assert "EV501" in failed(appraisal)


def test_a_real_quote_with_its_collateral_is_up_to_date_at_its_time_and_not_later() -> None:
    data, bundle = real("tdx_quote"), real("tdx_quote_collateral.json")
    collateral = Collateral((bundle,))
    assert verify(data, Policy(), collateral, THEN).accepted
    assert failed(verify(data, Policy(), collateral, NOW)) == {"EV302"}
    assert "EV203" in failed(verify(data, Policy(), collateral, datetime(2050, 1, 1, tzinfo=UTC)))


def peer(data: bytes, bundle: Mapping[str, str], now: datetime) -> tuple[str, set[str]]:
    """Return the status and advisories that dcap-qvl finds, ("", nothing) where it refuses."""
    dcap_qvl = pytest.importorskip("dcap_qvl")
    told: dict[str, Any] = dict(bundle)
    for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
        told[name] = bytes.fromhex(told[name])
    told = {name: value for name, value in told.items() if name in _PEERS}
    try:
        found = dcap_qvl.verify(data, dcap_qvl.QuoteCollateralV3(**told), int(now.timestamp()))
    except ValueError:
        return "", set()
    return found.status, set(found.advisory_ids)


_PEERS = (
    *("pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info"),
    *("tcb_info_signature", "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"),
)


@given(st.data())
@settings(max_examples=150)
def test_another_verifier_agrees_on_the_real_quote_and_on_changed_ones(data: st.DataObject) -> None:
    quote, raw = real("tdx_quote"), real("tdx_quote_collateral.json")
    bundle = json.loads(raw)
    days = data.draw(st.integers(-40, 60))
    changed = bytearray(quote)
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, (quote.index(b"-----BEGIN") - 8) * 8))
        changed[bit // 8] ^= 1 << bit % 8
    now = THEN + timedelta(days=days, seconds=1)
    status, _ = peer(bytes(changed), bundle, now)
    try:
        ours = verify(bytes(changed), Policy(debug=True, migration=True), Collateral((raw,)), now)
    except InputError:
        assert status == ""
        return
    if bytes(changed) == quote:
        assert ours.accepted == (status == "UpToDate")
    else:
        assert not ours.accepted or status == "UpToDate"


def test_the_peers_verdict_on_the_real_quote_is_ours() -> None:
    raw = real("tdx_quote_collateral.json")
    assert peer(real("tdx_quote"), json.loads(raw), THEN) == ("UpToDate", set())


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (Policy(simulated=True, report_data=b"other"), "EV601"),
        (Policy(simulated=True, measurements={"mrtd": (b"x" * 48,)}), "EV602"),
        (Policy(simulated=True, measurements={"rtmr2": (b"x" * 48, b"y" * 48)}), "EV602"),
        (Policy(simulated=True, platforms={"tdx": {"attributes": 3}}), "EV503"),
        (Policy(simulated=True, platforms={"tdx": {"attributes-must": ("perfmon",)}}), "EV503"),
        (Policy(simulated=True, platforms={"tdx": {"attributes-must-not": ("sept-ve-disable",)}}), "EV503"),
        (Policy(simulated=True, platforms={"tdx": {"xfam": 3}}), "EV503"),
        (Policy(simulated=True, platforms={"tdx": {"mrowner": bytes(48)}}), "EV604"),
        (Policy(simulated=True, platforms={"tdx": {"mrservicetd": bytes(48)}}), "EV604"),
        (Policy(simulated=True, tcb_statuses=("OutOfDate",)), "EV401"),
        (Policy(simulated=True, minimum_tcb={"evaluation-number": 18}), "EV302"),
    ],
)
def test_each_question_of_a_policy_can_be_failed_alone(
    quote: bytes, documents: tuple[bytes, ...], policy: Policy, code: str
) -> None:
    assert failed(verify(quote, policy, Collateral(documents), NOW)) == {code}


@pytest.mark.parametrize(
    ("attributes", "codes"),
    [(1 << 28 | 1, {"EV501"}), (1 << 28 | 1 << 29, {"EV502"}), (1 << 28 | 1 << 30, set())],
)
def test_debug_and_migration_are_refused_unless_they_are_allowed(
    identity: Identity, documents: tuple[bytes, ...], attributes: int, codes: set[str]
) -> None:
    data = made(identity, attributes=attributes)
    assert failed(verify(data, TRUSTING, Collateral(documents), NOW)) == codes
    allowing = replace(TRUSTING, debug=True, migration=True)
    assert verify(data, allowing, Collateral(documents), NOW).accepted


def changed_table(
    documents: tuple[bytes, ...], identity: Identity, name: str, change: Any
) -> tuple[bytes, ...]:
    """Return the documents with a table of Intel's changed and signed again."""
    from sequester.simulator.tdx_quote import signature

    key = identity.curve_key("tdx-tcb-signing", "secp256r1")
    found = []
    for document in documents:
        if document.startswith(b'{"%s"' % name.encode()):
            told = json.loads(document)[name]
            change(told)
            text = json.dumps(told).encode()
            document = b'{"%s":%s,"signature":"%s"}' % (
                name.encode(),
                text,
                signature(key, text).hex().encode(),
            )
        found.append(document)
    return tuple(found)


def _status(told: Any, status: str) -> None:
    told["tcbLevels"][0]["tcbStatus"] = status


def _module(told: Any, **changes: Any) -> None:
    told["tdxModuleIdentities"][0].update(changes)


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("tcbInfo", lambda told: _status(told, "OutOfDate"), "EV401"),
        ("tcbInfo", lambda told: _status(told, "Revoked"), "EV401"),
        ("tcbInfo", lambda told: _status(told, "SWHardeningNeeded"), "EV401"),
        ("tcbInfo", lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn=12), "EV401"),
        ("tcbInfo", lambda told: told["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][0].update(svn=9), "EV401"),
        ("tcbInfo", lambda told: told["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][2].update(svn=9), "EV401"),
        ("tcbInfo", lambda told: _module(told, id="TDX_03"), "EV401"),
        ("tcbInfo", lambda told: _module(told, mrsigner="11" * 48), "EV401"),
        (
            "tcbInfo",
            lambda told: told["tdxModuleIdentities"][0]["tcbLevels"][0]["tcb"].update(isvsvn=6),
            "EV401",
        ),
        ("tcbInfo", lambda told: told.update(fmspc="000000000000"), "EV204"),
        ("tcbInfo", lambda told: told.update(nextUpdate="2026-11-27T11:00:00Z"), "EV302"),
        ("tcbInfo", lambda told: told.update(issueDate="2026-11-28T00:00:00Z"), "EV302"),
        ("tcbInfo", lambda told: told.update(version=2), "EV302"),
        ("enclaveIdentity", lambda told: told.update(mrsigner="11" * 32), "EV205"),
        ("enclaveIdentity", lambda told: told.update(isvprodid=1), "EV205"),
        ("enclaveIdentity", lambda told: told.update(attributes="FF" * 16), "EV205"),
        ("enclaveIdentity", lambda told: told.update(miscselect="01000000"), "EV205"),
        ("enclaveIdentity", lambda told: told["tcbLevels"][0]["tcb"].update(isvsvn=5), "EV205"),
        ("enclaveIdentity", lambda told: _status(told, "OutOfDate"), "EV401"),
        ("enclaveIdentity", lambda told: told.update(id="QE"), "EV302"),
    ],
)
def test_what_intels_tables_say_decides(
    quote: bytes, documents: tuple[bytes, ...], identity: Identity, name: str, change: Any, code: str
) -> None:
    changed = changed_table(documents, identity, name, change)
    appraisal = verify(quote, TRUSTING, Collateral(changed), NOW)
    assert failed(appraisal) == {code}


def test_components_that_the_modules_own_table_covers_do_not_count(
    quote: bytes, documents: tuple[bytes, ...], identity: Identity
) -> None:
    def change(told: Any) -> None:
        told["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][0]["svn"] = 200

    changed = changed_table(documents, identity, "tcbInfo", change)
    assert verify(quote, TRUSTING, Collateral(changed), NOW).accepted


def test_advisories_of_a_lower_level_are_accepted_by_name(
    quote: bytes, documents: tuple[bytes, ...], identity: Identity
) -> None:
    def change(told: Any) -> None:
        told["tcbLevels"][0].update(tcbStatus="SWHardeningNeeded", advisoryIDs=["INTEL-SA-1", "INTEL-SA-2"])

    collateral = Collateral(changed_table(documents, identity, "tcbInfo", change))
    lower = replace(TRUSTING, tcb_statuses=("UpToDate", "SWHardeningNeeded"))
    assert failed(verify(quote, lower, collateral, NOW)) == {"EV402"}
    assert failed(verify(quote, replace(lower, advisories=("INTEL-SA-1",)), collateral, NOW)) == {"EV402"}
    both = replace(lower, advisories=("INTEL-SA-1", "INTEL-SA-2"))
    assert verify(quote, both, collateral, NOW).accepted


def test_a_table_that_somebody_else_signed_counts_for_nothing(
    quote: bytes, documents: tuple[bytes, ...], identity: Identity
) -> None:
    forged = tuple(document.replace(b'"UpToDate"', b'"UpToDate" ') for document in documents)
    assert failed(verify(quote, TRUSTING, Collateral(forged), NOW)) == {"EV205"}


@given(st.binary(max_size=700))
def test_any_bytes_are_a_quote_or_one_error(data: bytes) -> None:
    with pytest.raises(InputError):
        parse(data, "quote")
    tdx_quote.recognises(data)


@given(st.data())
def test_a_real_quote_that_lies_about_lengths_is_one_error_or_refused(data: st.DataObject) -> None:
    quote = bytearray(real("tdx_quote"))
    at = data.draw(st.sampled_from([0, 2, 4, 632, 636 + 128, 636 + 130, 636 + 134 + 448]))
    quote[at : at + 2] = data.draw(st.binary(min_size=2, max_size=2))
    cut = data.draw(st.integers(0, len(quote)))
    for changed in (bytes(quote), bytes(quote[:cut])):
        with contextlib.suppress(InputError):
            assert not verify(changed, Policy(), Collateral(), THEN).accepted


@pytest.mark.parametrize(
    "document",
    [
        b'{"tcbInfo":' + b"[" * 100_000,
        b'{"tcbInfo":{}}',
        b'{"tcbInfo":{},"signature":"' + b"00" * 64 + b'"}',
        b'{"tcbInfo":{"id":"TDX","version":3,"tcbLevels":['
        + b"{}," * 500
        + b'{}]},"signature":"'
        + b"0" * 128
        + b'"}',
        b'{"tcb_info":7,"tcb_info_signature":"","qe_identity":"","qe_identity_signature":""}',
        b'{"enclaveIdentity":{"id":"TD_QE","version":2,"issueDate":1e400},"signature":"' + b"0" * 128 + b'"}',
        b"\x30\x84\xff\xff\xff\xff",
    ],
)
def test_hostile_collateral_is_passed_over(
    quote: bytes, documents: tuple[bytes, ...], document: bytes
) -> None:
    assert verify(quote, TRUSTING, Collateral((document, *documents)), NOW).accepted
    if document.startswith((b'{"tcbInfo', b'{"enclave')):
        with pytest.raises(tables.TableError):
            tables.read(document)


def test_an_sgx_quote_is_told_apart() -> None:
    with pytest.raises(InputError, match="SGX enclave"):
        parse(b"\3\0\2\0" + bytes(44) + bytes(600), "quote")


@pytest.mark.parametrize("damage", range(36))
def test_a_damaged_sgx_extension_is_one_error(identity: Identity, damage: int) -> None:
    from cryptography import x509

    chain = quoting_enclave(identity, NOW).chain
    leaf = x509.load_pem_x509_certificates(chain)[0]
    good = platform(leaf)
    assert good.pcesvn == 11
    extension = next(each for each in leaf.extensions if each.oid.dotted_string.endswith("113741.1.13.1"))
    value = bytearray(extension.value.value)
    value[46 + damage * 9] ^= 0xFF  # behind the PPID, which is not looked at

    class Fake:
        class Extensions:
            @staticmethod
            def get_extension_for_oid(oid: x509.ObjectIdentifier) -> Any:
                told = x509.UnrecognizedExtension(oid, bytes(value))
                return x509.Extension(oid, False, told)

        extensions = Extensions()

    with contextlib.suppress(ValueError):
        assert platform(Fake()) != good  # type: ignore[arg-type]


def test_a_guests_plan_asks_for_its_registers_and_owners(tmp_path: Path) -> None:
    from simulated import plan_of, platform_of
    from tdvf_images import tdvf

    from sequester.verifying import policy_of_plan

    (tmp_path / "tdvf.fd").write_bytes(tdvf())
    command = f"qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 1G -bios {tmp_path}/tdvf.fd"
    guest = platform_of(command, "tdx", tmp_path / "identity")
    guest.begin()
    files = guest.evidence(b"nonce")
    quote, *documents = files.values()
    policy = policy_of_plan(plan_of(command, "tdx"), replace(TRUSTING, report_data=b"nonce"))
    assert "mrtd" in policy.measurements
    assert verify(quote, policy, Collateral(tuple(documents)), NOW).accepted
    other = plan_of(
        f"{command} -object tdx-guest,id=t,mrowner={'/' * 64} -M confidential-guest-support=t", "tdx"
    )
    assert failed(verify(quote, policy_of_plan(other, TRUSTING), Collateral(tuple(documents)), NOW)) == {
        "EV604"
    }
