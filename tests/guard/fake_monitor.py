"""A QEMU's monitor as far as a guard needs one, in the test's own event loop; and clients that talk to the guard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

from sequester.guard.guard import Guard, Noted
from sequester.guard.monitor import Monitor, connect
from sequester.guard.rulebook import Rulebook, running_guest
from sequester.platforms.registry import named, resolve

SNP = ("x86_64", "pc-q35-11.1", "sev-snp-guest", "lsec0")


def rules_of(
    kind: str = "sev-snp-guest", arch: str = "x86_64", version=(11, 1, 2), unknown="refuse", **properties: Any
) -> Rulebook:
    """Rules for a guest of which only its protection object is known."""
    guest = running_guest(arch, "", kind, "lsec0", properties)
    limitation = resolve(guest) or named(kind)()
    return Rulebook(limitation, guest, version, "lsec0", unknown)


class FakeQemu:
    """Answers every command with nothing but for `answers`; keeps those in `held` for itself until `release`."""

    def __init__(self, version=(11, 1, 2), capabilities=("oob",), pretty: bool = False) -> None:
        self.mine, self.theirs = socket.socketpair()
        self.mine.setblocking(False)
        self.asked: list[tuple[str, Any]] = []
        self.raw = b""
        self.got: list[int] = []
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.held: dict[str, list[Any]] = {}
        self._indent = 4 if pretty else None
        self._rest = ""
        self._out = bytearray()
        major, minor, micro = version
        told = {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""}
        self.say({"QMP": {"version": told, "capabilities": list(capabilities)}})
        asyncio.get_running_loop().add_reader(self.mine, self._readable)

    def say(self, message: Any) -> None:
        self._out += json.dumps(message, indent=self._indent).encode() + b"\r\n"
        self._writable()

    def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(BlockingIOError):
            while self._out:
                del self._out[: self.mine.send(self._out)]
        (loop.add_writer if self._out else loop.remove_writer)(
            self.mine, *([self._writable] if self._out else [])
        )

    def event(self, name: str, **data: Any) -> None:
        self.say({"timestamp": {"seconds": 1, "microseconds": 2}, "event": name, "data": data})

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    def release(self, name: str) -> None:
        for identity in self.held.pop(name):
            self.say({"return": {}, "id": identity})

    def close(self) -> None:
        if self.mine.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.mine)
            asyncio.get_running_loop().remove_writer(self.mine)
        self.mine.close()

    def _readable(self) -> None:
        try:
            data, extra, _, _ = self.mine.recvmsg(1 << 20, socket.CMSG_SPACE(64))
        except OSError:
            data, extra = b"", []
        for _, _, packed in extra:
            got = array("i")
            got.frombytes(packed)
            self.got += got
        if not data:
            self.close()
            return
        self.raw += data
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        for line in lines:
            self._answer(json.loads(line))

    def _answer(self, message: dict[str, Any]) -> None:
        name = message.get("execute") or message.get("exec-oob")
        self.asked.append((name, message.get("arguments")))
        if name in self.held:
            self.held[name].append(message["id"])
            return
        try:
            value = self.answers.get(name, lambda arguments: {})(message.get("arguments"))
        except ValueError as error:
            self.say({"id": message["id"], "error": {"class": "GenericError", "desc": str(error)}})
        else:
            self.say({"return": value, "id": message["id"]})


class Client:
    """Talks to the guard, a line at a time."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def __aenter__(self) -> Client:
        await self.connect()
        await self.ask("qmp_capabilities", enable=["oob"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def connect(self) -> Any:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path, limit=1 << 24)
        return await self.line()

    def send(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def line(self) -> Any:
        raw = await asyncio.wait_for(self.reader.readline(), 20)
        return json.loads(raw) if raw else None

    async def say(self, text: str | bytes) -> Any:
        self.send(text)
        return await self.line()

    async def ask(self, command: str, **arguments: Any) -> Any:
        return await self.say(json.dumps({"execute": command, "arguments": arguments}))


class Setting:
    """A guard before a fake QEMU."""

    def __init__(self, guard: Guard, qemu: FakeQemu, monitor: Monitor, path: str, noted: list[Noted]) -> None:
        self.guard = guard
        self.qemu = qemu
        self.monitor = monitor
        self.path = path
        self.noted = noted

    def client(self) -> Client:
        return Client(self.path)


@contextlib.asynccontextmanager
async def setting(
    folder: Any, rules: Rulebook | None = None, qemu: FakeQemu | None = None, **more: Any
) -> AsyncIterator[Setting]:
    """A guard that listens in `folder`, before a fake QEMU."""
    qemu = qemu or FakeQemu()
    noted: list[Noted] = []
    monitor = await connect(qemu.theirs)
    qemu.asked.clear()
    guard = Guard(rules or rules_of(), monitor, journal=noted.append, **more)
    path = os.path.join(folder, "q")
    guard.serve(path)
    try:
        yield Setting(guard, qemu, monitor, path, noted)
    finally:
        guard.close()
        qemu.close()
        await asyncio.sleep(0)
