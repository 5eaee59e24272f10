"""Boots a simulation and holds it against its claim: every virtio device negotiated access-platform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sequester.errors import GuestError
from sequester.run.features import Negotiated, negotiated
from sequester.run.guest_line import GuestLine, read_line
from sequester.run.session import Session, running
from sequester.run.simulate import Simulation

READY_SECONDS = 180.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulated guest turned out to be.

    `devices` is QEMU's view; `seen` the guest's own lines, empty for a guest that is not ours.
    `status` is QEMU's exit status.
    """

    devices: tuple[Negotiated, ...]
    seen: tuple[GuestLine, ...]
    status: int

    @property
    def wrong(self) -> tuple[str, ...]:
        """Name what does not hold to the claim, by QEMU's view and by the guest's."""
        by_qemu = [
            f"{device.path}: access-platform not negotiated" for device in self.devices if not device.right
        ]
        inside = [
            f"in the guest, {line.values.get('name', '?')} ({line.values.get('driver')}): feature bit 33 is not set"
            for line in self.seen
            if line.kind == "device" and line.values.get("driver") != "none"
            if line.values.get("access_platform") != "1"
        ]
        return (*by_qemu, *inside)


@dataclass
class _Watch:
    """Follows the console until the guest says that it is ready."""

    show: Callable[[str], None]
    seen: list[GuestLine] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def line(self, text: str) -> None:
        self.show(text)
        said = read_line(text)
        if said is not None:
            self.seen.append(said)
            if said.kind == "ready":
                self.ready.set()


async def boot(simulation: Simulation, show: Callable[[str], None], status: Callable[[str], None]) -> Result:
    """Boot a simulation to its end. Raises GuestError or HostError when it does not get that far.

    `show` takes each line of the console, `status` each step in a few words.
    """
    watch = _Watch(show)
    status("starting QEMU")
    async with running(simulation.argv, watch.line) as session:
        await session.execute("cont")
        status("booting")
        devices = await _devices(session, watch, simulation.ours)
        status("running")
        if simulation.ours:
            await _until_end(session)
        ended = await session.wait()
    if ended:
        raise session.ended(f"with status {ended}")
    return Result(devices, tuple(watch.seen), ended)


async def _devices(session: Session, watch: _Watch, ours: bool) -> tuple[Negotiated, ...]:
    if not ours:
        return await _driven(session)
    ready = asyncio.ensure_future(watch.ready.wait())
    ended = asyncio.ensure_future(session.wait())
    done, pending = await asyncio.wait(
        (ready, ended), timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    if ready in done:
        return await negotiated(session.execute)
    if ended in done:
        raise session.ended("before the guest was ready")
    raise GuestError(f"the guest was not ready in {READY_SECONDS:.0f} s", code="guest.hangs")


async def _driven(session: Session) -> tuple[Negotiated, ...]:
    """Wait until the guest's drivers have set every device up, as long as a guest of ours would have."""
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while True:
        devices = await negotiated(session.execute)
        late = asyncio.get_running_loop().time() > deadline
        if late or all(device.driven or device.accepted is None for device in devices):
            return devices
        await asyncio.sleep(_POLL_SECONDS)


async def _until_end(session: Session) -> None:
    try:
        await asyncio.wait_for(session.wait(), READY_SECONDS)
    except TimeoutError:
        raise GuestError("the guest did not power off", code="guest.hangs") from None
