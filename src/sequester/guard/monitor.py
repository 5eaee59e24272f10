"""QEMU's monitor, of which there is one connection for everybody.

Commands of all clients go through it under numbers of our own. At most `WINDOW` wait in QEMU at a time, so that it
keeps reading (it stops at eight) and an out-of-band command always gets through; the others wait here, in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sequester.errors import GuestError, HostError
from sequester.findings.case import Version
from sequester.guard.wire import Framer, encode
from sequester.simulator.platform import QmpError

WINDOW = 7
"""QEMU holds eight commands of a monitor (monitor/qmp.c, QMP_REQ_QUEUE_LEN_MAX) and reads no more until one is done."""
_GREETING_SECONDS = 10.0
_MOST_REPLY = 64 << 20
_CHUNK = 1 << 18
_FIRST_WORDS = "QEMU's first words are not QMP"
_NONSENSE = "QEMU sent something else than QMP"
_SHUTDOWN = b'"event": "SHUTDOWN"'
_TAIL = re.compile(rb', "id": (\d+)\}\s*\Z')
_HEAD = re.compile(rb'\A\{"id": (\d+), ')


class Call:
    """One command on its way to QEMU.

    `body` is its JSON without id and closing brace. `answered` gets the members of the reply as text, without braces
    and id; `lost` is called instead when QEMU ends first. `wanted` tells whether anybody still waits for it.
    """

    __slots__ = ("answered", "body", "fds", "lost", "oob", "wanted")

    def __init__(
        self,
        body: bytes,
        answered: Callable[[bytes], None],
        lost: Callable[[], None],
        wanted: Callable[[], bool],
        fds: tuple[int, ...] = (),
        oob: bool = False,
    ) -> None:
        self.body = body
        self.answered = answered
        self.lost = lost
        self.wanted = wanted
        self.fds = fds
        self.oob = oob


class Monitor:
    """The connection, greeted and negotiated.

    `greeting` is QEMU's first line as it came, `capabilities` what it offers, `version` its release. `ended` is done
    when QEMU is gone or talks nonsense, `shut_down` true from when QEMU says that it ends. `on_event` gets each event's
    line.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.greeting = b""
        self.capabilities: tuple[str, ...] = ()
        self.version: Version = ()
        self.shut_down = False
        self.on_event: Callable[[bytes], None] = lambda line: None
        self.ended: asyncio.Future[str] = loop.create_future()
        self._sock = sock
        self._loop = loop
        self._number = 0
        self._calls: dict[int, Call] = {}
        self._in_band = 0
        self._passing = 0  # calls in QEMU that carry file descriptors: it keeps those of one message only
        self._waiting: deque[Call] = deque()
        self._out: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._held = bytearray()
        self._looked = 0
        self._framer: Framer | None = None  # of a monitor that writes over several lines (pretty=on)

    def submit(self, call: Call) -> None:
        """Send a command, now or when it is its turn. Takes over its file descriptors."""
        if self.ended.done():
            self._close(call.fds)
            call.lost()
        elif call.oob or self._may_go(call):
            self._send(call)
        else:
            self._waiting.append(call)

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run one command and return its value. Raises QmpError as QEMU has it, GuestError when QEMU is gone."""
        return await self.pass_on({"execute": command, **({"arguments": arguments} if arguments else {})})

    async def pass_on(self, request: Mapping[str, Any], fds: tuple[int, ...] = ()) -> Any:
        """Run a command as a client wrote it, without its id; return its value. Raises as `execute`."""
        reply: asyncio.Future[bytes] = self._loop.create_future()

        def answered(core: bytes) -> None:
            if not reply.done():
                reply.set_result(core)

        def lost() -> None:
            if not reply.done():
                reply.set_exception(GuestError("QEMU is gone", code="qemu.ended", why=self.ended.result()))

        body = encode(request)[:-1].encode()
        self.submit(Call(body, answered, lost, lambda: not reply.done(), fds, oob="exec-oob" in request))
        message = _read(b"{" + await reply + b"}")
        error = message.get("error")
        if error is None:
            return message.get("return")
        described = error if isinstance(error, dict) else {}
        raise QmpError(str(described.get("desc", "")), str(described.get("class", "GenericError")))

    def close(self, why: str = "closed here") -> None:
        """End the connection; whoever waits for a reply is told."""
        if self.ended.done():
            return
        self.ended.set_result(why)
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for call in (*self._calls.values(), *self._waiting):
            call.lost()
        for fds in [call.fds for call in self._waiting] + [fds for _, fds in self._out]:
            self._close(fds)
        self._calls.clear()
        self._waiting.clear()
        self._out.clear()

    # Towards QEMU.

    def _may_go(self, call: Call) -> bool:
        return not self._waiting and self._has_room(call)

    def _has_room(self, call: Call) -> bool:
        return self._in_band < WINDOW and not (call.fds and self._passing)

    def _send(self, call: Call) -> None:
        self._number = number = self._number + 1
        self._calls[number] = call
        if not call.oob:
            self._in_band += 1
        if call.fds:
            self._passing += 1
        data = b'%b, "id": %d}\n' % (call.body, number)
        if self._out:
            self._out.append((memoryview(data), call.fds))
            return
        sent = self._write(data, call.fds)
        if sent < len(data):
            self._out.append((memoryview(data)[sent:], () if sent else call.fds))
            self._loop.add_writer(self._sock, self._writable)

    def _write(self, data: bytes | memoryview, fds: tuple[int, ...]) -> int:
        """Write what goes; close descriptors that went with it."""
        try:
            if not fds:
                return self._sock.send(data)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))
            sent = self._sock.sendmsg([data], [rights])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._loop.call_soon(self.close, error.strerror or "the connection broke")
            sent = len(data)
        self._close(fds)
        return sent

    def _writable(self) -> None:
        while self._out:
            data, fds = self._out[0]
            sent = self._write(data, fds)
            if not sent:
                return
            if sent < len(data):
                self._out[0] = (data[sent:], ())
            elif self._out:
                self._out.popleft()
        self._loop.remove_writer(self._sock)

    @staticmethod
    def _close(fds: Sequence[int]) -> None:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)

    # From QEMU.

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error.strerror or "the connection broke")
            return
        if not data:
            self.close("QEMU closed the connection")
        elif self._framer is not None:
            for message in self._framer.feed(data):
                if not self.ended.done():
                    self._take(message if isinstance(message, bytes) else b"")
        else:
            self._take_lines(data)

    def _take_lines(self, data: bytes) -> None:
        held = self._held
        if not held and data.endswith(b"\n"):
            lines = data.split(b"\n")
        else:
            held += data
            if b"\n" not in data:
                if len(held) > _MOST_REPLY:
                    self.close(f"QEMU sent more than {_MOST_REPLY >> 20} MiB without an end of line")
                return
            *lines, rest = bytes(held).split(b"\n")
            held[:] = rest
        for line in lines:
            if line and line != b"\r" and not self.ended.done():
                self._take(line)

    def _take(self, line: bytes) -> None:
        found = _TAIL.search(line, max(len(line) - 40, 0))
        if found is not None:
            self._answer(int(found[1]), line[1 : found.start()])
            return
        found = _HEAD.match(line)
        if found is not None:
            self._answer(int(found[1]), line[found.end() : line.rindex(b"}")])
        elif line.startswith(b'{"timestamp": '):
            self._tell(line.rstrip() + b"\r\n")
        else:
            self._take_unusual(line)

    def _tell(self, line: bytes) -> None:
        if _SHUTDOWN in line:
            self.shut_down = True
        self.on_event(line)

    def _take_unusual(self, line: bytes) -> None:
        """A message that is laid out as no QEMU does it, or that is none."""
        try:
            message = _read(line)
        except GuestError as error:
            self.close(error.why)
            return
        number = message.pop("id", None)
        if "event" in message:
            self._tell(encode(message).encode() + b"\r\n")
        elif isinstance(number, int) and ("return" in message or "error" in message):
            self._answer(number, encode(message)[1:-1].encode())
        elif "error" in message and self._calls:
            # QEMU gives no id where it could not read a command; it answers in order, so the oldest is meant.
            oldest = next((n for n, call in self._calls.items() if not call.oob), next(iter(self._calls)))
            self._answer(oldest, encode(message)[1:-1].encode())

    def _answer(self, number: int, core: bytes) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            return
        if not call.oob:
            self._in_band -= 1
        if call.fds:
            self._passing -= 1
        while self._waiting and (not self._waiting[0].wanted() or self._has_room(self._waiting[0])):
            following = self._waiting.popleft()
            if following.wanted():
                self._send(following)
            else:
                self._close(following.fds)
        call.answered(core)

    async def _greet(self) -> None:
        """Read the greeting and negotiate, with all that QEMU offers."""
        framer = Framer(_CHUNK)
        message: Any = None
        while message is None:
            more = await self._loop.sock_recv(self._sock, 4096)
            if not more:
                raise EOFError
            if not framer.held and more.strip() and not more.lstrip().startswith(b"{"):
                raise GuestError(
                    _FIRST_WORDS, code="qmp.greeting"
                )  # no object follows that could be waited for
            message = next(framer.feed(more), None)
        greeting = _read(message if isinstance(message, bytes) else b"")
        try:
            told = greeting["QMP"]["version"]["qemu"]
            self.version = (int(told["major"]), int(told["minor"]), int(told["micro"]))
            self.capabilities = tuple(str(name) for name in greeting["QMP"]["capabilities"])
        except (KeyError, TypeError, ValueError):
            raise GuestError(_FIRST_WORDS, code="qmp.greeting") from None
        self.greeting = encode(greeting).encode() + b"\r\n"
        if b"\n" in message:
            self._framer = Framer(_MOST_REPLY)
        self._loop.add_reader(self._sock, self._readable)
        enable = {"enable": ["oob"]} if "oob" in self.capabilities else None
        await self.execute("qmp_capabilities", enable)


async def connect(qmp: str | socket.socket, patience: float = _GREETING_SECONDS) -> Monitor:
    """Connect to QEMU's QMP socket, a path or what is connected already; greet and negotiate.

    `patience` is how many seconds a greeting may take.

    Raises HostError where nobody listens or somebody else holds the monitor, GuestError where the other end is no QMP.
    """
    loop = asyncio.get_running_loop()
    where = qmp if isinstance(qmp, str) else "the monitor"
    sock = socket.socket(socket.AF_UNIX) if isinstance(qmp, str) else qmp
    sock.setblocking(False)
    monitor = Monitor(sock, loop)
    try:
        if isinstance(qmp, str):
            await loop.sock_connect(sock, qmp)
        async with asyncio.timeout(patience):
            await monitor._greet()
    except TimeoutError:
        monitor.close()
        raise HostError(
            f"no greeting came in {patience:.0f} s",
            code="qmp.silent",
            where=where,
            remedy="QEMU talks to one client at a time: end the other one, or give QEMU a socket for the guard alone",
        ) from None
    except (OSError, EOFError) as error:
        monitor.close()
        why = getattr(error, "strerror", None) or str(error) or "the connection was closed"
        raise HostError(
            "this monitor cannot be reached", code="qmp.unreachable", where=where, why=why
        ) from None
    except QmpError as error:
        monitor.close()
        raise GuestError("QEMU did not negotiate", code="qmp.greeting", why=error.description) from None
    except BaseException:
        monitor.close()
        raise
    return monitor


def _read(message: bytes) -> dict[str, Any]:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise GuestError(_NONSENSE, code="qmp.nonsense", why=_NONSENSE)
    return value
