"""Simulated keys stay the same, are their owner's alone, and a damaged file is one clear error."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sequester.errors import HostError, InputError
from sequester.simulator.host_keys import documents, host_key
from sequester.simulator.identity import Identity, default_folder


def test_a_key_is_the_same_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "identity"
    one = Identity(folder).curve_key("host", "secp521r1")
    assert Identity(folder).curve_key("host", "secp521r1").private_numbers() == one.private_numbers()
    assert Identity(folder).curve_key("other", "secp521r1").private_numbers() != one.private_numbers()


def test_folder_and_keys_are_the_owners_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        Identity(tmp_path / "identity").curve_key("host", "secp256r1")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(tmp_path / "identity").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "identity/host.pem").st_mode) == 0o600
    assert os.listdir(tmp_path / "identity") == ["host.pem"]


def test_two_that_make_a_key_at_once_have_the_same(tmp_path: Path) -> None:
    identities = [Identity(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda each: each.curve_key("host", "secp384r1").private_numbers(), identities)
    assert len({numbers.private_value for numbers in made}) == 1


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_named_and_none_of_it_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "host.pem").write_bytes(content)
    with pytest.raises(InputError, match=r"host\.pem: this is no private key"):
        Identity(tmp_path).curve_key("host", "secp256r1")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    Identity(tmp_path).curve_key("host", "secp256r1")
    with pytest.raises(InputError, match="secp384r1"):
        Identity(tmp_path).curve_key("host", "secp384r1")
    with pytest.raises(InputError, match="RSA"):
        Identity(tmp_path).rsa_key("host", 2048)


def test_a_folder_that_cannot_be_is_an_error_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be kept"):
        Identity(tmp_path / "file" / "identity").curve_key("host", "secp256r1")


def test_the_usual_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_folder() == Path("/state/sequester/simulated")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path.home() / ".local/state/sequester/simulated"


def test_host_key_documents_are_checked_as_ibms_are(tmp_path: Path) -> None:
    from simulated import NOW

    from sequester.measure.host_key import public_key, read_authority, read_document

    identity = Identity(tmp_path / "identity")
    made = documents(identity, NOW)
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    others = [str(tmp_path / name) for name in ("signing-key.pem", "root-crl.der", "signing-crl.der")]
    document = read_document(str(tmp_path / "host-key.pem"))
    read_authority([str(tmp_path / "root.pem")], others).check(document, NOW)
    assert public_key(document).public_numbers() == host_key(identity).public_key().public_numbers()
    assert "SIMULATED" in str(document.subject)
