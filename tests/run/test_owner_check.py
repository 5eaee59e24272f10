"""The owner is asked by command, web or file; anything but a clear yes is a no, and nobody is waited for for ever."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from sequester.errors import GuestError, InputError, SequesterError
from sequester.owner.launch import Answer, Launch
from sequester.owner.sev_secret import Packet
from sequester.run import owner_check as module
from sequester.run.owner_check import owner_check

LAUNCH = Launch("sev-es", bytes(48), 5, (1, 55), 21, "web.toml", True)
YES = json.dumps({"schema": "sequester-answer/1", "accepted": True})
SECRET = {"packet-header": "aGVhZGVy", "secret": "c2VjcmV0"}
WITH_SECRET = json.dumps({"schema": "sequester-answer/1", "accepted": True, "secret": SECRET})
NO = json.dumps({"schema": "sequester-answer/1", "accepted": False, "reason": "another kernel"})
NONSENSE = [
    "",
    "yes",
    "[" * 5000,
    "{}",
    '{"schema": "sequester-answer/2", "accepted": true}',
    '{"schema": "sequester-answer/1"}',
    '{"schema": "sequester-answer/1", "accepted": "true"}',
    '{"schema": "sequester-answer/1", "accepted": 1}',
    '{"schema": "sequester-answer/1", "accepted": true, "secret": "plain"}',
    '{"schema": "sequester-answer/1", "accepted": true, "secret": {"packet-header": "*", "secret": ""}}',
]


def ask(said: str) -> Answer:
    return asyncio.run(_asked(said))


async def _asked(said: str) -> Answer:
    return await owner_check(said)(LAUNCH)


def command(tmp_path: Path, code: str) -> str:
    script = tmp_path / "owner.py"
    script.write_text(f"import json, os, sys, time\nlaunch = json.load(sys.stdin)\n{code}\n")
    return f"exec:{sys.executable} {script}"


def test_a_command_gets_the_launch_and_answers(tmp_path: Path) -> None:
    told = f"open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(launch))\nprint({WITH_SECRET!r})"
    answer = ask(command(tmp_path, told))
    assert answer == Answer(True, "", Packet(b"header", b"secret"))
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen == LAUNCH.told()
    assert Launch.of(seen, "seen") == LAUNCH


def test_a_command_that_says_no_is_a_no_with_its_reason(tmp_path: Path) -> None:
    assert ask(command(tmp_path, f"print({NO!r}); sys.exit(4)")) == Answer(False, "another kernel")


@pytest.mark.parametrize("output", NONSENSE)
def test_a_command_that_says_anything_else_is_an_error(tmp_path: Path, output: str) -> None:
    with pytest.raises(SequesterError):
        ask(command(tmp_path, f"print({output!r})"))


def test_a_command_that_fails_after_its_yes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="accepted the launch, and then ended with status 1"):
        ask(command(tmp_path, f"print({YES!r}); sys.exit(1)"))
    with pytest.raises(InputError, match="cannot be run"):
        ask("exec:/no/such/command")
    with pytest.raises(InputError, match="no command"):
        owner_check("exec: ")


def test_a_command_that_hangs_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.5)
    pid = tmp_path / "pid"
    told = f"child = os.fork()\nopen({str(pid)!r}, 'a').write(str(os.getpid()) + ' ')\ntime.sleep(1000)"
    with pytest.raises(GuestError, match="did not answer"):
        ask(command(tmp_path, told))
    for number in pid.read_text().split():
        for _ in range(200):
            if not Path(f"/proc/{number}").exists():
                break
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"process {number} is left")


class Service(BaseHTTPRequestHandler):
    """An owner on the web that answers what the test wants."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")
    seen: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.answer
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/launch"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_service_gets_the_launch_and_answers(address: str) -> None:
    Service.answer = (200, WITH_SECRET.encode())
    assert ask(address).secret == Packet(b"header", b"secret")
    assert json.loads(Service.seen[-1]) == LAUNCH.told()


@pytest.mark.parametrize("status", [302, 404, 500, 204])
def test_a_web_service_with_another_status_is_an_error(address: str, status: int) -> None:
    Service.answer = (status, YES.encode() if status != 204 else b"")
    with pytest.raises(GuestError, match=r"answered with status|cannot be asked"):
        ask(address)


@pytest.mark.parametrize("output", NONSENSE)
def test_a_web_service_that_says_anything_else_is_an_error(address: str, output: str) -> None:
    Service.answer = (200, output.encode())
    with pytest.raises(SequesterError):
        ask(address)


def test_an_answer_without_end_is_cut_off(address: str) -> None:
    Service.answer = (200, YES.encode() + b" " * (2 << 20))
    with pytest.raises(SequesterError):
        ask(address)


def test_an_address_without_tls_is_refused_unless_it_is_here() -> None:
    with pytest.raises(InputError, match="use https"):
        owner_check("http://owner.example/launch")
    with pytest.raises(GuestError, match="cannot be asked"):
        ask("http://127.0.0.1:1/launch")


def test_a_file_is_written_and_its_answer_awaited(tmp_path: Path) -> None:
    question, answer = tmp_path / "launch.json", tmp_path / "launch.json.answer"

    async def carried() -> Answer:
        asking = asyncio.ensure_future(owner_check(str(question))(LAUNCH))
        while not question.exists():
            await asyncio.sleep(0.01)
        assert json.loads(question.read_text()) == LAUNCH.told()
        assert os.stat(question).st_mode & 0o777 == 0o600
        answer.write_text(YES)
        return await asking

    assert asyncio.run(carried()) == Answer(True)
    assert not question.exists()


def test_an_answer_from_before_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "launch.json.answer").write_text(YES)
    with pytest.raises(InputError, match="before the question"):
        ask(str(tmp_path / "launch.json"))
