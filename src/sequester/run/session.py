"""One QEMU from start to end: private run directory, QMP, console lines, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import tempfile
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
        return await self.process.wait()

    def ended(self, when: str) -> GuestError:
        """Return the error for a QEMU that went away, with its last words."""
        return GuestError(f"QEMU ended {when}", code="qemu.ended", why=last_words(self._errors))


def last_words(errors: Sequence[str]) -> str:
    """Return the line of QEMU's standard error that tells the most: the last that is no mere warning."""
    telling = [line for line in errors if line.strip() and "warning:" not in line]
    return (telling or [line for line in errors if line.strip()] or [""])[-1].strip()


@contextlib.asynccontextmanager
async def running(argv: Sequence[str], on_line: Callable[[str], None]) -> AsyncIterator[Session]:
    """Start QEMU paused, with a private QMP socket; kill it and remove its directory at the end of the block.

    Raises HostError when the binary cannot be run, GuestError with QEMU's last words when it does not come up.
    """
    from qemu.qmp import QMPClient, QMPError

    folder = tempfile.mkdtemp(prefix="sequester-")
    socket = os.path.join(folder, "qmp.sock")
    errors: list[str] = []
    tasks: list[asyncio.Task[None]] = []
    process = None
    qmp = QMPClient("sequester")
    try:
        process = await _start([*argv, "-S", "-qmp", f"unix:{socket},server=on,wait=off"])
        assert process.stdout is not None
        assert process.stderr is not None
        tasks.append(asyncio.create_task(_lines(process.stdout, on_line)))
        tasks.append(asyncio.create_task(_lines(process.stderr, lambda line: _keep(errors, line))))
        await _connect(qmp, socket, process, errors)
        yield Session(process, qmp, errors)
        await asyncio.gather(*tasks)
    finally:
        with contextlib.suppress(TimeoutError, EOFError, OSError, QMPError):
            await asyncio.wait_for(qmp.disconnect(), _GRACE_SECONDS)
        if process is not None:
            await _end(process)
        for task in tasks:
            task.cancel()
        shutil.rmtree(folder, ignore_errors=True)


async def _start(argv: Sequence[str]) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        raise HostError(
            f"{argv[0]} cannot be run",
            code="qemu.missing",
            why=error.strerror or "",
            remedy="install QEMU, or name the binary in the guest",
        ) from None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _connect(
    qmp: QMPClient, socket: str, process: asyncio.subprocess.Process, errors: list[str]
) -> None:
    from qemu.qmp import ConnectError

    loop = asyncio.get_running_loop()
    deadline = loop.time() + _GREETING_SECONDS
    while True:
        if os.path.exists(socket):
            try:
                await asyncio.wait_for(qmp.connect(socket), max(deadline - loop.time(), 0.1))
                return
            except (ConnectError, TimeoutError):
                pass
        if process.returncode is not None:
            await asyncio.sleep(0.05)
            status = process.returncode
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise GuestError(f"QEMU {how} before it answered", code="qemu.start", why=last_words(errors))
        if loop.time() > deadline:
            raise GuestError(
                f"QEMU did not answer in {_GREETING_SECONDS:.0f} s", code="qemu.hangs", why=last_words(errors)
            )
        await asyncio.sleep(0.01)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


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
