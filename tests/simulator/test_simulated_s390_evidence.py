"""Simulated s390 machines answer attestation requests: verified under the simulated root, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secure_images import secure_image
from simulated import NOW, plan_of, platform_of

from sequester.errors import GuestError, InputError
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy_file import read_policy
from sequester.evidence.secrets import with_secrets
from sequester.measure.se_build import Secrets
from sequester.measure.se_image import SeImage
from sequester.owner.attestation_request import Secrets as RequestSecrets
from sequester.owner.attestation_request import attestation_request
from sequester.simulator.host_keys import host_key
from sequester.simulator.identity import Identity
from sequester.simulator.ultravisor_attestation import answer
from sequester.verifying import policy_of_plan, verify

Z = "qemu-system-s390x -M s390-ccw-virtio -accel kvm -cpu host -m 1G"
SECRETS = Secrets(
    ec.derive_private_key(0xC057, ec.SECP521R1()), b"p" * 32, bytes(range(64)), b"c" * 32, b"i" * 12
)


def test_an_image_that_was_opened_is_attested_under_the_simulated_root_alone(tmp_path: Path) -> None:
    identity = Identity(tmp_path / "identity")
    path = tmp_path / "guest.img"
    path.write_bytes(secure_image([host_key(identity)], SECRETS))
    platform = platform_of(f"{Z} -kernel {path}", "s390-pv", identity.folder)
    platform.begin()
    told = platform.evidence(b"nonce")
    for name, data in told.items():
        (tmp_path / name).write_bytes(data)
    policy = with_secrets(read_policy(told["policy.toml"], "policy"), str(tmp_path))
    policy = replace(policy, report_data=b"nonce")
    collateral = Collateral(tuple(told.values()))
    now = NOW + timedelta(hours=1)
    refused = verify(told["exchange.bin"], policy, collateral, now)
    assert {check.code for check in refused.checks if check.failed} == {"EV206"}
    accepted = verify(told["exchange.bin"], replace(policy, simulated=True), collateral, now)
    assert accepted.accepted
    assert accepted.simulated
    plan = plan_of(f"{Z} -kernel {path}", "s390-pv")
    assert verify(
        told["exchange.bin"], policy_of_plan(plan, replace(policy, simulated=True)), collateral, now
    ).accepted
    others = {**told, "header.bin": b""}
    blind = verify(
        told["exchange.bin"], replace(policy, simulated=True), Collateral(tuple(others.values())), now
    )
    assert {check.code for check in blind.checks if check.failed} == {"EV201"}


def test_without_an_image_there_is_no_evidence(tmp_path: Path) -> None:
    platform = platform_of(Z, "s390-pv", tmp_path / "identity")
    platform.begin()
    with pytest.raises(GuestError, match="no evidence without a Secure Execution image"):
        platform.evidence(b"")


def test_a_machine_answers_only_requests_that_were_made_for_it(tmp_path: Path) -> None:
    host, other = (ec.derive_private_key(number, ec.SECP521R1()) for number in (0x07E2, 0x07E3))
    path = tmp_path / "guest.img"
    path.write_bytes(secure_image([host], SECRETS))
    with path.open("rb") as file:
        header = SeImage(file, "guest.img").header()
    request = attestation_request([host.public_key()], RequestSecrets.random())
    assert answer(request, header, host)
    with pytest.raises(GuestError, match="made for other machines"):
        answer(request, header, other)
    for at in (0x50, 0xE0 + 40, len(request) - 1):
        damaged = bytearray(request)
        damaged[at] ^= 1
        with pytest.raises((GuestError, InputError)):
            answer(bytes(damaged), header, host)
