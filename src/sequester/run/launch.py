"""The life of a guest from its plan: launch, owner's check, secret, and on until it ends.

On hardware and in a simulation the same steps are taken; only who answers questions about the protection differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError
from sequester.guard.guard import Guard, Noted
from sequester.guard.rulebook import rulebook
from sequester.guard.verdict import Amend, Refuse
from sequester.run.directory import RunDirectory
from sequester.run.features import Negotiated, negotiated
from sequester.run.guest_line import GuestLine, read_line
from sequester.run.session import Session, running
from sequester.run.tell import Tell

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.run.owner_check import OwnerCheck
    from sequester.simulator.platform import SimulatedPlatform

READY_SECONDS = 180.0
POWERDOWN_SECONDS = 10.0
_POLL_SECONDS = 0.5
_LAST_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a simulated platform's evidence goes, and the guest's own bytes in it (at most 64)."""

    folder: Path
    report_data: bytes = b""


@dataclass(frozen=True)
class Start:
    """What is started: QEMU's argument vector of a plan, and who plays the platform (None on hardware).

    `ours` says that the guest is our own small Linux, which tells on its console what it negotiated and powers off by
    itself. `owner` is asked about a measured launch.
    """

    plan: Plan
    argv: tuple[str, ...]
    platform: SimulatedPlatform | None = None
    ours: bool = False
    owner: OwnerCheck | None = None
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """How people call the guest."""
        return self.plan.guest.name or os.path.basename(self.plan.document.name) or "guest"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a guest ended. `devices` is QEMU's view of what was negotiated, `seen` the lines of our own guest."""

    status: int
    devices: tuple[Negotiated, ...] = ()
    seen: tuple[GuestLine, ...] = ()

    @property
    def wrong(self) -> tuple[str, ...]:
        """Name what does not hold to the limitation, by QEMU's view and by the guest's."""
        by_qemu = [
            f"{device.path}: access-platform not negotiated" for device in self.devices if not device.right
        ]
        inside = [
            f"in the guest, {line.values.get('name', '?')} ({line.values.get('driver')}): feature bit 33 is not set"
            for line in self.seen
            if line.kind in ("device", "plugged") and line.values.get("driver") != "none"
            if line.values.get("access_platform") != "1"
        ]
        return (*by_qemu, *inside)


@dataclass
class Wish:
    """What whoever runs the guest wants of it, from a signal handler or another task."""

    end: asyncio.Event = field(default_factory=asyncio.Event)


class _Watch:
    """Follows console and events, for whoever listens and for the simulated platform."""

    def __init__(self, tell: Tell, platform: SimulatedPlatform | None) -> None:
        self._tell = tell
        self._platform = platform
        self.seen: list[GuestLine] = []
        self.ready = asyncio.Event()
        self.panicked = ""

    def line(self, text: str) -> None:
        self._tell.console(text)
        if self._platform is not None:
            self._platform.observe("console", {"line": text})
        said = read_line(text)
        if said is not None:
            self.seen.append(said)
            if said.kind == "ready":
                self.ready.set()

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        self._tell.event(name, data)
        if self._platform is not None:
            self._platform.observe(name, data)
        if name == "GUEST_PANICKED":
            self.panicked = str(data.get("info", data.get("action", "")))[:200]

    def decided(self, noted: Noted) -> None:
        verdict = noted.verdict
        if isinstance(verdict, Refuse):
            self._tell.decided(noted.command, verdict.description)
        elif isinstance(verdict, Amend):
            self._tell.decided(noted.command, ", ".join(verdict.changes))


async def launch(start: Start, directory: RunDirectory, tell: Tell, wish: Wish | None = None) -> Ended:
    """Run a guest to its end.

    Raises HostError, GuestError or InputError when it does not get that far; nothing of it is left then either.
    """
    wish = wish or Wish()
    watch = _Watch(tell, start.platform)
    if start.platform is not None:
        start.platform.begin()
        for note in start.platform.notes:
            tell.warn(note)
    tell.step("starting QEMU")
    async with running(start.argv, directory.mark, watch.line) as session:
        guard = _guard(start, session, watch)
        try:
            guard.serve(str(directory.monitor))
            tell.step(f"monitors may connect to {directory.monitor}")
            if start.plan.limitation.measured_launch:
                from sequester.run.measured import (  # what a launch without an owner never needs
                    Host,
                    by_owner,
                )

                host = Host(os.path.basename(start.name), start.platform is not None)
                await by_owner(host, start.owner, session, guard, tell)
            await session.asked("cont", guard.execute("cont"))
            if start.evidence is not None:
                _keep_evidence(start, start.evidence, tell)
            tell.step("booting")
            devices: tuple[Negotiated, ...] = ()
            if start.ours:
                await _ready(session, watch)
                devices = await negotiated(session.execute)
            tell.step("running")
            async with _looking(start, session, devices) as look:
                status = await _until_end(start, session, guard, wish, tell, look.task)
                devices = tuple(look.found)
        finally:
            guard.close()
    if status:
        raise session.process.ended(f"with status {status}")
    if watch.panicked:
        raise GuestError("the guest panicked", code="guest.panicked", why=watch.panicked)
    return Ended(status, devices, tuple(watch.seen))


def _guard(start: Start, session: Session, watch: _Watch) -> Guard:
    plan, platform = start.plan, start.platform
    rules = rulebook(plan.guest, plan.limitation, session.monitor.version)
    if platform is None:
        guard = Guard(rules, session.monitor, journal=watch.decided)
    else:
        guard = Guard(
            rules, session.monitor, platform.handlers, lambda: platform.engaged, journal=watch.decided
        )
    guard.watch(watch.event)
    return guard


def _keep_evidence(start: Start, evidence: Evidence, tell: Tell) -> None:
    """Write the simulated platform's evidence, each file whole or not at all."""
    assert start.platform is not None
    for name, data in start.platform.evidence(evidence.report_data).items():
        path, beside = evidence.folder / name, evidence.folder / f".{name}.{os.getpid()}"
        try:
            evidence.folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            beside.replace(path)
        except OSError as error:
            raise GuestError(
                "the evidence cannot be written",
                code="output.unwritable",
                where=str(path),
                why=error.strerror or "",
            ) from None
    tell.step(f"SIMULATED evidence is in {evidence.folder}")


@dataclass
class _Look:
    """What the drivers of a simulated guest that is not ours negotiate, as it is seen while it runs.

    A guest on hardware is not asked all the time: `audit` looks at it.
    """

    found: list[Negotiated]
    task: asyncio.Task[None] | None = None

    async def look(self, session: Session) -> None:
        """Look until every device is driven."""
        while True:
            self.found[:] = await negotiated(session.execute)
            if all(device.driven or device.accepted is None for device in self.found):
                return
            await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def _looking(start: Start, session: Session, known: tuple[Negotiated, ...]) -> AsyncIterator[_Look]:
    look = _Look(list(known))
    if start.platform is not None and not start.ours:
        look.task = asyncio.create_task(look.look(session))
    try:
        yield look
    finally:
        if look.task is not None:
            look.task.cancel()
            await asyncio.gather(look.task, return_exceptions=True)


async def _ready(session: Session, watch: _Watch) -> None:
    ready = asyncio.ensure_future(watch.ready.wait())
    ended = asyncio.ensure_future(session.process.wait())
    done, pending = await asyncio.wait(
        (ready, ended), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    if ready in done:
        return
    if ended in done:
        await session.process.last_lines()
        raise session.process.ended("before the guest was ready")
    raise GuestError(f"the guest was not ready in {READY_SECONDS:.0f} s", code="guest.hangs")


async def _until_end(
    start: Start,
    session: Session,
    guard: Guard,
    wish: Wish,
    tell: Tell,
    looking: asyncio.Task[None] | None,
) -> int:
    """Wait for QEMU's end; ask the guest to power off when that is wished.

    Raises what `looking` raised, unless QEMU's end is the reason.
    """
    ended = asyncio.ensure_future(session.process.wait())
    wished = asyncio.ensure_future(wish.end.wait())
    try:
        limit = READY_SECONDS if start.ours and start.platform is not None else None
        first = {ended, wished} if looking is None else {ended, wished, looking}
        await asyncio.wait(first, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if looking is not None and looking.done() and not ended.done() and not wished.done():
            if looking.exception() is not None:
                await asyncio.wait((ended,), timeout=_LAST_SECONDS)
                if not ended.done():
                    looking.result()
            await asyncio.wait((ended, wished), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and wished.done():
            tell.step("asking the guest to power off; once more to end it at once")
            await session.asked("system_powerdown", guard.execute("system_powerdown"))
            await asyncio.wait((ended,), timeout=POWERDOWN_SECONDS)
            if not ended.done():
                tell.step("the guest does not power off: ending it")
                return 0
        elif not ended.done():
            raise GuestError("the guest did not power off", code="guest.hangs")
        return ended.result()
    finally:
        for task in (ended, wished):
            task.cancel()
