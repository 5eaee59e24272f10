"""The socket's side: what a QEMU, or what claims to be one, sends."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sequester.audit import qmp_socket
from sequester.audit.asking import command
from sequester.audit.qmp_socket import connect
from sequester.errors import GuestError, HostError, SequesterError

GREETING = b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n'
Talk = Callable[[socket.socket], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[Talk], str]]:
    """Serve one client with a function of its connection; return the socket's path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "q"))
    listener.listen()
    threads = []

    def serve(talk: Talk) -> str:
        def run() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(10)
                try:
                    talk(client)
                except OSError:
                    return

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return str(tmp_path / "q")

    yield serve
    listener.close()
    for thread in threads:
        thread.join(10)


def echo(client: socket.socket, between: bytes = b"") -> None:
    """Answer everything with its own name."""
    client.sendall(GREETING)
    for line in client.makefile("rb"):
        asked = json.loads(line)
        reply = {"return": asked["execute"], "id": asked["id"]}
        client.sendall(between + json.dumps(reply).encode() + b"\r\n")


def after_greeting(data: bytes) -> Talk:
    """Negotiate as QEMU does, and answer the first question with `data`."""

    def talk(client: socket.socket) -> None:
        client.sendall(GREETING)
        lines = client.makefile("rb")
        number = json.loads(lines.readline())["id"]
        client.sendall(b'{"return": {}, "id": %d}\r\n' % number)
        lines.readline()
        client.sendall(data)
        lines.readline()

    return talk


def test_many_questions_go_out_in_one_go_and_come_back_in_order(server: Callable[[Talk], str]) -> None:
    monitor = connect(server(echo))
    names = [f"query-{number}" for number in range(5000)]
    answers = monitor.ask([command(name) for name in names])
    assert [answer.value for answer in answers] == names
    assert monitor.peer == os.getpid()
    monitor.close()


def test_events_in_between_are_passed_over(server: Callable[[Talk], str]) -> None:
    event = b'{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\r\n'
    monitor = connect(server(lambda client: echo(client, event)))
    assert [answer.value for answer in monitor.ask([command("a"), command("b")])] == ["a", "b"]
    monitor.close()


def test_a_pretty_printed_monitor_is_understood(server: Callable[[Talk], str]) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(json.dumps({"QMP": {}}, indent=4).encode() + b"\r\n")
        for line in client.makefile("rb"):
            asked = json.loads(line)
            client.sendall(json.dumps({"return": 1, "id": asked["id"]}, indent=4).encode() + b"\r\n")

    monitor = connect(server(talk))
    assert monitor.ask([command("a")])[0].value == 1
    monitor.close()


def test_an_error_of_qemu_is_an_answer(server: Callable[[Talk], str]) -> None:
    error = b'{"error": {"class": "CommandNotFound", "desc": "no such command"}, "id": 1}\r\n'
    monitor = connect(server(after_greeting(error)))
    assert monitor.ask([command("a")])[0].error == "no such command"
    monitor.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello\r\n", "qmp.nonsense"),
        (b"[]\r\n", "qmp.answer"),
        (b"7\r\n", "qmp.answer"),
        (b'{"id": 1}\r\n', "qmp.answer"),
        (b'{"return": 1}\r\n', "qmp.answer"),
        (b'{"return": 1, "id": 99}\r\n', "qmp.answer"),
        (b'{"return": 1, "id": 0}\r\n', "qmp.answer"),
        (b'{"return": 1, "id": "1"}\r\n', "qmp.answer"),
        (b'{"return": 1, "return": 2, "id": 1}\r\n', "qmp.nonsense"),
        (b'{"return": NaN, "id": 1}\r\n', "qmp.nonsense"),
        (b'{"error": 7, "id": 1}\r\n', "qmp.answer"),
        (b'{"return": "\xff", "id": 1}\r\n', "qmp.nonsense"),
        (b'{"return": ' + b"[" * 100 + b"]" * 100 + b', "id": 1}\r\n', "qmp.nonsense"),
        (b"", "qemu.ended"),
    ],
)
def test_what_is_no_answer_is_an_error_of_one_line(
    server: Callable[[Talk], str], data: bytes, code: str
) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(GREETING)
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b'{"return": {}, "id": 0}\r\n')
        lines.readline()
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    monitor = connect(server(talk))
    with pytest.raises(GuestError) as caught:
        monitor.ask([command("a")])
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    monitor.close()


def test_a_reply_without_end_is_given_up(
    server: Callable[[Talk], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp_socket, "_MOST_REPLY", 1 << 16)
    monitor = connect(server(after_greeting(b'{"return": "' + b"a" * (1 << 20))))
    with pytest.raises(GuestError, match="longer than 65536 bytes"):
        monitor.ask([command("a")])
    monitor.close()


def test_endless_events_are_given_up(server: Callable[[Talk], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp_socket, "_MOST_ALL", 1 << 16)
    monitor = connect(server(after_greeting(b'{"event": "X"}\r\n' * 10000)))
    with pytest.raises(GuestError, match="does not stop talking"):
        monitor.ask([command("a")])
    monitor.close()


def test_a_qemu_that_does_not_answer_is_given_up(
    server: Callable[[Talk], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp_socket, "ANSWER_SECONDS", 0.2)
    monitor = connect(server(after_greeting(b'{"event": "X"}\r\n')))
    with pytest.raises(GuestError, match="left 1 of 1 questions unanswered"):
        monitor.ask([command("a")])
    monitor.close()


def test_a_socket_that_another_client_has_is_told_of(server: Callable[[Talk], str]) -> None:
    path = server(echo)
    first = connect(path)
    with pytest.raises(HostError, match="serves one client at a time"):
        connect(path, seconds=0.2)
    first.close()


@pytest.mark.parametrize("words", [b"SSH-2.0-x\r\n", b'{"hello": 1}\r\n', b""])
def test_what_does_not_greet_as_qemu_is_none(server: Callable[[Talk], str], words: bytes) -> None:
    with pytest.raises(SequesterError) as caught:
        connect(server(lambda client: client.sendall(words)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere", "/etc", "x" * 300, "a\0b"])
def test_a_path_that_is_no_monitor_is_told_of(path: str) -> None:
    with pytest.raises(HostError, match="this monitor cannot be reached"):
        connect(path)
