"""One QEMU from start to end: QMP over a socket that has no name, console lines, and nothing left behind.

QEMU gets one end of a socket pair, so there is no run directory that a kill could leave; and it dies with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError, HostError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINE_LIMIT = 1 << 20
_LAST_WORDS = 12
_GREETING_SECONDS = 30.0
_GRACE_SECONDS = 3.0
_LAST_SECONDS = 0.2  # for the last words of a QEMU that ends
_LOOK_SECONDS = 0.02


class Session:
    """A QEMU that runs as long as the `running` block around it.

    `on_line` is called with every line of the guest's console (QEMU's standard output).
    """

    def __init__(self, process: asyncio.subprocess.Process, qmp: QMPClient, errors: list[str]) -> None:
        self.process = process
        self.qmp = qmp
        self._errors = errors

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> Any:
        """Run one QMP command. Raises GuestError with QEMU's own words, or when QEMU is gone."""
        from qemu.qmp import ExecInterruptedError, ExecuteError, QMPError

        try:
            return await self.qmp.execute(command, arguments)
        except ExecuteError as error:
            raise GuestError(f"QMP {command} failed", code="qmp.error", why=str(error)) from None
        except (ExecInterruptedError, QMPError):
            raise self.ended(f"during {command}") from None

    async def wait(self) -> int:
        """Wait for QEMU's end; return its exit status."""
        return await _status(self.process)

    def ended(self, when: str) -> GuestError:
        """Return the error for a QEMU that went away, with its last words."""
        return GuestError(f"QEMU ended {when}", code="qemu.ended", why=last_words(self._errors))


def last_words(errors: Sequence[str]) -> str:
    """Return the line of QEMU's standard error that tells the most: the last that is no mere warning."""
    telling = [line for line in errors if line.strip() and "warning:" not in line]
    return (telling or [line for line in errors if line.strip()] or [""])[-1].strip()


@contextlib.asynccontextmanager
async def running(argv: Sequence[str], on_line: Callable[[str], None]) -> AsyncIterator[Session]:
    """Start QEMU paused, with QMP; kill it, and what it started, at the end of the block.

    Raises HostError when the binary cannot be run, GuestError with QEMU's last words when it does not come up,
    and whatever `on_line` raises.
    """
    from qemu.qmp import QMPClient, QMPError

    errors: list[str] = []
    tasks: list[asyncio.Task[None]] = []
    process = None
    connected = False
    qmp = QMPClient("sequester")
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await _start(argv, theirs.fileno())
        assert process.stdout is not None
        assert process.stderr is not None
        tasks.append(asyncio.create_task(_lines(process.stdout, on_line)))
        tasks.append(asyncio.create_task(_lines(process.stderr, lambda line: _keep(errors, line))))
        block = asyncio.current_task()
        assert block is not None
        for task in tasks:
            task.add_done_callback(lambda task: _failure(task) and block.cancel())
        await _connect(qmp, ours, process, errors)
        connected = True
        yield Session(process, qmp, errors)
        await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
    except asyncio.CancelledError:
        for task in tasks:
            if (failure := _failure(task)) is not None:
                raise failure from None
        raise
    finally:
        # The process first: whatever the protocol makes of a QEMU that went mad, nothing stays.
        if process is not None:
            await _end(process)
        if connected:
            with contextlib.suppress(TimeoutError, EOFError, OSError, QMPError):
                await asyncio.wait_for(qmp.disconnect(), _GRACE_SECONDS)
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)  # asyncio closes a pipe in the round after its end
        ours.close()


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _start(argv: Sequence[str], monitor: int) -> asyncio.subprocess.Process:
    """Start QEMU with its end of the socket pair."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    qmp = ("-chardev", f"socket,id=sequester-qmp,fd={monitor}", "-qmp", "chardev:sequester-qmp")
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            "-S",
            *qmp,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
            pass_fds=(monitor,),
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        raise HostError(
            f"{argv[0]} cannot be run",
            code="qemu.missing",
            why=error.strerror or "",
            remedy="install QEMU, or name the binary in the guest",
        ) from None


async def _connect(
    qmp: QMPClient, ours: socket.socket, process: asyncio.subprocess.Process, errors: list[str]
) -> None:
    """Greet QEMU. Raises GuestError when it ends, talks nonsense or says nothing."""
    from qemu.qmp import ConnectError

    greeting = asyncio.ensure_future(qmp.connect(ours))
    ended = asyncio.ensure_future(_status(process))
    try:
        await asyncio.wait((greeting, ended), timeout=_GREETING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        # One that ends says so in two ways, and why in a third; what it left behind may keep the socket open.
        await asyncio.wait((greeting, ended), timeout=0 if _succeeded(greeting) else _LAST_SECONDS)
    finally:
        for task in (greeting, ended):
            task.cancel()
        await asyncio.gather(greeting, ended, return_exceptions=True)
    if process.returncode is not None:
        status = process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise GuestError(f"QEMU {how} before it answered", code="qemu.start", why=last_words(errors))
    if not greeting.done():
        raise GuestError(
            f"QEMU did not answer in {_GREETING_SECONDS:.0f} s", code="qemu.hangs", why=last_words(errors)
        )
    try:
        greeting.result()
    except ConnectError as error:
        why = last_words(errors) or str(error)
        raise GuestError("QEMU's first words are not QMP", code="qemu.start", why=why) from None


def _succeeded(task: asyncio.Future[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _status(process: asyncio.subprocess.Process) -> int:
    """Return the exit status when the process ends; asyncio's own wait lasts until its pipes are closed as well."""
    while process.returncode is None:
        await asyncio.sleep(_LOOK_SECONDS)
    return process.returncode


async def _end(process: asyncio.subprocess.Process) -> None:
    """End QEMU, gently first; then whatever else is in its session."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_status(process), _GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _GRACE_SECONDS)


async def _lines(stream: asyncio.StreamReader, use: Callable[[str], None]) -> None:
    while True:
        try:
            raw = await stream.readline()
        except ValueError:
            continue
        if not raw:
            return
        use(raw.decode(errors="replace").rstrip("\r\n"))


def _keep(errors: list[str], line: str) -> None:
    errors.append(line)
    del errors[:-_LAST_WORDS]
