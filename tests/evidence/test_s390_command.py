"""`sequester verify` with a key that a policy names: found beside the policy, told to nobody, missed in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from s390_made import Guest, answer, key, key_hash, secrets

from sequester.cli.main import main

HOST = key(0x2222).public_key()
KEY = secrets().protection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with evidence, header, key, and a policy that names the key."""
    (tmp_path / "exchange.bin").write_bytes(answer([HOST]))
    (tmp_path / "header.bin").write_bytes(Guest().header)
    (tmp_path / "arp.key").write_bytes(KEY)
    own = f'[s390-pv]\narpk = "arp.key"\nhost-keys = "{key_hash(HOST).hex()}"\n'
    (tmp_path / "policy.toml").write_text(own)
    return tmp_path


def verify(folder: Path, *more: str) -> int:
    fixed = ["--policy", str(folder / "policy.toml"), "--collateral", str(folder / "header.bin")]
    return main(["verify", str(folder / "exchange.bin"), *fixed, *more])


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "sarif", "ear"])
def test_the_key_is_found_beside_the_policy_and_told_to_nobody(
    folder: Path, form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert verify(folder, "--format", form, "--jobs", "1") == 0
    out, err = capfd.readouterr()
    for secret in (KEY.hex(), secrets().key.hex(), secrets().nonce.hex()):
        assert secret not in out + err


@pytest.mark.parametrize("content", [b"", KEY[:-1], KEY.hex().encode(), None])
def test_a_key_that_is_none_is_one_line(
    folder: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "arp.key").unlink()
    if content is not None:
        (folder / "arp.key").write_bytes(content)
    assert verify(folder) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "arp.key" in err
    assert KEY.hex()[:16] not in err


def test_show_names_what_is_in_an_exchange(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(folder / "exchange.bin")]) == 0
    out = capsys.readouterr().out
    for word in ("pvattest", "config-uid", "host-key-0", key_hash(HOST).hex()):
        assert word in out


def test_a_host_key_that_is_no_certificate_vouches_for_nothing(folder: Path) -> None:
    (folder / "policy.toml").write_text('[s390-pv]\narpk = "arp.key"\n')
    told = HOST.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "host.pem").write_bytes(told)
    assert verify(folder, "--collateral", str(folder / "host.pem")) == 4
