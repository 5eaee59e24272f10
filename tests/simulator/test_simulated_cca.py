"""Arm CCA played: its tokens are taken by the verifier that is for real ones, where simulated ones are trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import NOW, ask, platform_of

from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.simulator.platform import QmpError
from sequester.verifying import verify

IMAGE = bytes(56) + b"ARM\x64" + bytes(4) + b"kernel" * 4000


@pytest.fixture
def guest(tmp_path: Path) -> str:
    (tmp_path / "Image").write_bytes(IMAGE)
    return f"qemu-system-aarch64 -M virt -accel kvm -cpu host -m 1G -kernel {tmp_path}/Image"


def test_a_token_is_accepted_where_simulated_ones_are_trusted(guest: str, tmp_path: Path) -> None:
    platform = platform_of(guest, "cca", tmp_path / "identity")
    platform.begin()
    token, *documents = platform.evidence(b"nonce").values()
    collateral = Collateral(tuple(documents))
    appraisal = verify(token, Policy(simulated=True, report_data=b"nonce"), collateral, NOW)
    assert appraisal.accepted, [check for check in appraisal.checks if check.failed]
    assert appraisal.simulated
    refused = verify(token, Policy(), collateral, NOW)
    assert [check.code for check in refused.checks if check.failed] == ["EV206"]


def test_what_cannot_be_known_of_the_measurement_is_said(guest: str, tmp_path: Path) -> None:
    platform = platform_of(guest, "cca", tmp_path / "identity")
    platform.begin()
    assert "RIM is zero in tokens" in platform.notes[0]


def test_a_realm_cannot_be_moved(guest: str, tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="RME: migration is not implemented"):
        ask(platform_of(guest, "cca", tmp_path / "identity"), "migrate")
