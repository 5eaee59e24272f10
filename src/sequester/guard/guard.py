"""The guard: a QMP server in front of QEMU's, for many clients, each held to the rules.

It answers a command itself (a refusal, or a `Handler` of a simulated platform), sends it on as it came, or sends it on
with other arguments. Whoever owns the guard runs commands of its own through the same connection, unguarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sequester.errors import GuestError, InputError
from sequester.guard.client import Client, Slot
from sequester.guard.monitor import Monitor
from sequester.guard.rulebook import Rulebook
from sequester.guard.verdict import Allow, Amend, Refuse, Verdict
from sequester.guard.wire import encode, return_reply
from sequester.platforms.limitation import Engagement
from sequester.simulator.platform import Handler, QmpError

_MOST_CLIENTS = 512
_MOST_OF_ONE = 256
"""Connections, of all processes and of one."""
_MOST_HELD = 64 << 20
"""Bytes that are held for all clients together; beyond it the one with the most is dropped."""
_SWEEP = 5.0
_PAUSE = 0.2
"""Seconds without accepting anybody when no file descriptor is left."""
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Noted:
    """A decision worth telling: `client` is its number, `command` QMP's name."""

    client: int
    command: str
    verdict: Verdict


Journal = Callable[[Noted], None]
Watcher = Callable[[str, Mapping[str, Any]], None]
"""Gets each event: its name, and its data."""


class Guard:
    """One QEMU's guard.

    `monitor` is the connection to QEMU (`monitor.connect`), whose end is the guard's. `handlers` answer commands in
    QEMU's place. `engaged` tells whether the limitation binds now, where somebody knows better than QEMU (a simulated
    platform); otherwise QEMU is asked where it can tell, and every rule binds where it cannot. `journal` is told of
    each refusal and amendment.
    """

    def __init__(
        self,
        rulebook: Rulebook,
        monitor: Monitor,
        handlers: Mapping[str, Handler] | None = None,
        engaged: Callable[[], bool] | None = None,
        journal: Journal = lambda noted: None,
    ) -> None:
        self.rulebook = rulebook
        self.monitor = monitor
        self.loop = asyncio.get_running_loop()
        self._handlers = dict(handlers or {})
        self._engaged = engaged
        self._switches = rulebook.limitation.engages is Engagement.AT_SWITCHOVER
        self._journal = journal
        self._clients: dict[int, Client] = {}
        self._numbers = 0
        self._of_process: Counter[int] = Counter()
        self._watchers: list[Watcher] = []
        self._listeners: list[tuple[socket.socket, str, tuple[int, int]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._failure: GuestError | None = None
        self._closed = False
        monitor.on_event = self._event
        monitor.ended.add_done_callback(lambda _: self.close())

    # For the owner.

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run a command of the owner's: no rule is asked, handlers answer as for a client.

        Raises QmpError with QEMU's words, GuestError when QEMU is gone.
        """
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        handler = self._handlers.get(command)
        if handler is None:
            return await self.monitor.pass_on(request)
        return await handler(dict(arguments or {}), lambda: self.monitor.pass_on(request))

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher` called with every event; return what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def inject(self, event: str, data: Mapping[str, Any] | None = None, now: float | None = None) -> None:
        """Send an event to clients and watchers as if QEMU had; `now` is its time, in seconds since 1970."""
        seconds, fraction = divmod(time.time() if now is None else now, 1)
        stamp = {"seconds": int(seconds), "microseconds": int(fraction * 1_000_000)}
        told = {"timestamp": stamp, "event": event, **({"data": data} if data else {})}
        self._event(encode(told).encode() + b"\r\n")

    def serve(self, where: str | socket.socket) -> None:
        """Listen on a path (made with mode 0600, removed at the end) or on a socket that listens already.

        Raises InputError for a path that cannot be one or is in use.
        """
        path = where if isinstance(where, str) else ""
        sock = _listening(where) if isinstance(where, str) else where
        sock.setblocking(False)
        self._listeners.append((sock, path, _identity(path)))
        self._listen(sock)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    async def wait(self) -> str:
        """Wait for QEMU's end; return what was seen of it. Raises GuestError where a handler ended it."""
        why = await asyncio.shield(self.monitor.ended)
        if self._failure is not None:
            raise self._failure
        return why

    def close(self) -> None:
        """Let all clients go, stop listening, remove the sockets and end the connection to QEMU."""
        if self._closed:
            return
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for sock, path, identity in self._listeners:
            self.loop.remove_reader(sock)
            sock.close()
            if path and _identity(path) == identity:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        for client in list(self._clients.values()):
            client.close()
        for task in self._tasks:
            task.cancel()
        self.monitor.close()

    # For clients.

    def begin(self, client: Client, slot: Slot, command: str, request: dict[str, Any]) -> None:
        """Decide on a client's command and set it going."""
        arguments = request.get("arguments")
        if not isinstance(arguments, dict):
            arguments = {}
        engaged = True if self._engaged is None or not self._switches else self._engaged()
        verdict = self.rulebook.decide(command, arguments, engaged)
        asks = isinstance(verdict, Refuse) and self._engaged is None and self.rulebook.asks_for_switchover
        if asks or command in self._handlers:
            if "exec-oob" not in request:  # that one holds up nobody
                client.hold()
            task = self.loop.create_task(self._look_into(client, slot, command, request, arguments, verdict))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._carry_out(client, slot, command, request, verdict)

    def _carry_out(
        self, client: Client, slot: Slot, command: str, request: dict[str, Any], verdict: Verdict
    ) -> None:
        if not isinstance(verdict, Allow) or verdict.notes:
            self._journal(Noted(client.number, command, verdict))
        if isinstance(verdict, Refuse):
            client.refuse(slot, verdict.description)
            return
        if isinstance(verdict, Amend):
            request["arguments"] = dict(verdict.arguments)
        client.forward(slot, request)

    async def _look_into(
        self,
        client: Client,
        slot: Slot,
        command: str,
        request: dict[str, Any],
        arguments: dict[str, Any],
        verdict: Verdict,
    ) -> None:
        try:
            if isinstance(verdict, Refuse) and self._engaged is None and not await self._switched_over():
                verdict = self.rulebook.decide(command, arguments, engaged=False)
            if isinstance(verdict, Refuse) or command not in self._handlers:
                self._carry_out(client, slot, command, request, verdict)
            else:
                await self._answer(client, slot, command, request, verdict)
        finally:
            if "exec-oob" not in request:
                client.go_on()

    async def _answer(
        self, client: Client, slot: Slot, command: str, request: dict[str, Any], verdict: Verdict
    ) -> None:
        if isinstance(verdict, Amend):
            self._journal(Noted(client.number, command, verdict))
            request["arguments"] = dict(verdict.arguments)
        arguments = request.get("arguments")
        given = arguments if isinstance(arguments, dict) else {}
        try:
            value = await self._handlers[command](given, lambda: self.monitor.pass_on(request))
        except QmpError as error:
            client.refuse(slot, error.description, error.error_class)
        except GuestError as error:
            if not self.monitor.ended.done():
                self._failure = error
                self.monitor.close(str(error))
        else:
            client.answer(slot, return_reply(value, slot.identity))

    async def _switched_over(self) -> bool:
        """Ask QEMU whether the guest has switched over: from then on something blocks its migration.

        Anything else that blocks it counts too, and so does an answer that tells nothing: rules rather bind too early.
        """
        if not self.rulebook.asks_for_switchover:
            return True
        try:
            told = await self.monitor.execute("query-migrate")
        except (QmpError, GuestError):
            return True
        return not isinstance(told, dict) or bool(told.get("blocked-reasons", told.get("blocked", False)))

    def left(self, client: Client) -> None:
        """Forget a client that has closed."""
        if self._clients.pop(client.number, None) is not None:
            self._of_process[client.peer] -= 1
            if not self._of_process[client.peer]:
                del self._of_process[client.peer]

    # Inside.

    def _event(self, line: bytes) -> None:
        for client in list(self._clients.values()):
            client.event(line)
        if self._watchers:
            try:
                told = json.loads(line)
            except (ValueError, RecursionError):
                self.monitor.close("QEMU sent an event that is none")
                return
            data = told.get("data")
            for watcher in tuple(self._watchers):
                watcher(str(told.get("event")), data if isinstance(data, dict) else {})

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
                self.loop.remove_reader(listener)
                self.loop.call_later(_PAUSE, self._listen, listener)
            return
        sock.setblocking(False)
        peer = _process(sock)
        if len(self._clients) >= _MOST_CLIENTS:
            self._make_room()
        if len(self._clients) >= _MOST_CLIENTS or self._of_process[peer] >= _MOST_OF_ONE:
            sock.close()
            return
        self._numbers += 1
        client = Client(self, sock, self._numbers, peer)
        if not client.closed:
            self._clients[client.number] = client
            self._of_process[peer] += 1

    def _listen(self, listener: socket.socket) -> None:
        if not self._closed:
            self.loop.add_reader(listener, self._accept, listener)

    def _make_room(self) -> None:
        """Drop the one that has been connected longest without having negotiated."""
        for client in self._clients.values():
            if not client.negotiated:
                client.close()
                return

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
        now = self.loop.time()
        for client in list(self._clients.values()):
            client.sweep(now)

    def weigh(self) -> None:
        """Drop the client that holds the most when all together hold too much."""
        clients = self._clients.values()
        if sum(client.held for client in clients) > _MOST_HELD:
            max(clients, key=lambda client: client.held).close()


def _listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        # The mode of the unbound socket, less the umask, becomes that of the path: it is never open to others.
        os.fchmod(sock.fileno(), 0o600)
        _clear(path)
        sock.bind(path)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise InputError(
            "nothing can listen here",
            code="guard.listen",
            where=path,
            why=error.strerror or str(error),
            remedy="name a path in a folder of your own that nobody listens on (108 bytes at most)",
        ) from None
    return sock


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as knock:
        knock.setblocking(False)
        try:
            knock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.lstat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _process(sock: socket.socket) -> int:
    """Return the process at the other end, 0 where it is not known."""
    try:
        return int.from_bytes(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little", signed=True
        )
    except OSError:
        return 0
