"""SEV-SNP played: what is launched is what is measured, and the verifier for real reports takes its reports."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from ovmf_images import image
from simulated import NOW, ask, plan_of, platform_of

from sequester.errors import GuestError
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.measure.id_block import IdBlock, authenticate, key_digest
from sequester.measuring import measure
from sequester.simulator.platform import QmpError
from sequester.verifying import policy_of_plan, verify

ID_KEY = ec.derive_private_key(0x1D, ec.SECP384R1())
AUTHOR_KEY = ec.derive_private_key(0xA0, ec.SECP384R1())
TRUSTING = Policy(simulated=True)


@pytest.fixture
def guest(tmp_path: Path) -> str:
    (tmp_path / "ovmf.fd").write_bytes(image())
    return f"qemu-system-x86_64 -M q35 -accel kvm -cpu EPYC-Milan -smp 2 -m 1G -bios {tmp_path}/ovmf.fd"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


def with_object(guest: str, **properties: str) -> str:
    given = "".join(f",{name.replace('_', '-')}={value}" for name, value in properties.items())
    return (
        f"{guest} -object sev-snp-guest,id=s,cbitpos=51,reduced-phys-bits=1{given}"
        " -machine confidential-guest-support=s"
    )


def test_a_report_of_the_guest_is_accepted_against_its_plan(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "sev-snp", keys)
    platform.begin()
    assert ask(platform, "query-sev")["state"] == "launch-update"
    ask(platform, "cont")
    assert ask(platform, "query-sev") == {
        "enabled": True,
        "api-major": 1,
        "api-minor": 58,
        "build-id": 3,
        "state": "running",
        "sev-type": "sev-snp",
        "snp-policy": 0x30000,
    }
    report, *documents = platform.evidence(b"nonce").values()
    policy = policy_of_plan(plan_of(guest, "sev-snp"), Policy(simulated=True, report_data=b"nonce"))
    appraisal = verify(report, policy, Collateral(tuple(documents)), NOW)
    assert appraisal.accepted
    assert appraisal.simulated
    assert not verify(report, Policy(), Collateral(tuple(documents)), NOW).accepted
    other = policy_of_plan(plan_of(guest.replace("-smp 2", "-smp 3"), "sev-snp"), TRUSTING)
    failed = [
        check.code
        for check in verify(report, other, Collateral(tuple(documents)), NOW).checks
        if check.failed
    ]
    assert failed == ["EV602"]


@pytest.mark.parametrize("model", ["EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"])
def test_every_product_has_reports_of_its_own_layout(guest: str, keys: Path, model: str) -> None:
    platform = platform_of(guest.replace("EPYC-Milan", model), "sev-snp", keys)
    platform.begin()
    ask(platform, "cont")
    report, *documents = platform.evidence(b"").values()
    appraisal = verify(report, TRUSTING, Collateral(tuple(documents)), NOW)
    assert appraisal.accepted
    signed = next(check.found for check in appraisal.checks if check.code == "EV201")
    assert model.removeprefix("EPYC-") in signed


def test_the_same_folder_is_the_same_chip(guest: str, keys: Path) -> None:
    def evidence() -> dict[str, bytes]:
        platform = platform_of(guest, "sev-snp", keys)
        platform.begin()
        ask(platform, "cont")
        return dict(platform.evidence(b""))

    one, other = evidence(), evidence()
    assert one["report.bin"][0x1A0:0x1E0] == other["report.bin"][0x1A0:0x1E0]
    documents = tuple(value for name, value in other.items() if name != "report.bin")
    assert verify(one["report.bin"], TRUSTING, Collateral(documents), NOW).accepted


def test_an_id_block_of_this_launch_is_in_the_report(guest: str, keys: Path) -> None:
    digest = measure(plan_of(guest, "sev-snp")).digest
    block = IdBlock(digest, b"f" * 16, b"i" * 16, 7)
    properties = {
        "id_block": b64encode(block.pack()).decode(),
        "id_auth": b64encode(authenticate(block, ID_KEY, AUTHOR_KEY)).decode(),
        "author_key_enabled": "on",
        "host_data": b64encode(b"h" * 32).decode(),
    }
    platform = platform_of(with_object(guest, **properties), "sev-snp", keys)
    platform.begin()
    ask(platform, "cont")
    report = platform.evidence(b"")["report.bin"]
    assert report[0x10:0x30] == b"f" * 16 + b"i" * 16
    assert report[4:8] == b"\7\0\0\0"
    assert report[0xC0:0xE0] == b"h" * 32
    assert report[0xE0:0x110] == key_digest(ID_KEY.public_key())
    assert report[0x110:0x140] == key_digest(AUTHOR_KEY.public_key())


@pytest.mark.parametrize(
    ("what", "number"), [("digest", 11), ("policy", 7), ("signature", 10)], ids=lambda value: str(value)
)
def test_an_id_block_of_another_launch_ends_it_as_the_firmware_would(
    guest: str, keys: Path, what: str, number: int
) -> None:
    digest = measure(plan_of(guest, "sev-snp")).digest
    block = IdBlock(
        bytes(48) if what == "digest" else digest, policy=0x20000 if what == "policy" else 0x30000
    )
    signed = IdBlock(b"x" * 48) if what == "signature" else block
    properties = {
        "id_block": b64encode(block.pack()).decode(),
        "id_auth": b64encode(authenticate(signed, ID_KEY)).decode(),
    }
    platform = platform_of(with_object(guest, **properties), "sev-snp", keys)
    platform.begin()
    with pytest.raises(GuestError, match=rf"SNP_LAUNCH_FINISH ret=-5 fw_error={number} "):
        ask(platform, "cont")


@pytest.mark.parametrize(("policy", "says"), [("0x10000", "ret=-22 fw_error=0"), ("0x3ff00", "fw_error=7")])
def test_a_policy_that_the_platform_has_not_ends_the_launch(
    guest: str, keys: Path, policy: str, says: str
) -> None:
    platform = platform_of(with_object(guest, policy=policy), "sev-snp", keys)
    with pytest.raises(GuestError, match=f"SNP_LAUNCH_START.*{says}"):
        platform.begin()


def test_what_belongs_to_sev_is_refused_with_qemus_words(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "sev-snp", keys)
    platform.begin()
    for command in ("query-sev-launch-measure", "sev-inject-launch-secret", "query-sev-attestation-report"):
        with pytest.raises(QmpError, match="SEV"):
            ask(platform, command)
    with pytest.raises(GuestError, match="does not run yet"):
        platform.evidence(b"")


def test_a_guest_that_cannot_be_measured_says_so_and_has_no_evidence(keys: Path) -> None:
    platform = platform_of("qemu-system-x86_64 -M q35 -accel kvm -bios /none.fd -m 1G", "sev-snp", keys)
    platform.begin()
    assert "was not measured" in platform.notes[0]
    ask(platform, "cont")
    with pytest.raises(GuestError, match="no evidence"):
        platform.evidence(b"")


def test_it_cannot_be_migrated_once_it_runs(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "sev-snp", keys)
    platform.begin()
    assert ask(platform, "query-migrate", {}) == {}
    ask(platform, "cont")
    assert ask(platform, "query-migrate", {}) == {
        "blocked-reasons": ["SEV-SNP: Migration is not implemented"]
    }
    with pytest.raises(QmpError, match="Migration is not implemented"):
        ask(platform, "migrate")
