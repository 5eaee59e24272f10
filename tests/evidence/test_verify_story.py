"""Verification as a story: recognised, unwrapped, held against a policy or a plan."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from snp_made import NOW, Vendor, report

import sequester
from sequester.errors import InputError
from sequester.evidence import criteria, recognise
from sequester.evidence.appraisal import Appraisal, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.kinds import snp_report
from sequester.evidence.policy import Policy
from sequester.evidence.wrappings import Wrapped
from sequester.measure.id_block import IdBlock, authenticate, key_digest
from sequester.verifying import policy_of_plan, shown, verify

VENDOR = Vendor("Genoa")
POLICY = Policy(simulated=True)
COLLATERAL = Collateral(VENDOR.documents())


def wrapping(monkeypatch: pytest.MonkeyPatch, **inside: Any) -> None:
    """Make one more wrapping known: bytes behind ``wrapped:``."""
    made = SimpleNamespace(
        NAME="test",
        recognises=lambda data: data.startswith(b"wrapped:"),
        unwrap=lambda data, where: Wrapped(data.removeprefix(b"wrapped:"), **inside),
    )
    monkeypatch.setattr(recognise, "wrappings", lambda: (made,))
    monkeypatch.setattr(recognise, "kinds", lambda: (snp_report,))


def test_what_came_with_a_wrapping_serves_as_collateral(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapping(monkeypatch, documents=VENDOR.documents())
    assert verify(b"wrapped:wrapped:" + report(VENDOR), POLICY, Collateral(), NOW).accepted
    assert shown(b"wrapped:" + report(VENDOR))[0].wrappings == ("test",)


def test_a_wrapping_that_finds_its_parts_apart_refuses_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapping(monkeypatch, checks=(failed(criteria.REPORT_DATA, "another key's", "this key's"),))
    assert not verify(b"wrapped:" + report(VENDOR), POLICY, COLLATERAL, NOW).accepted


def test_wrappings_within_wrappings_end(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapping(monkeypatch)
    with pytest.raises(InputError, match="too often"):
        verify(b"wrapped:" * 9 + report(VENDOR), POLICY, COLLATERAL, NOW)


def test_what_nobody_knows_is_an_error_that_names_what_is_known() -> None:
    for data in (b"", b"hello", b"\x7fELF" + bytes(5000), bytes(1183), bytes(1185)):
        with pytest.raises(InputError, match=r"SEV-SNP|empty"):
            verify(data, POLICY, COLLATERAL, NOW)
    with pytest.raises(InputError, match="too many"):
        verify(bytes((16 << 20) + 1), POLICY, COLLATERAL, NOW)


def test_evidence_of_another_platform_than_the_guests_is_refused() -> None:
    found = verify(report(VENDOR), POLICY, COLLATERAL, NOW, platform="tdx")
    assert not found.accepted
    assert [check.code for check in found.checks] == ["EV602"]


def test_nothing_is_accepted_for_want_of_checks() -> None:
    assert not Appraisal("e", "k", "p", ()).accepted
    assert not Appraisal("e", "k", "p", (skipped(criteria.SIGNATURE, "why"),)).accepted
    assert Appraisal("e", "k", "p", (passed(criteria.SIGNATURE),)).accepted
    assert not Appraisal("e", "k", "p", (passed(criteria.SIGNATURE), failed(criteria.FORM, "x"))).accepted


def plan(**properties: str) -> sequester.Plan:
    """A plan for an SNP guest whose firmware is stood in for."""
    given = "".join(f",{name.replace('_', '-')}={value}" for name, value in properties.items())
    argv = [
        "qemu-system-x86_64", "-M", "q35,confidential-guest-support=s", "-accel", "kvm", "-cpu", "EPYC-Milan",
        "-smp", "2", "-m", "1G", "-object", f"sev-snp-guest,id=s,cbitpos=51,reduced-phys-bits=1{given}",
    ]  # fmt: skip
    return sequester.plan(sequester.from_argv(argv))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What every plan is measured as in a test."""
    from sequester import measuring
    from sequester.measure.measurement import Measurement, Register

    digest = bytes(range(48))
    register = Register("launch-digest", digest)
    monkeypatch.setattr(measuring, "measure", lambda of: Measurement("sev-snp", (register,)))
    return digest


def test_a_report_is_held_against_its_plan(measured: bytes) -> None:
    policy = policy_of_plan(plan(), POLICY)
    good = report(VENDOR, measurement=measured)
    assert verify(good, policy, COLLATERAL, NOW).accepted
    for code, fields in (
        ("EV602", {"measurement": bytes(48)}),
        ("EV503", {"measurement": measured, "policy": 0x20000}),
        ("EV604", {"measurement": measured, "host_data": b"\1" * 32}),
    ):
        found = verify(report(VENDOR, **fields), policy, COLLATERAL, NOW)
        assert [check.code for check in found.checks if check.failed] == [code]


def test_an_id_block_of_the_plan_is_asked_for(measured: bytes) -> None:
    key, author = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    block = IdBlock(measured, b"F" * 16, b"I" * 16, 7)
    policy = policy_of_plan(
        plan(
            id_block=b64encode(block.pack()).decode(),
            id_auth=b64encode(authenticate(block, key, author)).decode(),
            author_key_enabled="on",
        ),
        POLICY,
    )
    fields = {"measurement": measured, "family_id": b"F" * 16, "image_id": b"I" * 16, "guest_svn": 7}
    fields |= {"id_key_digest": key_digest(key.public_key()), "flags": 1}
    fields |= {"author_key_digest": key_digest(author.public_key())}
    assert verify(report(VENDOR, **fields), policy, COLLATERAL, NOW).accepted
    for name, value in (("family_id", bytes(16)), ("guest_svn", 6)):
        assert not verify(report(VENDOR, **(fields | {name: value})), policy, COLLATERAL, NOW).accepted
    other = fields | {"id_key_digest": bytes(48), "author_key_digest": bytes(48)}
    assert not verify(report(VENDOR, **other), policy, COLLATERAL, NOW).accepted


def test_what_the_policy_says_itself_goes_before_the_plan(measured: bytes) -> None:
    asked = Policy(
        simulated=True, measurements={"measurement": (bytes(48),)}, platforms={"sev-snp": {"vmpl": 0}}
    )
    policy = policy_of_plan(plan(), asked)
    assert policy.measurements["measurement"] == (bytes(48),)
    assert policy.of("sev-snp")["vmpl"] == 0
    assert policy.of("sev-snp")["guest-policy"] == 0x30000


def test_the_clock_is_a_parameter() -> None:
    late = NOW + timedelta(days=9000)
    assert [
        check.code for check in verify(report(VENDOR), POLICY, COLLATERAL, late).checks if check.failed
    ] == ["EV203"]
