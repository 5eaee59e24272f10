"""PEF and s390 guests are protected from their kernel's first line to the next reset, and only if they ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from secure_images import secure_image
from simulated import ask, platform_of

from sequester.errors import GuestError
from sequester.measure.se_build import Secrets
from sequester.simulator.host_keys import host_key
from sequester.simulator.identity import Identity
from sequester.simulator.platform import QmpError

PPC = "qemu-system-ppc64 -M pseries -accel kvm -m 1G"
Z = "qemu-system-s390x -M s390-ccw-virtio -accel kvm -cpu host -m 1G"
SECRETS = Secrets(
    ec.derive_private_key(0xC057, ec.SECP521R1()), b"p" * 32, bytes(range(64)), b"c" * 32, b"i" * 12
)


def test_pef_engages_with_the_guest_and_ends_with_a_reset(tmp_path: Path) -> None:
    platform = platform_of(f"{PPC} -kernel /vmlinux -append svm=on", "pef", tmp_path)
    platform.begin()
    assert not platform.engaged
    platform.observe("console", {"line": "Linux version"})
    assert platform.engaged
    platform.observe("RESET", {"guest": True})
    assert not platform.engaged
    with pytest.raises(QmpError, match="PEF: Migration is not implemented"):
        ask(platform, "migrate")
    with pytest.raises(GuestError, match="no evidence"):
        platform.evidence(b"")


def test_a_kernel_that_is_not_told_to_never_switches_over(tmp_path: Path) -> None:
    platform = platform_of(f"{PPC} -kernel /vmlinux", "pef", tmp_path)
    platform.observe("console", {"line": "Linux version"})
    assert not platform.engaged
    assert "svm=on" in platform.notes[0]


def test_an_image_for_this_machine_opens_and_blocks_migration_until_reset(tmp_path: Path) -> None:
    identity = Identity(tmp_path / "identity")
    path = tmp_path / "guest.img"
    path.write_bytes(secure_image([host_key(identity)], SECRETS))
    platform = platform_of(f"{Z} -kernel {path}", "s390-pv", identity.folder)
    platform.begin()
    assert ask(platform, "migrate", {}) == {}
    platform.observe("console", {"line": "Linux version"})
    assert platform.engaged
    with pytest.raises(QmpError, match="protected VMs are currently not migratable"):
        ask(platform, "migrate")
    platform.observe("RESET", {"guest": True})
    assert ask(platform, "query-migrate", {}) == {}


def test_an_image_for_another_machine_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "guest.img"
    path.write_bytes(secure_image([ec.derive_private_key(0x07E2, ec.SECP521R1())], SECRETS))
    platform = platform_of(f"{Z} -kernel {path}", "s390-pv", tmp_path / "identity")
    with pytest.raises(GuestError, match=r"KVM_PV_SET_SEC_PARMS.*rc 108 rrc 5"):
        platform.begin()


def test_an_ordinary_kernel_is_never_protected(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"kernel" * 50_000)
    platform = platform_of(f"{Z} -kernel {path}", "s390-pv", tmp_path / "identity")
    platform.begin()
    platform.observe("console", {"line": "Linux version"})
    assert not platform.engaged
    assert "never becomes protected" in platform.notes[0]
