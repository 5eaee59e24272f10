"""The measured launch: wait for the measurement, ask the owner, and hand the secret over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError
from sequester.owner.launch import Answer, in_base64
from sequester.owner.qmp import launch_of

if TYPE_CHECKING:
    from sequester.guard.guard import Guard
    from sequester.run.owner_check import OwnerCheck
    from sequester.run.session import Session
    from sequester.run.tell import Tell

STATE_SECONDS = 60.0
"""Until QEMU has measured the guest."""
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Host:
    """What the owner is told besides the launch itself: the guest's name here, and whether all this is simulated."""

    guest: str
    simulated: bool


async def by_owner(host: Host, owner: OwnerCheck | None, session: Session, guard: Guard, tell: Tell) -> None:
    """Take a launch past its owner. Raises GuestError where it gets no further; without an owner it goes on."""
    deadline = asyncio.get_running_loop().time() + STATE_SECONDS
    while True:
        state = await session.asked("query-sev", guard.execute("query-sev"))
        at = state.get("state") if isinstance(state, dict) else None
        if at == "launch-secret":
            break
        if asyncio.get_running_loop().time() > deadline:
            raise GuestError(
                f"the launch did not get to its measurement in {STATE_SECONDS:.0f} s",
                code="launch.state",
                why=f"query-sev tells the state '{at}'",
            )
        await asyncio.sleep(_LOOK_SECONDS)
    asked = session.asked("query-sev-launch-measure", launch_of(guard.execute, "QEMU", host.guest))
    found = replace(await asked, simulated=host.simulated)
    if owner is None:
        tell.measured(found, None)
        return
    tell.step("asking the owner")
    answer = await _while_alive(session, owner(found))
    tell.measured(found, answer)
    if not answer.accepted:
        raise GuestError(
            "the owner refused the launch",
            code="owner.refused",
            where=found.guest,
            why=answer.reason or "no reason was given",
        )
    if answer.secret is not None:
        tell.step("giving the guest its secret")
        await session.asked(
            "sev-inject-launch-secret",
            guard.execute("sev-inject-launch-secret", in_base64(answer.secret)),
        )


async def _while_alive(session: Session, asking: Any) -> Answer:
    """Wait for the owner's answer, or for QEMU's end, which makes it worthless."""
    asked = asyncio.ensure_future(asking)
    ended = asyncio.ensure_future(session.process.wait())
    try:
        await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            await session.process.last_lines()
            raise session.process.ended("while the owner was asked")
        answer: Answer = asked.result()
        return answer
    finally:
        for task in (asked, ended):
            task.cancel()
        await asyncio.gather(asked, ended, return_exceptions=True)
