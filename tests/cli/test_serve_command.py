"""`sequester serve` as a process: it listens, answers, and leaves nothing when it is told to end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "sequester", "serve", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_over_tcp_and_ends_well(ending: signal.Signals) -> None:
    with serving("--listen", "127.0.0.1:0") as (process, said):
        port = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", said)
        assert port is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=20)
        connection.request("POST", "/v1/appraisals", b"nothing that is evidence")
        answer = connection.getresponse()
        assert answer.status == 400
        assert json.load(answer)["code"] == "evidence.unknown"
        connection.close()
        process.send_signal(ending)
        assert process.wait(20) == 0


def test_a_unix_socket_is_the_owners_alone_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving("--listen", str(path)) as (process, said):
        assert said == f"listening on {path}\n"
        assert os.stat(path).st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        process.terminate()
        assert process.wait(20) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--listen", "127.0.0.1:99999"), "no place to listen"),
        (("--listen", "/no/such/folder/s"), "No such file"),
        (("--listen", "127.0.0.1:0", "--tls-cert", "x"), "give both"),
        (("--listen", "127.0.0.1:0", "--tls-cert", "/none", "--tls-key", "/none"), "cannot be used"),
        (("--policy", "/none"), "/none"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    command = [sys.executable, "-m", "sequester", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
