"""What a policy asks of a report: each question passes where it should, fails where it should, and says where."""

from __future__ import annotations

from typing import Any

import pytest
from snp_made import NOW, TCBS, Vendor, report, tcb_value

from sequester.evidence.appraisal import Appraisal, Outcome
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.snp.demands import KEYS
from sequester.verifying import verify

GENOA = TCBS["Genoa"]
VENDOR = Vendor("Genoa")
COLLATERAL = Collateral(VENDOR.documents())
DIGEST, OTHER = b"\x11" * 48, b"\x22" * 48


def appraise(asked: dict[str, Any], own: dict[str, Any], /, **fields: Any) -> Appraisal:
    """Verify a report with some fields under a policy."""
    policy = Policy(simulated=True, platforms={"sev-snp": own}, **asked)
    return verify(report(VENDOR, **fields), policy, COLLATERAL, NOW)


def failed(appraisal: Appraisal) -> list[str]:
    """The codes of the checks that failed."""
    return [check.code for check in appraisal.checks if check.failed]


def below(**parts: int) -> int:
    """Genoa's TCB with some components other."""
    return tcb_value("Genoa", GENOA | {name.replace("_", "-"): value for name, value in parts.items()})


CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # code, policy, its own table, fields that pass, fields that fail
    ("EV501", {}, {}, {}, {"policy": 0x30000 | 1 << 19}),
    ("EV502", {}, {}, {}, {"policy": 0x30000 | 1 << 18}),
    ("EV502", {}, {}, {}, {"report_id_agent": b"\x01" * 32}),
    ("EV503", {}, {"guest-policy": 0x30000}, {}, {"policy": 0x20000}),
    ("EV503", {}, {"guest-policy-must": ("single-socket",)}, {"policy": 0x130000}, {}),
    ("EV503", {}, {"guest-policy-must-not": ("smt",)}, {"policy": 0x20000}, {}),
    ("EV503", {}, {"minimum-abi": (1, 55)}, {"policy": 0x30137}, {"policy": 0x30136}),
    ("EV403", {}, {"platform-must": ("alias-check", "ecc")}, {"platform_info": 0x24}, {"platform_info": 0x4}),
    ("EV403", {}, {"platform-must-not": ("smt",)}, {"platform_info": 0x24}, {"platform_info": 0x25}),
    ("EV403", {}, {"launch-mitigations": 3}, {"version": 5, "launch_mitigations": 7}, {"version": 5}),
    ("EV403", {}, {"current-mitigations": 1}, {"version": 5, "current_mitigations": 1}, {"version": 3}),
    ("EV401", {"minimum_tcb": {"snp": 23}}, {}, {}, {"launch_tcb": below(snp=22)}),
    ("EV401", {"minimum_tcb": {"snp": 23}}, {}, {}, {"committed_tcb": below(snp=22)}),
    ("EV401", {}, {"minimum-launch-tcb": {"microcode": 72}}, {}, {"launch_tcb": below(microcode=71)}),
    ("EV401", {}, {"minimum-committed-tcb": {"boot-loader": 9}}, {}, {"committed_tcb": below(boot_loader=8)}),
    ("EV401", {"minimum_tcb": {"snp": 24}}, {}, {"version": 2, "version ": 2}, {"version": 3}),
    ("EV401", {}, {}, {}, {"committed_tcb": below(snp=24)}),
    ("EV401", {}, {}, {}, {"current_tcb": below(snp=22)}),
    ("EV401", {}, {"minimum-firmware": (1, 58, 3)}, {}, {"committed_version": bytes((2, 58, 1, 0))}),
    ("EV401", {}, {"minimum-firmware": (1, 58)}, {}, {"committed_version": bytes((9, 55, 1, 0))}),
    ("EV401", {}, {}, {}, {"current_version": bytes((2, 58, 1, 0))}),
    ("EV401", {}, {"provisional": False}, {}, {"current_version": bytes((4, 58, 1, 0))}),
    ("EV401", {}, {"provisional": False}, {}, {"current_tcb": below(snp=99)}),
    ("EV504", {}, {"id-keys": (DIGEST,)}, {"id_key_digest": DIGEST}, {"id_key_digest": OTHER}),
    ("EV504", {}, {"id-keys": (OTHER, DIGEST)}, {"id_key_digest": DIGEST}, {}),
    ("EV504", {}, {"author-keys": (DIGEST,)}, {"flags": 1, "author_key_digest": DIGEST}, {"author_key_digest": DIGEST}),
    ("EV504", {}, {"author-keys": (DIGEST,), "id-keys": (OTHER,)}, {"id_key_digest": OTHER}, {"flags": 1}),
    ("EV505", {}, {"vmpl": 0}, {}, {"vmpl": 1}),
    ("EV505", {}, {"vmpl": 2}, {"vmpl": 2}, {"vmpl": 0}),
    ("EV204", {}, {"signing-key": "vcek"}, {}, {"flags": 4}),
    ("EV601", {"report_data": b"nonce"}, {}, {"report_data": b"nonce"}, {"report_data": b"nonce2"}),
    ("EV601", {"report_data": b""}, {}, {}, {"report_data": bytes(63) + b"\1"}),
    ("EV602", {"measurements": {"measurement": (DIGEST, OTHER)}}, {}, {"measurement": OTHER}, {}),
    ("EV604", {}, {"host-data": DIGEST[:32]}, {"host_data": DIGEST[:32]}, {}),
    ("EV604", {}, {"family-id": DIGEST[:16]}, {"family_id": DIGEST[:16]}, {}),
    ("EV604", {}, {"image-id": DIGEST[:16]}, {"image_id": DIGEST[:16]}, {"family_id": DIGEST[:16]}),
    ("EV604", {}, {"report-id": DIGEST[:32]}, {"report_id": DIGEST[:32]}, {}),
    ("EV604", {}, {"minimum-guest-svn": 3}, {"guest_svn": 3}, {"guest_svn": 2}),
    ("EV604", {}, {"chip-ids": (bytes(range(64)),)}, {}, {"chip_id": bytes(64)}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "policy", "own", "good", "bad"), CASES)
def test_a_question_is_answered(
    code: str, policy: dict[str, Any], own: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    if "version " not in good:  # an expectation that no report meets has no good one
        assert code not in failed(appraise(policy, own, **good))
    found = appraise(policy, own, **bad)
    assert code in failed(found)
    assert not found.accepted
    check = next(check for check in found.checks if check.code == code and check.failed)
    assert check.found
    assert check.expected
    assert "offset 0x" in check.where
    assert check.remedy


def test_every_key_of_the_policy_is_among_the_cases() -> None:
    asked = {key for case in CASES for key in case[2]}
    assert asked == set(KEYS)


def test_what_the_policy_does_not_ask_is_said_to_be_skipped() -> None:
    found = appraise({}, {})
    skipped = {check.code for check in found.checks if check.outcome is Outcome.SKIPPED}
    assert {"EV402", "EV403", "EV503", "EV504", "EV505", "EV601", "EV602", "EV604"} <= skipped
    assert all(check.found for check in found.checks)


def test_debug_and_migration_are_accepted_only_where_the_policy_says_so() -> None:
    both = {"policy": 0x30000 | 3 << 18}
    assert failed(appraise({}, {}, **both)) == ["EV501", "EV502"]
    assert failed(appraise({"debug": True}, {}, **both)) == ["EV502"]
    assert appraise({"debug": True, "migration": True}, {}, **both).accepted


def test_a_component_that_this_line_has_not_is_too_low() -> None:
    found = appraise({"minimum_tcb": {"fmc": 1}}, {})
    assert failed(found) == ["EV401", "EV401", "EV401"]
    assert "no fmc" in next(check for check in found.checks if check.failed).found


def test_turins_components_are_read_from_their_own_places() -> None:
    vendor = Vendor("Turin")
    collateral = Collateral(vendor.documents())
    least = {"fmc": 1, "boot-loader": 1, "tee": 1, "snp": 4, "microcode": 78}
    assert verify(report(vendor), Policy(simulated=True, minimum_tcb=least), collateral, NOW).accepted
    for part in least:
        asked = Policy(simulated=True, minimum_tcb=least | {part: least[part] + 1})
        assert not verify(report(vendor), asked, collateral, NOW).accepted


def test_report_data_of_more_than_the_field_never_matches() -> None:
    assert failed(appraise({"report_data": bytes(65)}, {})) == ["EV601"]
