"""One client of the guard: its messages in, replies in their order and events out, all within bounds.

A client that does not read gets no more events, then no more replies to new commands (it is not read from either), and
at last it is dropped; all that it can make the guard hold is a few messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from array import array
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sequester.guard import negotiation
from sequester.guard.monitor import Call
from sequester.guard.wire import Framer, MalformedError, encode, error_reply, parse, return_reply

if TYPE_CHECKING:
    from sequester.guard.guard import Guard

_CHUNK = 1 << 16
_TURN = 16
"""Commands of one client that are begun before others have their turn."""
_MOST_WAITING = 8
"""Commands that one client may have under way, and as many again that wait."""
_MOST_BYTES = 1 << 18
"""Bytes of commands that one client may have under way, and as many that wait."""
_PLAIN = 64
"""Brackets in a message that need not be looked at one by one before it is read."""
_REPLIES = 1 << 16
"""Bytes that a client has not read, from which on it gets no further replies begun."""
_EVENTS = 1 << 18
"""Bytes that a client has not read, from which on it gets no events."""
_PATIENCE = 30.0
"""Seconds that a client may leave its replies unread."""
_FOR_COMMAND = 5.0
"""Seconds that a descriptor is kept for the command it is for."""
_MOST_FDS = 16  # QEMU chardev/char-socket.c, TCP_MAX_FDS
_RIGHTS = socket.CMSG_SPACE(_MOST_FDS * 4)
_ENDS = (b"}", b"}\n", b"}\r\n")
_TAKES_DESCRIPTOR = frozenset({"getfd", "add-fd"})


class Slot:
    """The place of one command among a client's replies, and the descriptors that came with the command."""

    __slots__ = ("fds", "identity", "line")

    def __init__(self, identity: bytes | None, fds: tuple[int, ...]) -> None:
        self.identity = identity
        self.fds = fds
        self.line: bytes | None = None


class Client:
    """A connection. `number` names it in the journal, `peer` is its process, `stuck_since` when it last read
    something while there was something to read (None while there is not)."""

    def __init__(self, guard: Guard, sock: socket.socket, number: int, peer: int) -> None:
        self.number = number
        self.peer = peer
        self.negotiated = False
        self.oob = False
        self.closed = False
        self.dropped_events = 0
        self.stuck_since: float | None = None
        self._guard = guard
        self._loop = guard.loop
        self._sock = sock
        self._framer = Framer()
        self._fds: tuple[int, ...] = ()
        self._fds_since = 0.0
        self._waiting: deque[tuple[bytes | MalformedError, tuple[int, ...]]] = deque()
        self._bytes_waiting = 0
        self._bytes_under_way = 0
        self._oob_under_way = 0
        self._weighed = 0
        self._slots: deque[Slot] = deque()
        self._out = bytearray()
        self._busy = False
        self._reading = True
        self._ended = False
        self._again: asyncio.Handle | None = None
        self._loop.add_reader(sock, self._readable)
        self.send(guard.monitor.greeting)

    @property
    def held(self) -> int:
        """Bytes that the guard holds for this client, about."""
        return len(self._out) + self._framer.held + self._bytes_waiting + self._bytes_under_way

    # In.

    def _readable(self) -> None:
        try:
            data, extra, _, _ = self._sock.recvmsg(_CHUNK, _RIGHTS, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if extra:
            self._keep(extra)
        if not data:
            self._end()
            return
        if self._is_one_message(data) and not self._waiting and self._may_begin():
            try:
                request = parse(data)
            except MalformedError:
                pass  # or it is more than one
            else:
                self._begin(request, self._descriptor_for(request))
                return
        for message in self._framer.feed(data):
            self._take(message)
            if self.closed:
                return
        self._weigh()
        if self._again is None:
            self._work()

    def _is_one_message(self, data: bytes) -> bool:
        """Tell whether this looks like one message in one piece, as almost everything does."""
        return (
            not self._framer.held
            and data.endswith(_ENDS)
            and data[:1] == b"{"
            and data.count(b"{") + data.count(b"[") < _PLAIN
        )

    def _take(self, message: bytes | MalformedError) -> None:
        """Put a message in its place; it is read when it is its turn, unless it may overtake."""
        fds: tuple[int, ...] = ()
        if isinstance(message, bytes):
            if self.oob and b"exec-oob" in message and self._oob_under_way < _MOST_WAITING:
                request = _parsed(message)
                if isinstance(request, dict) and "exec-oob" in request:
                    self._begin(request, ())
                    return
            if self._fds and (b"getfd" in message or b"add-fd" in message):
                fds = self._descriptor_for(_parsed(message))
            self._bytes_waiting += len(message)
        self._waiting.append((message, fds))

    def _descriptor_for(self, request: Any) -> tuple[int, ...]:
        """Hand out the descriptor that is kept, where this command takes one."""
        if not self._fds or not isinstance(request, dict) or request.get("execute") not in _TAKES_DESCRIPTOR:
            return ()
        fds, self._fds = self._fds, ()
        return fds

    def _work(self) -> None:
        """Begin what may begin now, a few at a time; read on when little waits."""
        self._again = None
        waiting = self._waiting
        for _ in range(_TURN):
            if not waiting or not self._may_begin():
                break
            message, fds = waiting.popleft()
            if isinstance(message, bytes):
                self._bytes_waiting -= len(message)
                self._begin(_parsed(message), fds)
            else:
                self._begin(message, fds)
        else:
            if waiting and self._may_begin():
                self._again = self._loop.call_soon(self._work)
        if self.closed:
            return
        full = len(waiting) >= _MOST_WAITING or self._bytes_waiting > _MOST_BYTES or len(self._out) > _REPLIES
        if full == self._reading:
            self._reading = not full
            if full:
                self._loop.remove_reader(self._sock)
            elif not self._ended:
                self._loop.add_reader(self._sock, self._readable)
        if self._ended and not waiting and not self._slots and not self._out:
            self.close()

    def _weigh(self) -> None:
        """Have the guard see to it when this client makes it hold much more than when it was last looked at."""
        held = self.held
        if held > self._weighed + _CHUNK:
            self._weighed = held
            self._guard.weigh()
        else:
            self._weighed = min(self._weighed, held)

    def _may_begin(self) -> bool:
        return (
            not self._busy
            and len(self._slots) < _MOST_WAITING
            and len(self._out) <= _REPLIES
            and self._bytes_under_way <= _MOST_BYTES
            and not self.closed
        )

    def _end(self) -> None:
        """The client said its last; one that still listens gets the replies to that."""
        poll = select.poll()
        poll.register(self._sock, 0)
        if poll.poll(0):  # it closed its other half too
            self.close()
            return
        self._ended = True
        self._loop.remove_reader(self._sock)
        self._work()

    def _keep(self, extra: list[tuple[int, int, bytes]]) -> None:
        """Keep the descriptor that came last, for the command that takes it; close all others.

        QEMU takes the first of several and closes the rest.
        """
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._drop_fds()
                got = array("i")
                got.frombytes(data[: len(data) - len(data) % got.itemsize])
                self._fds = tuple(got[:1])
                self._fds_since = self._loop.time()
                _close(got[1:])

    def _drop_fds(self) -> None:
        _close(self._fds)
        self._fds = ()

    # One command.

    def _begin(self, request: Any, fds: tuple[int, ...]) -> None:
        identity = None
        if isinstance(request, dict) and "id" in request:
            identity = encode(request.pop("id")).encode()
        slot = Slot(identity, fds)
        if not (isinstance(request, dict) and "exec-oob" in request):
            self._slots.append(slot)
        if isinstance(request, MalformedError):
            self.refuse(slot, str(request))
        elif not isinstance(request, dict):
            self.refuse(slot, "QMP input must be a JSON object")
        elif "exec-oob" in request and not (self.negotiated and self.oob):
            self._slots.append(slot)
            self.refuse(slot, "QMP input member 'exec-oob' is unexpected")
        elif "exec-oob" in request and "execute" in request:
            self.refuse(slot, "QMP input can't have both 'execute' and 'exec-oob'")
        else:
            command = request.get("execute", request.get("exec-oob"))
            if not isinstance(command, str):
                self.forward(slot, request)  # QEMU has its own words for what is no command
            elif not self.negotiated or command == negotiation.COMMAND:
                self._negotiate(slot, command, request)
            else:
                self._guard.begin(self, slot, command, request)

    def _negotiate(self, slot: Slot, command: str, request: dict[str, Any]) -> None:
        if command != negotiation.COMMAND or self.negotiated:
            words = negotiation.TWICE if self.negotiated else negotiation.FIRST
            self.refuse(slot, words, "CommandNotFound")
            return
        fault = negotiation.fault(request, self._guard.monitor.capabilities)
        if fault:
            self.refuse(slot, fault)
            return
        self.oob = bool(request.get("arguments", {}).get("enable"))
        self.negotiated = True
        self.answer(slot, return_reply({}, slot.identity))

    def forward(self, slot: Slot, request: dict[str, Any]) -> None:
        """Send a request on to QEMU; its reply takes the slot."""
        fds, slot.fds = slot.fds, ()
        if not fds and request.get("execute") in _TAKES_DESCRIPTOR:
            # Never asked of QEMU: it might still hold one of another client.
            self.refuse(slot, "No file descriptor supplied via SCM_RIGHTS")
            return
        if not request:
            self.refuse(slot, "QMP input lacks member 'execute'")
            return
        body = encode(request)[:-1].encode()
        oob, size = "exec-oob" in request, len(body)
        self._bytes_under_way += size
        self._oob_under_way += oob

        def answered(core: bytes) -> None:
            self._bytes_under_way -= size
            self._oob_under_way -= oob
            if not self.closed:
                tail = b', "id": %b}\r\n' % slot.identity if slot.identity is not None else b"}\r\n"
                self.answer(slot, b"{" + core + tail)

        self._guard.monitor.submit(Call(body, answered, self._lost, self._wants, fds, oob))

    def _lost(self) -> None:
        """QEMU ended: the guard closes all its clients."""

    def _wants(self) -> bool:
        return not self.closed

    # Out.

    def refuse(self, slot: Slot, description: str, error_class: str = "GenericError") -> None:
        """Answer a command with an error; descriptors that came with it are closed."""
        _close(slot.fds)
        self.answer(slot, error_reply(description, error_class, slot.identity))

    def answer(self, slot: Slot, line: bytes) -> None:
        """Fill a slot; send what is complete up to the first that is not. An out-of-band reply goes at once."""
        slots = self._slots
        if slots and slots[0] is slot:
            slots.popleft()
            self.send(line)
            while slots and slots[0].line is not None:
                self.send(slots.popleft().line or b"")
        elif slot in slots:
            slot.line = line
        else:
            self.send(line)
        if (self._waiting or self._ended) and self._again is None and not self.closed:
            self._again = self._loop.call_soon(self._work)

    def hold(self) -> None:
        """Begin no further in-band command until `go_on`: one has to be looked into first."""
        self._busy = True

    def go_on(self) -> None:
        """Take up the commands that waited."""
        self._busy = False
        if not self.closed and self._again is None:
            self._work()

    def event(self, line: bytes) -> None:
        """Send an event, unless the client lets too much lie."""
        if not self.negotiated:
            return
        if len(self._out) > _EVENTS:
            self.dropped_events += 1
        else:
            self.send(line)

    def send(self, line: bytes) -> None:
        """Send a line, now or when the client reads on."""
        if self.closed:
            return
        if self._out:
            self._out += line
            self._weigh()
            return
        try:
            sent = self._sock.send(line)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(line):
            self._out += line[sent:]
            self.stuck_since = self._loop.time()
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        try:
            sent = self._sock.send(memoryview(self._out)[:_CHUNK])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        del self._out[:sent]
        self.stuck_since = self._loop.time()
        if not self._out:
            self.stuck_since = None
            self._loop.remove_writer(self._sock)
        if self._again is None:
            self._work()

    def sweep(self, now: float) -> None:
        """Close what leaves its replies unread, and a descriptor that no command came for.

        That descriptor may be the other end of this very connection, which would then never end.
        """
        if self.stuck_since is not None and now - self.stuck_since > _PATIENCE:
            self.close()
        elif self._fds and now - self._fds_since > _FOR_COMMAND:
            self._drop_fds()

    def close(self) -> None:
        """End the connection and forget what is under way."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._drop_fds()
        if self._again is not None:
            self._again.cancel()
        for fds in [fds for _, fds in self._waiting] + [slot.fds for slot in self._slots]:
            _close(fds)
        self._waiting.clear()
        self._slots.clear()
        self._out.clear()
        self._guard.left(self)


def _parsed(message: bytes) -> Any:
    try:
        return parse(message)
    except MalformedError as fault:
        return fault


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
