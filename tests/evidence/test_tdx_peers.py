"""TDX levels beside another verifier, over made-up tables and quotes of every body; what real ones and peers say."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_data import DATA
from tdx_made import Table, Vendor

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.tdx.levels import RELAUNCH, RELAUNCH_CONFIGURATION, enclave_level, evaluated
from sequester.evidence.tdx.quote import Quote, parse
from sequester.evidence.tdx.signing import endorser
from sequester.evidence.tdx.tables import STATUSES, QeIdentity, TcbInfo, read
from sequester.verifying import shown, verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ANY = Policy(simulated=True, tcb_statuses=(*STATUSES, RELAUNCH, RELAUNCH_CONFIGURATION))
FOLDER = DATA / "tdx"
SVNS = st.integers(0, 3)
STATUS = st.sampled_from((*STATUSES[:-1], *STATUSES))
OF_PARTS = st.sampled_from((*["UpToDate", "OutOfDate"] * 3, "Revoked"))
ADVISORIES = st.lists(
    st.sampled_from([f"INTEL-SA-0000{number}" for number in range(4)]), max_size=2, unique=True
)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.mktemp("vendor"), NOW)


def unchanged(_info: Table, _identity: Table) -> None:
    """Change nothing."""


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def found(appraisal: Appraisal, criterion: Any) -> str:
    return next(check.found for check in appraisal.checks if check.criterion is criterion)


@st.composite
def levels(draw: st.DrawFn, svns: Any, lowest: Table) -> list[Table]:
    """Return some levels of distinct security versions; in most cases with one that everything reaches."""
    told: dict[Any, Table] = {}
    asked = [draw(svns) for _ in range(draw(st.integers(1, 3)))]
    for tcb in asked + [lowest] * draw(st.sampled_from((0, 1, 1, 1))):
        told[json.dumps(tcb)] = {
            "tcb": tcb,
            "tcbDate": "2026-01-01T00:00:00Z",
            "tcbStatus": draw(STATUS if "pcesvn" in tcb else OF_PARTS),
            "advisoryIDs": draw(ADVISORIES),
        }
    return list(told.values())


def tcb(sgx: int, pcesvn: int, *tdx: int) -> Table:
    return {
        "sgxtcbcomponents": [{"svn": svn} for svn in (sgx, *([0] * 15))],
        "pcesvn": pcesvn,
        "tdxtcbcomponents": [{"svn": svn} for svn in (*tdx, *([0] * 13))],
    }


def by_isvsvn(told: list[Table]) -> list[Table]:
    return sorted(told, key=lambda level: -int(level["tcb"]["isvsvn"]))


OF_PLATFORM = levels(
    st.builds(tcb, st.integers(0, 4), st.integers(9, 12), SVNS, st.integers(0, 2), SVNS), tcb(0, 0, 0, 0, 0)
)
OF_MODULE = levels(st.fixed_dictionaries({"isvsvn": SVNS}), {"isvsvn": 0})
OF_ENCLAVE = levels(st.fixed_dictionaries({"isvsvn": st.integers(2, 5)}), {"isvsvn": 1})
MODULE = st.sampled_from((0, 1, 1, 1, 2))


@given(
    platform=OF_PLATFORM,
    modules=st.tuples(OF_MODULE, OF_MODULE),
    enclave=OF_ENCLAVE,
    body=st.sampled_from((0, 2, 3, 3, 4)),
    launch=st.tuples(SVNS, MODULE, SVNS),
    risen=st.tuples(SVNS, st.sampled_from((0, 0, 0, 1)), st.integers(0, 1)),
)
def test_another_verifier_finds_the_same_level_in_any_table(
    vendor: Vendor,
    platform: list[Table],
    modules: tuple[list[Table], list[Table]],
    enclave: list[Table],
    body: int,
    launch: tuple[int, ...],
    risen: tuple[int, ...],
) -> None:
    dcap_qvl = pytest.importorskip("dcap_qvl")

    def change(info: Table, identity: Table) -> None:
        (module,) = info["tdxModuleIdentities"]
        info["tcbLevels"] = platform
        info["tdxModuleIdentities"] = [
            {**module, "id": f"TDX_0{number}", "tcbLevels": by_isvsvn(told)}
            for number, told in enumerate(modules, 1)
        ]
        identity["tcbLevels"] = by_isvsvn(enclave)

    current = bytes(had + more for had, more in zip(launch, risen, strict=True))
    quote = vendor.quote(body, current.ljust(16, b"\0"), tee_tcb_svn=bytes(launch))
    tables = vendor.tables(change)
    ours = verify(quote, ANY, Collateral(vendor.documents(tables)), NOW)
    theirs = None
    with contextlib.suppress(ValueError):
        theirs = dcap_qvl.verify_with_root_ca(
            quote, vendor.peers_collateral(tables), vendor.root(), int(NOW.timestamp())
        )
    if theirs is None:
        assert failed(ours) & {"EV401", "EV205"}
        return
    assert failed(ours) <= {"EV402"}
    assert found(ours, criteria.TCB).split(" ")[0] == theirs.status
    assert all(name in found(ours, criteria.ADVISORIES) for name in theirs.advisory_ids)


def level(status: str, svn: int) -> Table:
    return {"tcb": {"isvsvn": svn}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}


@pytest.mark.parametrize(
    ("platform", "launch", "current", "status"),
    [
        ("UpToDate", 5, 5, "UpToDate"),
        ("UpToDate", 4, 5, RELAUNCH),
        ("SWHardeningNeeded", 4, 5, RELAUNCH),
        ("ConfigurationNeeded", 4, 5, RELAUNCH_CONFIGURATION),
        ("ConfigurationAndSWHardeningNeeded", 4, 5, RELAUNCH_CONFIGURATION),
        ("OutOfDate", 4, 5, "OutOfDate"),
        ("UpToDate", 4, 4, "OutOfDate"),
        ("ConfigurationNeeded", 4, 4, "OutOfDateConfigurationNeeded"),
        ("Revoked", 4, 5, "Revoked"),
        ("UpToDate", 3, 5, "Revoked"),
    ],
)
@pytest.mark.parametrize("body", [3, 4])
def test_a_module_updated_under_a_running_guest_asks_for_a_relaunch(
    vendor: Vendor, body: int, platform: str, launch: int, current: int, status: str
) -> None:
    def change(info: Table, _identity: Table) -> None:
        info["tcbLevels"][0]["tcbStatus"] = platform
        told = [level("UpToDate", 5), level("OutOfDate", 4), level("Revoked", 3)]
        info["tdxModuleIdentities"][0]["tcbLevels"] = told

    quote = vendor.quote(body, bytes((current, 1, 2)), tee_tcb_svn=bytes((launch, 1, 2)))
    collateral = Collateral(vendor.documents(vendor.tables(change)))
    appraisal = verify(quote, ANY, collateral, NOW)
    assert found(appraisal, criteria.TCB).startswith(f"{status} (")
    assert failed(appraisal) == ({"EV401"} if status == "Revoked" else set())
    strict = verify(quote, Policy(simulated=True), collateral, NOW)
    assert failed(strict) == (set() if status == "UpToDate" else {"EV401"})


def test_a_present_module_that_intel_does_not_know_is_refused(vendor: Vendor) -> None:
    quote = vendor.quote(3, bytes((5, 9, 2)), tee_tcb_svn=bytes((5, 1, 2)))
    appraisal = verify(quote, ANY, Collateral(vendor.documents(vendor.tables(unchanged))), NOW)
    assert failed(appraisal) == {"EV401"}


@pytest.mark.parametrize("part", ["module", "enclave"])
@pytest.mark.parametrize("status", STATUSES[1:])
def test_whatever_is_not_up_to_date_makes_a_platform_worse(vendor: Vendor, part: str, status: str) -> None:
    def change(info: Table, identity: Table) -> None:
        told = info["tdxModuleIdentities"][0] if part == "module" else identity
        told["tcbLevels"][0]["tcbStatus"] = status

    collateral = Collateral(vendor.documents(vendor.tables(change)))
    appraisal = verify(vendor.quote(), Policy(simulated=True), collateral, NOW)
    assert failed(appraisal) == {"EV401"}
    worse = "Revoked" if status == "Revoked" else "OutOfDate"
    assert found(appraisal, criteria.TCB).startswith(f"{worse} (")


def test_a_refusal_names_what_the_platform_lacks(vendor: Vendor) -> None:
    def change(info: Table, identity: Table) -> None:
        had = info["tcbLevels"][0]["tcb"]
        had["pcesvn"] += 1
        had["sgxtcbcomponents"][0] = {"svn": 9, "category": "BIOS", "type": "Early Microcode Update"}
        had["sgxtcbcomponents"][1]["svn"] = 8
        had["tdxtcbcomponents"][0]["svn"] = 200
        had["tdxtcbcomponents"][2]["svn"] = 7
        info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcb"]["isvsvn"] = 6
        identity["tcbLevels"].insert(0, level("UpToDate", 5))

    collateral = Collateral(vendor.documents(vendor.tables(change)))
    appraisal = verify(vendor.quote(), Policy(simulated=True), collateral, NOW)
    (refused,) = [check for check in appraisal.checks if check.failed]
    assert refused.criterion is criteria.TCB
    assert refused.expected.split("asks for ")[1].split("; ") == [
        "Early Microcode Update (BIOS): 9, here 3",
        "SGX component 2: 8, here 3",
        "TDX component 3: 7, here 2",
        "PCE: 12, here 11",
        "TDX module: SVN 6, here 5",
        "quoting enclave: SVN 5, here 4",
    ]


def test_the_order_of_levels_is_no_matter(vendor: Vendor) -> None:
    def change(info: Table, _identity: Table) -> None:
        best = info["tcbLevels"][0]
        lower = json.loads(json.dumps(best))
        lower["tcb"]["pcesvn"] -= 1
        lower["tcbStatus"] = "OutOfDate"
        info["tcbLevels"] = [lower, best]

    collateral = Collateral(vendor.documents(vendor.tables(change)))
    assert verify(vendor.quote(), Policy(simulated=True), collateral, NOW).accepted


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seamattributes": 1}, "EV401"),
        ({"seamattributes": 1 << 40}, "EV401"),
        ({"mrsignerseam": b"\1"}, "EV401"),
        ({"tdattributes": 1 << 28 | 1 << 4}, "EV501"),
        ({"tdattributes": 1 << 28 | 1 << 5}, "EV501"),
        ({"tdattributes": 1 << 28 | 1 << 7}, "EV501"),
    ],
)
def test_a_module_or_guest_that_is_open_to_its_host_is_refused(
    vendor: Vendor, changes: dict[str, Any], code: str
) -> None:
    def change(info: Table, _identity: Table) -> None:
        for told in (info["tdxModule"], *info["tdxModuleIdentities"]):
            told["attributesMask"] = "FFFFFFFF" + "00000000"

    collateral = Collateral(vendor.documents(vendor.tables(change)))
    assert failed(verify(vendor.quote(**changes), Policy(simulated=True), collateral, NOW)) == {code}


def test_a_guest_whose_accesses_its_host_can_make_fault_is_told_of(vendor: Vendor) -> None:
    collateral = Collateral(vendor.documents(vendor.tables(unchanged)))
    appraisal = verify(vendor.quote(tdattributes=0), Policy(simulated=True), collateral, NOW)
    assert appraisal.accepted
    assert "sept-ve-disable" in found(appraisal, criteria.GUEST_POLICY)
    asking = Policy(simulated=True, platforms={"tdx": {"attributes-must": ("sept-ve-disable",)}})
    assert failed(verify(vendor.quote(tdattributes=0), asking, collateral, NOW)) == {"EV503"}


@pytest.mark.parametrize(("body", "fields"), [(2, 15), (3, 17), (4, 27)])
def test_every_body_of_version_5_is_shown_without_loss(vendor: Vendor, body: int, fields: int) -> None:
    quote = vendor.quote(body, bytes(range(200)))
    assert len(parse(quote, "quote").body) == fields
    assert b"".join(field.raw for field in shown(quote)[1]) == quote


def test_other_kinds_of_tcb_are_not_understood(vendor: Vendor) -> None:
    def change(info: Table, _identity: Table) -> None:
        info["tcbType"] = 1

    collateral = Collateral(vendor.documents(vendor.tables(change)))
    assert "EV302" in failed(verify(vendor.quote(), Policy(simulated=True), collateral, NOW))


def real(name: str) -> bytes:
    path = FOLDER / name
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/tdx)")
    return path.read_bytes()


def real_standing(quote: str, info: str) -> tuple[Quote, TcbInfo, str, str]:
    """Return what a real quote reaches in a real table, signatures and times apart."""
    parsed, table, identity = (
        parse(real(quote), quote),
        read(real(info)),
        read(real("sample_qeIdentity_response")),
    )
    assert isinstance(table, TcbInfo)
    assert isinstance(identity, QeIdentity)
    platform = endorser(parsed.chain).platform
    assert platform is not None
    assert (platform.fmspc, platform.pce_id) == (table.fmspc, table.pce_id)
    enclave = enclave_level(parsed, identity)
    assert not enclave.fault
    reached = evaluated(parsed.body["tee_tcb_svn"], parsed, platform, table, enclave)
    return parsed, table, reached.fault, reached.whole.status


def test_the_real_quote_of_version_4_reaches_no_level_of_its_table_as_its_makers_test_has_it() -> None:
    quote, table, fault, _ = real_standing("tdx_prod_quote_SPR_E4.dat", "sample_tcbInfo_response")
    assert "no level" in fault
    assert quote.trailing == 39
    lower = replace(table, levels=tuple(replace(each, sgx=(0,) * 16, tdx=(0,) * 16) for each in table.levels))
    platform = endorser(quote.chain).platform
    assert platform is not None
    assert (
        evaluated(quote.body["tee_tcb_svn"], quote, platform, lower, enclave_level(quote, identity())).fault
        == ""
    )


def identity() -> QeIdentity:
    table = read(real("sample_qeIdentity_response"))
    assert isinstance(table, QeIdentity)
    return table


def test_the_real_quote_of_version_5_reaches_the_best_level_of_its_table() -> None:
    _, _, fault, status = real_standing("quote_v5_sample.dat", "sample_tcbinfo_response_v5")
    assert (fault, status) == ("", "UpToDate")


@pytest.mark.parametrize("name", ["tdx_prod_quote_SPR_E4.dat", "quote_v5_sample.dat"])
def test_the_bytes_that_the_makers_change_are_found_where_they_are(name: str) -> None:
    """go-tdx-guest, verify_test.go: version, sizes, certificates, header and body, one byte each."""
    quote = real(name)
    begin = quote.index(b"-----BEGIN")
    parts = len(parse(quote, name).signed)
    lists = tuple(real(each) for each in ("pckcrl", "rootcrl.der"))
    for at, code in (
        (0, "EV101"),
        (parts, "EV101"),
        (begin + 5, "EV202"),
        (begin + 60, "EV202"),
        (0x1E, "EV201"),
        (0x4B, "EV201"),
    ):
        changed = bytearray(quote)
        changed[at] ^= 0x1F
        assert code in failed(verify(bytes(changed), Policy(), Collateral(lists), NOW)), at


@given(st.data())
def test_no_bit_of_a_real_quote_or_of_its_certificates_can_be_changed(data: st.DataObject) -> None:
    quote, held = real("tdx_quote"), Collateral((real("tdx_quote_collateral.json"),))
    end = len(quote) - parse(quote, "quote").trailing
    changed = bytearray(quote)
    bit = data.draw(st.integers(0, end * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(InputError):
        assert not verify(bytes(changed), Policy(), held, datetime(2025, 6, 20, tzinfo=UTC)).accepted


def test_how_many_bits_of_a_certificates_signature_are_unused_cannot_be_changed() -> None:
    quote, held = bytearray(real("tdx_quote")), Collateral((real("tdx_quote_collateral.json"),))
    assert quote[3865:3866] == b"A"
    quote[3865:3866] = b"E"
    assert "EV202" in failed(verify(bytes(quote), Policy(), held, datetime(2025, 6, 20, tzinfo=UTC)))


def test_what_was_looked_up_for_one_is_not_known_to_another(vendor: Vendor) -> None:
    sent = dict(zip(("tcb?", "identity", "chain"), vendor.documents(vendor.tables(unchanged)), strict=False))

    def lookup(address: str) -> bytes | None:
        kind = "chain" if address.endswith("#issuer-chain") else "tcb?" if "/tcb?" in address else "identity"
        return sent[kind]

    policy, quote = Policy(simulated=True), vendor.quote()
    assert verify(quote, policy, Collateral(lookup=lookup), NOW).accepted
    assert failed(verify(quote, policy, Collateral(), NOW)) == {"EV302"}
    assert verify(quote, policy, Collateral(lookup=lookup), NOW).accepted


def test_real_claims_are_those_that_trustee_sees() -> None:
    told = json.loads(real("parse_tdx_claims_expected.json"))
    found, _ = shown(real("trustee_tdx_quote_4.dat"))
    claims = found.kind.claims(parse(real("trustee_tdx_quote_4.dat"), ""))
    for theirs, ours in (
        ("mr_td", "mrtd"),
        ("mr_seam", "mrseam"),
        ("mr_config_id", "mrconfigid"),
        ("report_data", "reportdata"),
        ("rtmr_0", "rtmr0"),
        ("rtmr_1", "rtmr1"),
        ("tcb_svn", "tee_tcb_svn"),
        ("xfam", "xfam"),
    ):
        assert claims[ours] == told["quote"]["body"][theirs]
    attributes = {name.replace("-", "_") for name in claims["attributes"]["set"]}
    assert attributes == {"debug", "sept_ve_disable"}
    assert told["td_attributes"]["debug"]
    assert told["td_attributes"]["septve_disable"]
