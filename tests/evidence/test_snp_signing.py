"""The key that signed a report is the vendor's: chains, lists, and what certificates are bound to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from snp_made import NOW, OFFSETS, Vendor, common, der, ia5, integer, issued, report, rsa_key, tcb_value

from sequester.evidence.appraisal import Appraisal, Check
from sequester.evidence.certificates import fingerprint
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.snp import signing
from sequester.verifying import verify

_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)


@pytest.fixture(params=["Milan", "Genoa", "Turin"])
def vendor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    """A vendor whose root is pinned for the length of a test."""
    made = Vendor(request.param, simulated=False)
    monkeypatch.setattr(signing, "_PINS", frozenset({fingerprint(made.ark)}))
    return made


def appraise(
    vendor: Vendor,
    *documents: bytes,
    policy: Policy = Policy(),  # noqa: B008
    now: datetime = NOW,
    data: bytes = b"",
    lookup: Any = None,
) -> Appraisal:
    """Verify a report of a vendor's chip with documents, by default all of them and a good list."""
    given = documents or (*vendor.documents(), vendor.revocations())
    collateral = Collateral(given, lookup) if lookup else Collateral(given)
    return verify(data or report(vendor), policy, collateral, now)


def failed(appraisal: Appraisal) -> list[str]:
    """The codes of the checks that failed."""
    return [check.code for check in appraisal.checks if check.failed]


def the(appraisal: Appraisal, code: str) -> Check:
    """The first check with a code."""
    return next(check for check in appraisal.checks if check.code == code)


def others(vendor: Vendor, leaf: Any) -> tuple[bytes, ...]:
    """All documents with another certificate of the chip."""
    return der(leaf), der(vendor.ask), der(vendor.ark), vendor.revocations()


def test_a_good_chain_is_accepted_without_a_policy(vendor: Vendor) -> None:
    found = appraise(vendor)
    assert failed(found) == []
    assert found.accepted
    assert not found.simulated
    assert "ARK" in the(found, "EV301").found


def test_a_providers_key_is_accepted(vendor: Vendor) -> None:
    data = report(vendor, key=vendor.vlek_key, flags=1 << 2, chip_id=bytes(64))
    found = appraise(vendor, data=data)
    assert failed(found) == []
    assert "cloud.example" in the(found, "EV201").found


def test_the_chips_key_does_not_stand_in_for_the_providers(vendor: Vendor) -> None:
    assert "EV201" in failed(appraise(vendor, data=report(vendor, flags=1 << 2)))
    assert "EV201" in failed(appraise(vendor, data=report(vendor, key=vendor.vlek_key)))


def test_a_root_that_is_not_pinned_is_refused(vendor: Vendor) -> None:
    impostor = issued(vendor.ark_name, rsa_key("impostor"), vendor.ark_name, rsa_key("impostor"), authority=1)
    middle = issued(vendor.ask_name, rsa_key("impostor 2"), vendor.ark_name, rsa_key("impostor"), authority=0)
    leaf = issued(
        common("SEV-VCEK"), vendor.vcek_key, vendor.ask_name, rsa_key("impostor 2"),
        extensions={e.oid.dotted_string: e.value.value for e in vendor.vcek().extensions},  # type: ignore[attr-defined]
    )  # fmt: skip
    found = appraise(vendor, der(leaf), der(middle), der(impostor), vendor.revocations())
    assert failed(found) == ["EV202"]
    assert "no root that is trusted" in the(found, "EV202").found


def test_an_intermediate_certificate_that_is_missing_is_named(vendor: Vendor) -> None:
    found = appraise(vendor, der(vendor.vcek()), der(vendor.ark), vendor.revocations())
    assert failed(found) == ["EV202"]
    assert f"'SEV-{vendor.line}'" in the(found, "EV202").found


def test_the_chain_is_looked_up_where_amd_publishes_it(vendor: Vendor) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    asked = []
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (vendor.ask, vendor.ark))

    def lookup(address: str) -> bytes | None:
        asked.append(address)
        if address.endswith("/cert_chain"):
            return chain
        return vendor.revocations() if address.endswith("/crl") else der(vendor.vcek())

    found = verify(report(vendor), Policy(), Collateral((), lookup), NOW)
    assert failed(found) == []
    site = f"https://kdsintf.amd.com/vcek/v1/{vendor.line}"
    assert asked[0].startswith(f"{site}/{vendor.chip_id[: 8 if vendor.line == 'Turin' else 64].hex()}?")
    assert f"snpSPL={vendor.tcb['snp']:02d}" in asked[0]
    assert ("fmcSPL=" in asked[0]) == (vendor.line == "Turin")
    assert asked[1:] == [f"{site}/cert_chain", f"{site}/crl"]


def test_an_authority_that_is_none_is_refused(vendor: Vendor) -> None:
    middle = issued(vendor.ask_name, vendor.ask_key, vendor.ark_name, vendor.ark_key)
    found = appraise(vendor, der(vendor.vcek()), der(middle), der(vendor.ark), vendor.revocations())
    assert failed(found) == ["EV202"]
    assert "basic constraints" in the(found, "EV202").found


def test_more_authorities_than_one_allows_are_refused(vendor: Vendor) -> None:
    name, key = common("SEV-between"), rsa_key("between")
    between = issued(name, key, vendor.ask_name, vendor.ask_key, authority=0)
    extensions = {each.oid.dotted_string: each.value.value for each in vendor.vcek().extensions}  # type: ignore[attr-defined]
    leaf = issued(common("SEV-VCEK"), vendor.vcek_key, name, key, extensions=extensions)
    found = appraise(vendor, der(between), *others(vendor, leaf))
    assert failed(found) == ["EV202"]
    assert "at most 0 CAs may follow it" in the(found, "EV202").found


def test_a_root_that_issues_chips_itself_is_refused(vendor: Vendor) -> None:
    extensions = {each.oid.dotted_string: each.value.value for each in vendor.vcek().extensions}  # type: ignore[attr-defined]
    leaf = issued(common("SEV-VCEK"), vendor.vcek_key, vendor.ark_name, vendor.ark_key, extensions=extensions)
    assert failed(appraise(vendor, *others(vendor, leaf))) == ["EV202"]


def test_a_providers_intermediate_key_does_not_issue_chips(vendor: Vendor) -> None:
    extensions = {each.oid.dotted_string: each.value.value for each in vendor.vcek().extensions}  # type: ignore[attr-defined]
    leaf = issued(
        common("SEV-VCEK"), vendor.vcek_key, vendor.asvk_name, vendor.asvk_key, extensions=extensions
    )
    assert failed(appraise(vendor, der(vendor.asvk), *others(vendor, leaf))) == ["EV202"]


def test_certificates_of_another_time_are_refused(vendor: Vendor) -> None:
    late = vendor.vcek(end=NOW - timedelta(seconds=1))
    early = vendor.vcek(begin=NOW + timedelta(seconds=1))
    for leaf in (late, early):
        assert failed(appraise(vendor, *others(vendor, leaf))) == ["EV203"]
    assert appraise(vendor, *others(vendor, vendor.vcek(end=NOW + timedelta(seconds=1)))).accepted


def test_a_revoked_intermediate_key_is_refused_whatever_the_policy_waives(vendor: Vendor) -> None:
    given = (*vendor.documents(), vendor.revocations(2))
    assert failed(appraise(vendor, *given)) == ["EV301"]
    assert failed(appraise(vendor, *given, policy=Policy(revocation=False))) == ["EV301"]
    old = vendor.revocations(2, begin=NOW - timedelta(days=90), end=NOW - timedelta(days=60))
    assert failed(appraise(vendor, *vendor.documents(), old, policy=Policy(revocation=False))) == ["EV301"]


def test_a_revocation_of_another_certificate_does_not_matter(vendor: Vendor) -> None:
    assert appraise(vendor, *vendor.documents(), vendor.revocations(3, 99)).accepted


def test_a_list_that_is_missing_forged_or_old_is_refused_and_can_be_waived(vendor: Vendor) -> None:
    forged = vendor.revocations(key=rsa_key("impostor"))
    old = vendor.revocations(begin=NOW - timedelta(days=9), end=NOW - timedelta(seconds=1))
    future = vendor.revocations(begin=NOW + timedelta(days=1), end=NOW + timedelta(days=9))
    for documents, code in (((), "EV301"), ((forged,), "EV301"), ((old,), "EV302"), ((future,), "EV302")):
        given = (*vendor.documents(), *documents)
        assert failed(appraise(vendor, *given)) == [code]
        assert appraise(vendor, *given, policy=Policy(revocation=False)).accepted


def test_a_current_list_is_looked_up_where_there_is_an_old_one(vendor: Vendor) -> None:
    old = vendor.revocations(begin=NOW - timedelta(days=9), end=NOW - timedelta(days=1))
    new = vendor.revocations()
    found = appraise(
        vendor, *vendor.documents(), old, lookup=lambda address: new if address.endswith("/crl") else None
    )
    assert failed(found) == []


def test_a_verdict_is_not_kept_beyond_the_list_that_it_rests_on(vendor: Vendor) -> None:
    collateral = Collateral((*vendor.documents(), vendor.revocations()))
    data = report(vendor)
    assert verify(data, Policy(), collateral, NOW).accepted
    late = NOW + timedelta(days=6)
    assert failed(verify(data, Policy(), collateral, late)) == ["EV302"]
    assert verify(data, Policy(), collateral, NOW).accepted
    before = NOW - timedelta(days=6)
    assert failed(verify(data, Policy(), collateral, before)) == ["EV302"]


def test_a_good_verdict_is_not_carried_over_to_a_stricter_policy(vendor: Vendor) -> None:
    collateral = Collateral(vendor.documents())
    data = report(vendor)
    assert verify(data, Policy(revocation=False), collateral, NOW).accepted
    assert failed(verify(data, Policy(), collateral, NOW)) == ["EV301"]


@pytest.mark.parametrize(
    "changes",
    [
        {"3.3": integer(200)},
        {"3.8": integer(1)},
        {"3.1": integer(99)},
        {"4": bytes(64)},
        {"2": ia5("Rome-B0")},
        {"2": None},
    ],
)
def test_a_certificate_for_something_else_is_refused(
    vendor: Vendor, changes: dict[str, bytes | None]
) -> None:
    other = Vendor(vendor.line, simulated=False, changes=changes)
    assert "EV204" in failed(appraise(vendor, *others(vendor, other.vcek())))


@pytest.mark.parametrize(
    "changes",
    [
        {"3.3": None},
        {"3.3": b"\x02\x01\xff"},
        {"3.3": b"\x02\x02\x00\x05"},
        {"3.3": b"\x02\x02\x01\x00"},
        {"3.3": b"\x02\x81\x01\x05"},
        {"3.3": b"\x04\x01\x05"},
        {"3.3": b"\x02\x01\x05\x00"},
        {"3.3": b""},
        {"4": None},
        {"4": bytes(63)},
        {"4": b"\x04\x40" + bytes(63)},
        {"5": ia5("CN=somebody")},
        {"2": ia5("Genoa\n")},
        {"2": b"\x0c\x05Genoa"},
    ],
)
def test_a_certificate_whose_extensions_are_wrong_is_not_used(
    vendor: Vendor, changes: dict[str, bytes | None]
) -> None:
    other = Vendor(vendor.line, simulated=False, changes=changes)
    found = appraise(vendor, *others(vendor, other.vcek()))
    assert failed(found) == ["EV201"]
    assert "not read" in the(found, "EV201").found


def test_a_key_on_another_curve_is_not_used(vendor: Vendor) -> None:
    for curve in (ec.SECP256R1(), ec.SECP521R1(), ec.BrainpoolP384R1()):
        leaf = vendor.vcek(key=ec.generate_private_key(curve))
        assert failed(appraise(vendor, *others(vendor, leaf))) == ["EV201"]


def test_a_chip_id_as_an_octet_string_is_the_same(vendor: Vendor) -> None:
    chip = vendor.chip_id[:8] if vendor.line == "Turin" else vendor.chip_id
    other = Vendor(vendor.line, simulated=False, changes={"4": bytes((4, len(chip))) + chip})
    assert appraise(vendor, *others(vendor, other.vcek())).accepted


def test_the_certificate_of_the_tcb_is_chosen_among_many(vendor: Vendor) -> None:
    older = Vendor(vendor.line, simulated=False, tcb=vendor.tcb | {"microcode": 7})
    newer = Vendor(vendor.line, simulated=False, tcb=vendor.tcb | {"microcode": 250})
    expired = vendor.vcek(begin=NOW - timedelta(days=99), end=NOW - timedelta(days=9))
    given = [der(each) for each in (older.vcek(), expired, newer.vcek(), vendor.vcek())]
    assert appraise(vendor, *given, *vendor.documents()[2:], vendor.revocations()).accepted


def test_a_masked_chip_id_is_accepted_with_the_key_that_signed(vendor: Vendor) -> None:
    found = appraise(vendor, data=report(vendor, chip_id=bytes(64)))
    assert failed(found) == []
    assert "masked" in the(found, "EV204").found


def test_of_several_keys_that_fit_it_is_the_one_that_signed(vendor: Vendor) -> None:
    others = [der(vendor.vcek(key=ec.generate_private_key(ec.SECP384R1()), serial=n)) for n in range(20, 29)]
    given = (*others, *vendor.documents(), vendor.revocations())
    assert appraise(vendor, *given, data=report(vendor, chip_id=bytes(64))).accepted
    assert appraise(vendor, *given).accepted
    assert failed(appraise(vendor, *others, *given[-5:])) == ["EV201"]


def test_a_report_that_is_not_signed_is_refused(vendor: Vendor) -> None:
    assert failed(appraise(vendor, data=report(vendor, flags=7 << 2 | 2))) == ["EV201"]
    assert failed(appraise(vendor, data=report(vendor, algorithm=2))) == ["EV201"]


@pytest.mark.parametrize("value", [0, _ORDER, _ORDER + 1, (1 << 384) - 1, (1 << 576) - 1])
@pytest.mark.parametrize("offset", [0x2A0, 0x2E8])
def test_numbers_that_no_signature_has_are_refused(vendor: Vendor, offset: int, value: int) -> None:
    data = bytearray(report(vendor))
    data[offset : offset + 72] = value.to_bytes(72, "little")
    assert failed(appraise(vendor, data=bytes(data))) == ["EV201"]


def test_the_same_signature_the_other_way_round_is_still_one(vendor: Vendor) -> None:
    """(R, n - S) verifies as (R, S) does in ECDSA; what was signed is the same."""
    data = bytearray(report(vendor))
    s = int.from_bytes(data[0x2E8:0x330], "little")
    data[0x2E8:0x330] = (_ORDER - s).to_bytes(72, "little")
    assert appraise(vendor, data=bytes(data)).accepted


def test_a_processor_of_no_known_line_is_refused() -> None:
    vendor = Vendor("Genoa")
    data = report(vendor, family=0x1A, model=0x50)
    found = verify(data, Policy(simulated=True), Collateral(vendor.documents()), NOW)
    assert failed(found) == ["EV204"]


def test_a_processor_of_another_line_than_the_certificates_is_refused(vendor: Vendor) -> None:
    line = "Milan" if vendor.line != "Milan" else "Genoa"
    family, model = {"Milan": (0x19, 1), "Genoa": (0x19, 0xA0)}[line]
    found = appraise(vendor, data=report(vendor, family=family, model=model))
    assert failed(found) == ["EV204"] if vendor.line != "Turin" else "EV204" in failed(found)


def test_simulated_evidence_is_refused_unless_the_policy_trusts_it() -> None:
    vendor = Vendor("Turin")
    collateral = Collateral(vendor.documents())
    refused = verify(report(vendor), Policy(), collateral, NOW)
    assert failed(refused) == ["EV206"]
    assert refused.simulated
    trusted = verify(report(vendor), Policy(simulated=True), collateral, NOW)
    assert trusted.accepted
    assert trusted.simulated


def test_a_vendors_root_is_not_simulated_because_a_name_below_it_says_so(vendor: Vendor) -> None:
    middle = issued(
        common("SIMULATED SEV"), vendor.ask_key, common("SIMULATED SEV"), vendor.ask_key, authority=0
    )
    assert not appraise(vendor, *vendor.documents()[:1], der(middle), der(vendor.ark)).accepted


def test_offsets_of_the_tests_are_inside_the_signed_part() -> None:
    assert all(offset < 0x2A0 for offset, _ in OFFSETS.values())
    assert tcb_value("Turin", {"fmc": 1}) == 1
