"""`sequester owner attestation-request`: a request that only known machines open, and whose answer `verify` takes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evidence"))

from s390_made import Guest

from sequester.cli.main import main
from sequester.errors import GuestError
from sequester.evidence.s390 import exchange
from sequester.simulator.host_keys import host_key
from sequester.simulator.identity import Identity
from sequester.simulator.ultravisor_attestation import answer


@pytest.fixture
def folder(papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(papers, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRUST = [
    *("--root", "root.pem", "--cert", "signing-key.pem"),
    *("--crl", "root-crl.der", "--crl", "signing-crl.der"),
]


def request(*more: str) -> int:
    return main(["owner", "attestation-request", "-k", "host-key.pem", "--name", "web", *more])


def test_the_answer_of_the_machine_is_verified_with_the_key_that_was_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert request(*TRUST, "--ask", "firmware-state") == 0
    assert capsys.readouterr().out.splitlines() == ["web_request.bin", "web_arp.key"]
    assert (folder / "web_arp.key").stat().st_mode & 0o777 == 0o600
    asked = exchange.parse((folder / "web_request.bin").read_bytes(), "web_request.bin")
    assert not asked.answered

    (folder / "header.bin").write_bytes(Guest().header)
    from sequester.measure.se_image import read_header

    header = read_header((folder / "header.bin").read_bytes())
    told = answer(asked.request, header, host_key(Identity(folder / "identity")), b"nonce", bytes(7))
    (folder / "answer.bin").write_bytes(told)
    (folder / "policy.toml").write_text('[s390-pv]\narpk = "web_arp.key"\n')
    papers = [
        each for name in ("header.bin", *TRUST[1::2], "host-key.pem") for each in ("--collateral", name)
    ]
    verify = ["verify", "answer.bin", "--policy", "policy.toml", "--trust-simulated", *papers]
    status = main([*verify, "--report-data", b"nonce".hex()])
    assert status == 0, capsys.readouterr().out
    assert main([*verify, "--report-data", "00"]) == 4

    with pytest.raises(GuestError, match="cannot open"):
        answer(asked.request, header, host_key(Identity(folder / "another")), b"nonce", bytes(7))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "not said whom to trust"),
        (["--no-verify", *TRUST], "contradict each other"),
        ([*TRUST[:4], "--crl", "root-crl.der"], "host-key.pem"),
        ([*TRUST, "--ask", "everything"], "--ask"),
        ([*TRUST, "--name", "../web"], "no name"),
    ],
)
def test_what_is_not_vouched_for_gets_no_request(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert request(*more) == 2
    assert told in capsys.readouterr().err
    assert not list(folder.glob("web_*"))


def test_without_verification_it_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert request("--no-verify", "--json") == 0
    assert "NOT verified" in capsys.readouterr().err
    assert request("--no-verify") == 2, "keys are never written over"
