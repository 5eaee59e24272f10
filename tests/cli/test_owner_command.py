"""`sequester owner` from the chain to the secret: files for the owner alone, nothing secret shown, nothing weakened."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ovmf_images import image
from simulated import ask, platform_of

from sequester.cli.main import main
from sequester.firmware import footer
from sequester.owner.launch import Answer, Launch
from sequester.owner.sev_secret import named, table
from sequester.simulator.platform import SimulatedPlatform
from sequester.simulator.sev import SimulatedSev

PASSPHRASE = b"a passphrase that nobody may see"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@dataclass
class Owner:
    """An owner's folder, and the simulated platform."""

    folder: Path
    identity: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, status: int = 0) -> str:
        found = main(["owner", *words])
        out, err = self.capsys.readouterr()
        assert found == status, err
        assert PASSPHRASE.decode() not in out + err
        return out if status == 0 else err

    @property
    def command(self) -> str:
        return (
            f"qemu-system-x86_64 -M q35,confidential-guest-support=s -accel kvm -cpu EPYC-Milan -smp 2 -m 1G"
            f" -bios {self.folder}/ovmf.fd -object sev-guest,id=s,cbitpos=51,reduced-phys-bits=1,policy=5,"
            f"legacy-vm-type=on,dh-cert-file={self.folder}/web_godh.b64,session-file={self.folder}/web_session.b64"
        )

    @property
    def guest(self) -> list[str]:
        return ["--", *self.command.split()]

    @property
    def keys(self) -> list[str]:
        return ["--keys", str(self.folder / "web")]

    def launched(self) -> tuple[SimulatedPlatform, Path]:
        """Launch on the platform; return it, and the launch as its host tells it."""
        platform = platform_of(self.command, "sev-es", self.identity)
        platform.begin()
        state, seen = ask(platform, "query-sev"), ask(platform, "query-sev-launch-measure")
        launch = Launch.of_qmp("sev-es", state, seen, "QMP")
        path = self.folder / "launch.json"
        path.write_text(json.dumps({**launch.told(), "simulated": True}))
        return platform, path


@pytest.fixture
def owner(tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]) -> Owner:
    (tmp_path / "ovmf.fd").write_bytes(image(extra={footer.SEV_SECRET: bytes.fromhex("0000800000100000")}))
    (tmp_path / "pass").write_bytes(PASSPHRASE)
    made = Owner(tmp_path, identity, capsys)
    made("session", "--simulated", str(identity), "--trust-simulated", "--policy", "no-debug+es", "--name", "web",
         "-d", str(tmp_path))  # fmt: skip
    return made


def test_a_session_is_four_files_for_the_owner_alone(owner: Owner) -> None:
    names = {path.name for path in owner.folder.glob("web_*")}
    assert names == {"web_godh.b64", "web_session.b64", "web_tek.bin", "web_tik.bin"}
    for name in names:
        assert stat.S_IMODE(os.stat(owner.folder / name).st_mode) == 0o600
    assert len(b64decode((owner.folder / "web_godh.b64").read_text())) == 2084
    assert len(b64decode((owner.folder / "web_session.b64").read_text())) == 128


def test_keys_are_never_written_over(owner: Owner) -> None:
    before = (owner.folder / "web_tek.bin").read_bytes()
    said = owner("session", "--simulated", str(owner.identity), "--trust-simulated", "--policy", "5", "--name",
                 "web", "-d", str(owner.folder), status=2)  # fmt: skip
    assert "there already" in said
    assert (owner.folder / "web_tek.bin").read_bytes() == before


def test_a_simulated_platform_gets_no_session_unless_it_is_trusted(owner: Owner) -> None:
    said = owner("session", "--simulated", str(owner.identity), "--policy", "5", "--name", "x", "-d",
                 str(owner.folder), status=4)  # fmt: skip
    assert "simulated platform" in said
    assert not list(owner.folder.glob("x_*"))


def test_a_chain_is_shown_saved_and_checked_again(owner: Owner) -> None:
    path = owner.folder / "chain.cert"
    shown = owner("chain", "--simulated", str(owner.identity), "--trust-simulated", "-o", str(path))
    assert "PDH signed by PEK" in shown
    told = json.loads(owner("chain", str(path), "--trust-simulated", "--json"))
    assert (told["holds"], told["simulated"], told["product"]) == (True, True, "")
    damaged = bytearray(path.read_bytes())
    damaged[30] ^= 1
    (owner.folder / "bad.cert").write_bytes(damaged)
    assert "PDH was not signed by the PEK" in owner("chain", str(owner.folder / "bad.cert"), status=4)
    assert "one source" in owner("chain", status=2)


def test_the_launch_that_was_meant_is_told_from_any_other(owner: Owner) -> None:
    _, launch = owner.launched()
    said = owner("measurement", *owner.keys, "--launch", str(launch), *owner.guest)
    assert "the measurement is that of this guest. SIMULATED" in said
    other = [word.replace("-smp", "-smp").replace("EPYC-Milan", "EPYC-Rome") for word in owner.guest]
    assert "not that of the guest" in owner(
        "measurement", *owner.keys, "--launch", str(launch), *other, status=4
    )
    policy = [word.replace("policy=5", "policy=7") for word in owner.guest]
    assert "policy 0x5, not 0x7" in owner(
        "measurement", *owner.keys, "--launch", str(launch), *policy, status=4
    )


def test_the_pieces_that_virsh_shows_will_do(owner: Owner) -> None:
    platform, _ = owner.launched()
    seen = ask(platform, "query-sev-launch-measure")["data"]
    words = ("--measurement", seen, "--api", "1.55", "--build", "21")
    owner("measurement", *owner.keys, *words, *owner.guest)
    wrong = ("--measurement", seen, "--api", "1.55", "--build", "22")
    owner("measurement", *owner.keys, *wrong, *owner.guest, status=4)
    assert "give --api" in owner("measurement", *owner.keys, "--measurement", seen, *owner.guest, status=2)


def test_a_secret_for_the_right_launch_arrives(owner: Owner) -> None:
    platform, launch = owner.launched()
    secret = ("--secret", f"luks-key:{owner.folder / 'pass'}")
    base = owner.folder / "secret"
    owner("secret", *owner.keys, "--launch", str(launch), *secret, "-o", str(base), *owner.guest)
    header, payload = ((owner.folder / f"secret_{name}.b64").read_text() for name in ("header", "payload"))
    assert ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": payload}) == {}
    assert isinstance(platform, SimulatedSev)
    assert platform.firmware.injected == [table({named("luks-key"): PASSPHRASE})]


def test_a_secret_for_another_launch_is_not_even_made(owner: Owner) -> None:
    _, launch = owner.launched()
    secret = ("--secret", f"luks-key:{owner.folder / 'pass'}", "-o", str(owner.folder / "secret"))
    other = [word.replace("EPYC-Milan", "EPYC-Rome") for word in owner.guest]
    owner("secret", *owner.keys, "--launch", str(launch), *secret, *other, status=4)
    assert not list(owner.folder.glob("secret*"))


@pytest.mark.parametrize(
    "said", ["luks-key", "luks-key:", "bogus:x", "luks-key:/none", "luks-key:{pass} --secret luks-key:{pass}"]
)
def test_a_secret_that_is_not_said_right_is_one_line(owner: Owner, said: str) -> None:
    _, launch = owner.launched()
    words = f"--secret {said}".replace("{pass}", str(owner.folder / "pass")).split()
    owner("secret", *owner.keys, "--launch", str(launch), *words, "--json", *owner.guest, status=2)


def answered(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, launch: bytes, *words: str, status: int = 0
) -> Any:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(launch)))
    found = main(["owner", "answer", *owner.keys, *words])
    out, err = owner.capsys.readouterr()
    assert found == status, err
    return Answer.parse(out.encode(), "answer") if out else err


def test_an_answer_accepts_the_right_launch_and_brings_its_secret(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, path = owner.launched()
    words = ("--secret", f"luks-key:{owner.folder / 'pass'}", "--trust-simulated", *owner.guest)
    answer = answered(owner, monkeypatch, path.read_bytes(), *words)
    assert answer.accepted
    header, payload = (b64encode(part).decode() for part in (answer.secret.header, answer.secret.payload))
    assert ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": payload}) == {}


def test_an_answer_refuses_another_launch_a_simulated_one_and_nonsense(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = owner.launched()
    launch = json.loads(path.read_text())
    refused = answered(owner, monkeypatch, path.read_bytes(), *owner.guest, status=4)
    assert (refused.accepted, refused.secret) == (False, None)
    assert "simulated" in refused.reason
    changed = {**launch, "measurement": b64encode(bytes(48)).decode()}
    refused = answered(
        owner, monkeypatch, json.dumps(changed).encode(), "--trust-simulated", *owner.guest, status=4
    )
    assert not refused.accepted
    for nonsense in (b"", b"{}", b"[" * 9000, json.dumps({**launch, "policy": -1}).encode()):
        assert "sequester:" in answered(owner, monkeypatch, nonsense, *owner.guest, status=2)


def test_a_policy_is_told_in_words(owner: Owner) -> None:
    assert "SEV-ES" in owner("policy", "5")
    assert json.loads(owner("policy", "no-debug,es,no-send", "--json"))["policy"] == 13
    assert "no SEV policy" in owner("policy", "everything", status=2)


def test_an_id_block_needs_a_key(owner: Owner) -> None:
    assert "--id-key" in owner("id-block", *owner.guest, status=2)
