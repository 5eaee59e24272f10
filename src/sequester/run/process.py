"""QEMU's process: started with one end of a socket pair, its lines read, and ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Callable, Sequence

from sequester.errors import GuestError, HostError
from sequester.run.directory import MARKER, end_marked

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINE_LIMIT = 1 << 20
_LAST_WORDS = 12
_GRACE_SECONDS = 3.0
_LAST_SECONDS = 0.2  # for the last words of a QEMU that ends
_LOOK_SECONDS = 0.02


class Process:
    """A QEMU that runs. `monitor` is our end of its socket pair; `mark` is in its environment."""

    def __init__(self, process: asyncio.subprocess.Process, monitor: socket.socket, mark: str) -> None:
        self._process = process
        self._tasks: list[asyncio.Task[None]] = []
        self._errors: list[str] = []
        self.monitor = monitor
        self.mark = mark

    def listen(self, on_line: Callable[[str], None]) -> None:
        """Call `on_line` with each line of standard output, and keep the last of standard error."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._tasks = [
            asyncio.create_task(_lines(self._process.stdout, on_line)),
            asyncio.create_task(_lines(self._process.stderr, self._keep)),
        ]
        block = asyncio.current_task()
        assert block is not None
        for task in self._tasks:
            task.add_done_callback(lambda task: _failure(task) and block.cancel())

    @property
    def failure(self) -> BaseException | None:
        """What reading its lines raised, if anything."""
        return next((found for task in self._tasks if (found := _failure(task)) is not None), None)

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.returncode

    @property
    def last_words(self) -> str:
        """The line of its standard error that tells the most: the last that is no mere warning."""
        telling = [line for line in self._errors if line.strip() and "warning:" not in line]
        return (telling or [line for line in self._errors if line.strip()] or [""])[-1].strip()

    async def wait(self) -> int:
        """Wait for its end; asyncio's own wait lasts until its pipes are closed as well."""
        while self._process.returncode is None:
            await asyncio.sleep(_LOOK_SECONDS)
        return self._process.returncode

    async def last_lines(self) -> None:
        """Give the last lines of a QEMU that ended the time to arrive."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)

    async def drained(self) -> None:
        """Wait until all its lines were read, or not for long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_SECONDS)

    def ended(self, when: str) -> GuestError:
        """Return the error for a QEMU that went away, with its last words."""
        return GuestError(f"QEMU ended {when}", code="qemu.ended", why=self.last_words)

    async def end(self) -> None:
        """End it, gently first; then whatever else is in its session, or was started by it."""
        process = self._process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), _GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        end_marked(self.mark)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        await self.last_lines()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)  # asyncio closes a pipe in the round after its end
        self.monitor.close()

    def _keep(self, line: str) -> None:
        self._errors.append(line)
        del self._errors[:-_LAST_WORDS]


async def start(argv: Sequence[str], mark: str) -> Process:
    """Start QEMU paused, with a monitor on a socket pair; it dies with us. Raises HostError where it cannot be run."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    ours, theirs = socket.socketpair()
    with theirs:
        number = theirs.fileno()
        qmp = ("-chardev", f"socket,id=sequester-qmp,fd={number}", "-qmp", "chardev:sequester-qmp")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                "-S",
                *qmp,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LINE_LIMIT,
                start_new_session=True,
                pass_fds=(number,),
                preexec_fn=die_with_parent,
                env={**os.environ, MARKER: mark},
            )
        except OSError as error:
            ours.close()
            raise HostError(
                f"{argv[0]} cannot be run",
                code="qemu.missing",
                why=error.strerror or "",
                remedy="install QEMU, or name the binary in the guest",
            ) from None
    return Process(process, ours, mark)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _lines(stream: asyncio.StreamReader, use: Callable[[str], None]) -> None:
    while True:
        try:
            raw = await stream.readline()
        except ValueError:
            continue
        if not raw:
            return
        use(raw.decode(errors="replace").rstrip("\r\n"))
