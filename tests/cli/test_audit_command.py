"""`sequester audit` and `sequester hook` as commands: exit status, formats, mistakes."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sequester.audit.asking import Answer, Command, command, prop
from sequester.audit.questions import MACHINE
from sequester.cli.main import main

Serve = Callable[..., str]
SNP_OBJECT = {"name": "htl0", "type": "child<sev-snp-guest>"}


def answers(**devices: bool) -> dict[Command, Any]:
    """What a QEMU says with devices of this iommu_platform each, and an object that nothing names."""
    listed = [{"name": name, "type": "child<virtio-net-pci>"} for name in devices]
    told: dict[Command, Any] = {
        command("query-version"): {"qemu": {"major": 11, "minor": 1, "micro": 2}},
        command("query-target"): {"arch": "x86_64"},
        command("query-status"): {"status": "running"},
        command("qom-list", path="/machine/peripheral"): listed,
        prop(MACHINE, "type"): "pc-q35-11.1-machine",
    }
    for name, value in devices.items():
        told[prop(f"/machine/peripheral/{name}", "iommu_platform")] = value
        told[prop(f"/machine/peripheral/{name}", "disable-legacy")] = "on"
    return told


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve answers at a socket, to one client after the other; return its path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "qmp.sock"))
    listener.listen()

    def clients(told: dict[str, Any]) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
                for line in client.makefile("rb"):
                    asked = json.loads(line)
                    number = asked.pop("id")
                    known = told.get(json.dumps(asked, sort_keys=True))
                    answer = Answer(known) if known is not None else Answer(error="no")
                    if asked["execute"] == "qmp_capabilities":
                        answer = Answer({})
                    body = {"error": {"desc": answer.error}} if answer.error else {"return": answer.value}
                    client.sendall(json.dumps({**body, "id": number}).encode() + b"\r\n")

    def start(told: dict[Command, Any]) -> str:
        by_text = {json.dumps(one.request(), sort_keys=True): value for one, value in told.items()}
        threading.Thread(target=clients, args=(by_text,), daemon=True).start()
        return str(tmp_path / "qmp.sock")

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_guest_with_nothing_wrong_ends_with_0(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", serve(answers(net0=True))]) == 0
    assert "note SQ950" in capsys.readouterr().out


def test_findings_end_with_1(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", serve(answers(net0=True, net1=False)), "--limit", "sev-snp"]) == 1
    out = capsys.readouterr().out
    assert "error SQ301: device 'net1' (virtio-net-pci)" in out
    assert "'net0'" not in out


def test_json_is_that_of_check(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    main(["audit", serve(answers(net1=False)), "--limit", "sev", "--json", "--select", "SQ301"])
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "sequester-findings/1"
    (finding,) = told["guests"][0]["findings"]
    assert finding["code"] == "SQ301"
    assert finding["where"]["text"] == "/machine/peripheral/net1"
    assert finding["fixable"] is False


def test_sarif_goes_to_a_file(serve: Serve, tmp_path: Path) -> None:
    path = serve(answers(net1=False))
    out = tmp_path / "audit.sarif"
    assert main(["audit", path, "--limit", "sev", "--format", "sarif", "-o", str(out)]) == 1
    results = json.loads(out.read_text())["runs"][0]["results"]
    assert "SQ301" in {result["ruleId"] for result in results}


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "required"),
        (["/nowhere"], 3, "this monitor cannot be reached"),
        (["/nowhere", "--limit", "nix"], 2, "no platform 'nix'"),
        (["/nowhere", "--select", "XX"], 2, "no rule's code begins with 'XX'"),
        (["/nowhere", "--guest", "/nowhere.toml"], 2, "cannot be read"),
    ],
)
def test_mistakes_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, text: str
) -> None:
    try:
        assert main(["audit", *arguments]) == status
    except SystemExit as ended:
        assert ended.code == status  # noqa: PT017
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_answers_that_are_none_end_with_4(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    told = answers()
    told[command("query-version")] = {"qemu": "eleven"}
    assert main(["audit", serve(told)]) == 4
    assert "QEMU's answers are not those of a QEMU" in capsys.readouterr().err


@pytest.mark.parametrize("code", [f"SQ95{digit}" for digit in range(10)])
def test_each_rule_of_a_running_guest_is_explained(capsys: pytest.CaptureFixture[str], code: str) -> None:
    assert main(["explain", code]) == 0
    assert capsys.readouterr().out.startswith(code)


def test_a_hook_is_installed_and_its_path_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hook", "--install", str(tmp_path), "--policy", str(tmp_path / "none.toml")]) == 0
    told = capsys.readouterr()
    assert Path(told.out.strip()).read_text().startswith("#!")
    assert "restart libvirt" in told.err


def test_a_hook_with_a_policy_that_is_wrong_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hook.toml").write_text("required = 7\n")
    assert main(["hook", "--install", str(tmp_path), "--policy", str(tmp_path / "hook.toml")]) == 2
    assert "required is no list of names" in capsys.readouterr().err
    assert not (tmp_path / "qemu.d").exists()


def test_a_domain_is_judged_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    domains = Path(__file__).parents[1] / "formats" / "domains"

    class Input:
        buffer = io.BytesIO((domains / "launch-tdx.xml").read_bytes())

    monkeypatch.setattr("sys.stdin", Input())
    assert main(["hook", "--judge", "td0", "--policy", "/nowhere.toml"]) == 1
    assert "SQ501" in capsys.readouterr().err
