"""`sequester guard`: what it asks of its user, and how it ends."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from sequester.cli.guard import _LINES_A_SECOND, _Teller
from sequester.cli.main import main
from sequester.guard.guard import Noted
from sequester.guard.verdict import Allow, Amend, Refuse
from sequester.rules.catalogue import rule

GREETING = {"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 2}}, "capabilities": []}}
SNP = {
    ("/machine", "type"): "pc-q35-11.1-machine",
    ("/machine", "confidential-guest-support"): "/objects/lsec0",
    ("/objects/lsec0", "type"): "sev-snp-guest",
    ("/objects/lsec0", "policy"): 0x30000,
}


@contextlib.contextmanager
def qemu(folder: Path, properties: dict, *, then: str = "", greeting: bytes | None = None):
    """A monitor with these properties; `then` says what happens after the questions: an event, or nothing."""
    path = str(folder / "private")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                peer.sendall(json.dumps(GREETING).encode() + b"\n" if greeting is None else greeting)
                for line in peer.makefile("rb"):
                    asked = json.loads(line)
                    peer.sendall(json.dumps(answer(asked)).encode() + b"\r\n")
                    if then and asked.get("arguments", {}).get("property") == then.partition(" ")[0]:
                        break
                if "SHUTDOWN" in then:
                    stamp = {"seconds": 1, "microseconds": 2}
                    peer.sendall(json.dumps({"timestamp": stamp, "event": "SHUTDOWN"}).encode() + b"\r\n")

    def answer(asked: dict) -> dict:
        if asked["execute"] == "query-target":
            return {"return": {"arch": "x86_64"}, "id": asked["id"]}
        if asked["execute"] == "qom-get":
            place = (asked["arguments"]["path"], asked["arguments"]["property"])
            if place not in properties:
                error = {"class": "GenericError", "desc": f"Property {place} not found"}
                return {"id": asked["id"], "error": error}
            return {"return": properties[place], "id": asked["id"]}
        return {"return": {}, "id": asked["id"]}

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def guard(folder: Path, private: str, *more: str) -> int:
    return main(["guard", "--qmp", private, "--listen", str(folder / "q"), *more])


def test_it_finds_the_platform_and_ends_with_qemu(tmp_path, capsys) -> None:
    with qemu(tmp_path, SNP, then="policy SHUTDOWN") as private:
        assert guard(tmp_path, private) == 0
    said = capsys.readouterr().err
    assert "QEMU 11.1.2, AMD SEV-SNP: listening on" in said
    assert "NOT protected" not in said
    assert not (tmp_path / "q").exists()


def test_a_qemu_that_goes_without_a_word_is_an_error(tmp_path, capsys) -> None:
    with qemu(tmp_path, SNP, then="policy") as private:
        assert guard(tmp_path, private) == 4
    assert "QEMU is gone" in capsys.readouterr().err


def test_a_guest_without_protection_is_not_guarded_unless_the_platform_is_named(tmp_path, capsys) -> None:
    plain = {("/machine", "type"): "pc-q35-11.1-machine", ("/machine", "confidential-guest-support"): ""}
    with qemu(tmp_path, plain) as private:
        assert guard(tmp_path, private) == 1
    assert "no protection object" in capsys.readouterr().err
    os.unlink(private)
    with qemu(tmp_path, plain, then="confidential-guest-support SHUTDOWN") as private:
        assert guard(tmp_path, private, "--limit", "tdx", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["schema"], each["event"]) for each in told] == [
        ("sequester-guard/1", "listening"),
        ("sequester-guard/1", "ended"),
    ]
    assert told[0]["protected"] is False


@pytest.mark.parametrize(
    ("properties", "words", "status", "said"),
    [
        (SNP, ("--limit", "tdx"), 2, "this guest has AMD SEV-SNP, not Intel TDX"),
        (SNP, ("--limit", "nope"), 2, "there is no platform 'nope'"),
        ({}, ("--limit", "s390-pv"), 2, "is not for x86_64"),
        ({**SNP, ("/objects/lsec0", "type"): "of-tomorrow"}, (), 1, "of-tomorrow"),
    ],
)
def test_a_platform_that_does_not_fit_is_refused(tmp_path, capsys, properties, words, status, said) -> None:
    with qemu(tmp_path, properties) as private:
        assert guard(tmp_path, private, *words) == status
    assert said in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_a_file_can_name_the_platform(tmp_path, capsys) -> None:
    (tmp_path / "web.toml").write_text('limit = "tdx"\n')
    with qemu(tmp_path, {}, then="confidential-guest-support SHUTDOWN") as private:
        assert guard(tmp_path, private, "--guest", str(tmp_path / "web.toml")) == 0
    assert "Intel TDX" in capsys.readouterr().err
    (tmp_path / "web.toml").write_text("memory = '1G'\n")
    assert guard(tmp_path, "unused", "--guest", str(tmp_path / "web.toml")) == 1


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"", b"{}\n"])
def test_what_is_no_qemu_is_one_line(tmp_path, capsys, greeting) -> None:
    with qemu(tmp_path, {}, greeting=greeting, then="x") as private:
        status = guard(tmp_path, private) if greeting else guard(tmp_path, str(tmp_path / "none"))
    assert status in (3, 4)
    said = capsys.readouterr().err
    assert said.startswith("sequester: ")
    assert said.count("\n") == 1


def test_a_place_where_nobody_can_listen_is_one_line(tmp_path, capsys) -> None:
    with qemu(tmp_path, SNP) as private:
        assert main(["guard", "--qmp", private, "--listen", str(tmp_path / "no" / "q")]) == 2
    assert "nothing can listen here" in capsys.readouterr().err


def test_a_signal_ends_it_in_good_order(tmp_path, capsys) -> None:
    def soon() -> None:
        while not (tmp_path / "q").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    with qemu(tmp_path, SNP) as private:
        threading.Thread(target=soon, daemon=True).start()
        assert guard(tmp_path, private) == 0
    assert "nobody guards" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_usage_is_explained(capsys) -> None:
    for words in (
        ["guard"],
        ["guard", "--qmp", "a"],
        ["guard", "--qmp", "a", "--listen", "b", "--unknown", "x"],
    ):
        with contextlib.suppress(SystemExit):
            assert main(words) == 2
    assert "--listen" in capsys.readouterr().err


def test_decisions_are_told_a_line_each_and_never_more_than_so_many_a_second(capsys) -> None:
    now = [0.0]
    teller = _Teller(False, lambda: now[0])
    refused = Refuse(rule("SQ901"), "migrate", "no\x1b[31m")
    teller.noted(Noted(3, "migrate", refused))
    teller.noted(Noted(3, "device_add", Amend({}, ("SQ301 iommu_platform=on",), ("SQ603 x",))))
    teller.noted(Noted(3, "device_add", Allow(("SQ603 y",))))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert "SQ901" in said[0]
    assert "\x1b" not in said[0]
    assert "amended: SQ301 iommu_platform=on" in said[1]
    for _ in range(1000):
        teller.noted(Noted(3, "migrate", refused))
    now[0] = 1.0
    teller.noted(Noted(3, "migrate", refused))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == _LINES_A_SECOND - 4 + 2
    assert f"{1000 - _LINES_A_SECOND + 4} more lines" in said[-2]
