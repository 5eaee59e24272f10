"""`run libvirt:NAME`: a domain past its owner, followed until it ends.

The domain is libvirt's, and ends with our connection to it (VIR_DOMAIN_START_AUTODESTROY): whatever ends us, no guest
is left that nobody has let through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sequester.domains.connection import PREFIX
from sequester.domains.domain import SHUT_OFF, Launching
from sequester.errors import GuestError
from sequester.owner.launch import LAUNCH, Launch, in_base64
from sequester.run.launch import Wish
from sequester.run.tell import Tell

if TYPE_CHECKING:
    from sequester.run.owner_check import OwnerCheck

LOOK_SECONDS = 0.25
POWERDOWN_SECONDS = 60.0
_TOLD = ("policy", "api-major", "api-minor", "build-id")
_BAD_ENDS = ("crashed", "failed")


async def launch_domain(
    domain: Launching, measured: bool, platform: str, owner: OwnerCheck | None, tell: Tell, wish: Wish
) -> str:
    """Start a domain, take it past its owner, follow it; return the reason of its end.

    Raises GuestError where it gets no further or ends badly; it does not run any more then.
    """
    tell.step("starting the domain, paused" if measured else "starting the domain")
    try:
        domain.start(paused=measured)
        if measured:
            await _by_owner(domain, platform, owner, tell)
            domain.resume()
        tell.step("running")
        why = await _followed(domain, tell, wish)
    except BaseException:
        domain.destroy()
        raise
    if why in _BAD_ENDS:
        raise GuestError(f"the domain {why}", code="guest.ended", where=f"{PREFIX}{domain.name}")
    tell.step(f"ended: {why}" if why else "ended")
    return why


def launch_of(told: Mapping[str, Any], platform: str, name: str) -> Launch:
    """Read what libvirt tells of a launch. Raises GuestError where that is not all of it."""
    try:
        measurement = {"measurement": told["sev-measurement"]}
        numbers = {key: told[f"sev-{key}"] for key in _TOLD}
    except KeyError as error:
        raise GuestError(
            f"libvirt does not tell {error.args[0]} of this launch",
            code="launch.state",
            where=f"{PREFIX}{name}",
            remedy="libvirt 8.0 or later is needed",
        ) from None
    return Launch.of(
        {"schema": LAUNCH, "platform": platform, "guest": name, **measurement, **numbers}, f"{PREFIX}{name}"
    )


async def _by_owner(domain: Launching, platform: str, owner: OwnerCheck | None, tell: Tell) -> None:
    found = launch_of(domain.launch_security(), platform, domain.name)
    if owner is None:
        tell.measured(found, None)
        return
    tell.step("asking the owner")
    answer = await _while_paused(domain, owner(found))
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
        packet = in_base64(answer.secret)
        domain.give_secret(packet["packet-header"], packet["secret"])


async def _while_paused(domain: Launching, asking: Any) -> Any:
    """Wait for the owner's answer. Raises GuestError when the domain ends, or somebody lets it run, before it came."""
    asked = asyncio.ensure_future(asking)
    try:
        while True:
            done, _ = await asyncio.wait((asked,), timeout=LOOK_SECONDS)
            state, _ = domain.state()
            if state != "paused":
                raise GuestError(
                    f"the domain is {state}, and its owner has not answered yet",
                    code="launch.state",
                    where=f"{PREFIX}{domain.name}",
                )
            if done:
                return asked.result()
    finally:
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def _followed(domain: Launching, tell: Tell, wish: Wish) -> str:
    """Look at the domain until it has ended; ask it to power off when that is wished."""
    loop = asyncio.get_running_loop()
    before, until = "running", float("inf")
    while True:
        state, why = domain.state()
        if state == SHUT_OFF:
            return why
        if state != before:
            tell.event("STATE", {"state": state, "reason": why})
            before = state
        if wish.end.is_set() and until == float("inf"):
            tell.step("asking the guest to power off; once more to end it at once")
            domain.shut_down()
            until = loop.time() + POWERDOWN_SECONDS
        if loop.time() > until:
            tell.step("the guest does not power off: ending it")
            domain.destroy()
            return "destroyed"
        await asyncio.sleep(LOOK_SECONDS)
