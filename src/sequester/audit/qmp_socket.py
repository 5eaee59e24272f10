"""A QMP socket, asked without asyncio: a whole list of commands goes out while the answers come in."""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sequester.audit.asking import NONSENSE, Answer, Command, record
from sequester.errors import GuestError, HostError
from sequester.guard.wire import Framer, MalformedError, parse

GREETING_SECONDS = 5.0
ANSWER_SECONDS = 20.0
_MOST_REPLY = 16 << 20
"""Bytes of one reply: `qom-list` of a machine with a thousand devices is under one MiB."""
_MOST_DEPTH = 64
_MOST_ALL = 128 << 20
"""Bytes that one QEMU may send in all."""
_PIECE = 1 << 18
_MONOTONIC = time.monotonic


class QmpSocket:
    """One connection to QEMU's monitor. Make it with `connect`, and `close` it."""

    def __init__(self, sock: socket.socket, where: str, clock: Callable[[], float] = _MONOTONIC) -> None:
        self.where = where
        self.peer = _peer(sock)
        self._sock = sock
        self._clock = clock
        self._framer = Framer(_MOST_REPLY, _MOST_DEPTH)
        self._arrived: list[dict[str, Any]] = []
        self._bytes = 0
        self._number = 0
        sock.setblocking(False)

    def greet(self, seconds: float = GREETING_SECONDS) -> None:
        """Wait for the greeting and leave negotiation mode."""
        deadline = self._clock() + seconds
        greeting = next(self._messages(deadline, b""), None)
        if greeting is None:
            raise HostError(
                f"no greeting came in {seconds:.0f} s",
                code="qmp.silent",
                where=self.where,
                remedy="a QMP socket serves one client at a time: end the other one, give QEMU another -qmp socket, "
                "or start `sequester guard` before it, which serves many",
            )
        if "QMP" not in greeting:
            raise GuestError("QEMU's first words are not QMP", code="qmp.greeting", where=self.where)
        (answer,) = self.ask([Command("qmp_capabilities")])
        if answer.error:
            raise GuestError(
                "QEMU did not negotiate", code="qmp.greeting", where=self.where, why=answer.error
            )

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask everything and wait for every answer; events in between are passed over."""
        first = self._number
        self._number += len(commands)
        lines = (
            json.dumps({**command.request(), "id": first + number}) + "\n"
            for number, command in enumerate(commands)
        )
        answers: dict[int, Answer] = {}
        for message in self._messages(self._clock() + ANSWER_SECONDS, "".join(lines).encode()):
            if "event" in message:
                continue
            number = message.get("id")
            if not isinstance(number, int) or not first <= number < self._number or number in answers:
                raise GuestError(NONSENSE, code="qmp.answer", where=self.where, why="an answer to nothing")
            answers[number] = _answer(message)
            if len(answers) == len(commands):
                return [answers[number] for number in range(first, self._number)]
        raise GuestError(
            f"QEMU left {len(commands) - len(answers)} of {len(commands)} questions unanswered for "
            f"{ANSWER_SECONDS:.0f} s",
            code="qemu.hangs",
            where=self.where,
        )

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def _messages(self, deadline: float, out: bytes) -> Iterator[dict[str, Any]]:
        """Send, and yield what comes in until the deadline has passed."""
        left = memoryview(out)
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            while True:
                while self._arrived:
                    yield self._arrived.pop(0)
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0)
                selector.modify(self._sock, wanted)
                rest = deadline - self._clock()
                ready = selector.select(max(rest, 0))
                if not ready:
                    if rest <= 0:
                        return
                    continue
                try:
                    if ready[0][1] & selectors.EVENT_WRITE:
                        left = left[self._sock.send(left) :]
                    if ready[0][1] & selectors.EVENT_READ:
                        self._read()
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise self._gone(error.strerror or "") from None

    def _read(self) -> None:
        data = self._sock.recv(_PIECE)
        if not data:
            raise self._gone("QEMU closed the connection")
        self._bytes += len(data)
        if self._bytes > _MOST_ALL:
            raise GuestError("QEMU does not stop talking", code="qmp.nonsense", where=self.where)
        for message in self._framer.feed(data):
            if isinstance(message, MalformedError):
                raise self._malformed(message)
            try:
                value = parse(message)
            except MalformedError as fault:
                raise self._malformed(fault) from None
            self._arrived.append(record(value))

    def _malformed(self, fault: MalformedError) -> GuestError:
        return GuestError(NONSENSE, code="qmp.nonsense", where=self.where, why=str(fault))

    def _gone(self, why: str) -> GuestError:
        return GuestError("QEMU is gone", code="qemu.ended", where=self.where, why=why)


def connect(path: str, seconds: float = GREETING_SECONDS) -> QmpSocket:
    """Connect to QEMU's monitor at a UNIX path. Raises HostError when nobody is there, or somebody else has it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(seconds)
    try:
        sock.connect(os.fsencode(path))
        monitor = QmpSocket(sock, path)
        monitor.greet(seconds)
    except OSError as error:
        sock.close()
        raise HostError(
            "this monitor cannot be reached",
            code="qmp.unreachable",
            where=path,
            why=error.strerror or str(error),
            remedy="name the socket of QEMU's -qmp unix:PATH,server=on,wait=off, or libvirt:NAME",
        ) from None
    except BaseException:
        sock.close()
        raise
    return monitor


def _answer(message: dict[str, Any]) -> Answer:
    if "error" in message:
        error = record(message["error"])
        return Answer(error=str(error.get("desc", "")) or str(error.get("class", "")) or "refused")
    if "return" not in message:
        raise GuestError(NONSENSE, code="qmp.answer", why="neither a value nor an error")
    return Answer(message["return"])


def _peer(sock: socket.socket) -> int | None:
    """Return the process that listens at the other end (unix(7), SO_PEERCRED)."""
    if sock.family != socket.AF_UNIX:
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", raw)
    return pid or None
