"""One QEMU from start to end: its process, and its monitor over a socket that has no name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sequester.errors import GuestError, HostError
from sequester.run import process
from sequester.simulator.platform import QmpError

if TYPE_CHECKING:
    from sequester.guard.monitor import Monitor

Answer = TypeVar("Answer")

GREETING_SECONDS = 30.0
COMMAND_SECONDS = 60.0
"""Until QEMU has answered a command of ours. Finishing the launch of a large guest is the longest."""
_LAST_SECONDS = 0.2
_ENDING_SECONDS = 1.0


class Session:
    """A QEMU that runs as long as the `running` block around it."""

    def __init__(self, qemu: process.Process, monitor: Monitor) -> None:
        self.process = qemu
        self.monitor = monitor

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Run one QMP command. Raises GuestError with QEMU's own words, or when QEMU is gone or hangs."""
        return await self.asked(command, self.monitor.execute(command, arguments))

    async def asked(self, command: str, answer: Awaitable[Answer]) -> Answer:
        """Wait for a command's answer, as `execute` does."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await answer
        except QmpError as error:
            raise GuestError(f"QMP {command} failed", code="qmp.error", why=error.description) from None
        except TimeoutError:
            raise GuestError(
                f"QEMU did not answer to {command} in {COMMAND_SECONDS:.0f} s", code="qemu.hangs"
            ) from None
        except GuestError:
            if not self.monitor.ended.done():
                raise
            with contextlib.suppress(TimeoutError):  # a QEMU that dies closes its monitor a moment before
                await asyncio.wait_for(self.process.wait(), _ENDING_SECONDS)
            await self.process.last_lines()
            if self.process.status is None:
                why = self.monitor.ended.result()
                raise GuestError(f"QEMU was lost during {command}", code="qemu.lost", why=why) from None
            raise self.process.ended(f"during {command}") from None


@contextlib.asynccontextmanager
async def running(argv: Sequence[str], mark: str, on_line: Callable[[str], None]) -> AsyncIterator[Session]:
    """Start QEMU paused, with QMP; kill it, and what it started, at the end of the block.

    `mark` names the run (`run.directory`), `on_line` gets the lines of the guest's console (QEMU's standard output).
    Raises HostError when the binary cannot be run, GuestError with QEMU's last words when it does not come up, and
    whatever `on_line` raises.
    """
    qemu = await process.start(argv, mark)
    monitor = None
    try:
        qemu.listen(on_line)
        monitor = await _connected(qemu)
        yield Session(qemu, monitor)
        await qemu.drained()
    except asyncio.CancelledError:
        if (failure := qemu.failure) is not None:
            raise failure from None
        raise
    finally:
        if monitor is not None:
            monitor.close()
        await qemu.end()


async def _connected(qemu: process.Process) -> Monitor:
    """Greet QEMU. Raises GuestError when it ends, talks nonsense or says nothing."""
    from sequester.guard.monitor import connect

    greeting = asyncio.ensure_future(connect(qemu.monitor, 2 * GREETING_SECONDS))
    ended = asyncio.ensure_future(qemu.wait())
    try:
        await asyncio.wait((greeting, ended), timeout=GREETING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        # One that ends says so in two ways, and why in a third; what it left behind may keep the socket open.
        if not _succeeded(greeting):
            await asyncio.wait((ended,), timeout=_LAST_SECONDS)
    finally:
        for task in (greeting, ended):
            task.cancel()
        await asyncio.gather(greeting, ended, return_exceptions=True)
    if qemu.status is not None:
        await qemu.last_lines()
        status = qemu.status
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise GuestError(f"QEMU {how} before it answered", code="qemu.start", why=qemu.last_words)
    if greeting.cancelled():
        raise GuestError(
            f"QEMU did not answer in {GREETING_SECONDS:.0f} s", code="qemu.hangs", why=qemu.last_words
        )
    try:
        return greeting.result()
    except (GuestError, HostError) as error:
        why = qemu.last_words or error.why
        raise GuestError("QEMU's first words are not QMP", code="qemu.start", why=why) from None


def _succeeded(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
