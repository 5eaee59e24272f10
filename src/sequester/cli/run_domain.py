"""`sequester run libvirt:NAME`: a domain from its plan, as libvirt starts it."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import TYPE_CHECKING

from sequester.cli.run_teller import Teller
from sequester.domains.connection import PREFIX, connected, domain_of
from sequester.domains.domain import BoundDomain
from sequester.errors import GuestError, InputError, RefusedError
from sequester.formats.sources import read
from sequester.planning import Plan, make_plan
from sequester.run.domain import launch_domain
from sequester.run.launch import Wish
from sequester.run.tell import Tell

if TYPE_CHECKING:
    from sequester.run.owner_check import OwnerCheck


def run_domain(arguments: argparse.Namespace) -> int:
    """Run the domain that was named; return the exit status.

    Raises RefusedError where the domain is not as its plan and --define is not given, HostError where this host
    cannot run it, GuestError where libvirt, the launch or the owner refuse it.
    """
    from sequester.host.local import this_host
    from sequester.run.preflight import ahead, demand, explained

    teller = Teller(arguments.json)
    connection = connected()
    domain = BoundDomain(connection, domain_of(connection, arguments.guest.removeprefix(PREFIX)))
    if domain.runs():
        raise InputError(
            "this domain runs already",
            code="run.runs",
            where=arguments.guest,
            remedy="`sequester audit` looks at a domain that runs",
        )
    host = this_host()
    plan = make_plan(read(domain.xml(), arguments.guest, "xml"), arguments.limit, host, here=True)
    if arguments.dry_run:
        print(plan.to("xml").text, end="")
        return 0
    for what in ahead(plan, simulated=False):
        teller.warn(what)
    demand(plan.limitation, host)
    owner = _owner(arguments, plan)
    if plan.changes:
        _define(domain, plan, arguments.define, teller)
    try:
        asyncio.run(_until_end(domain, plan, owner, teller))
    except GuestError as error:
        better = explained(error, plan.limitation)
        if better is error:
            raise
        raise better from None
    finally:
        teller.close()
        connection.close()
    return 0


def _owner(arguments: argparse.Namespace, plan: Plan) -> OwnerCheck | None:
    if arguments.owner_check is None:
        return None
    from sequester.run.owner_check import owner_check

    if not plan.limitation.measured_launch:
        raise InputError(
            f"{plan.limitation.title} has no measured launch that an owner could be asked about",
            code="usage.owner-check",
            remedy="leave --owner-check out; the guest's evidence is for `sequester verify`",
        )
    return owner_check(arguments.owner_check)


def _define(domain: BoundDomain, plan: Plan, wanted: bool, tell: Tell) -> None:
    """Write a plan's changes into the domain, where that is wanted."""
    where = f"{PREFIX}{domain.name}"
    if not wanted:
        count = len(plan.changes)
        first = plan.applied[0].breach.change if plan.applied else f"limitation {plan.limitation.name}"
        raise RefusedError(
            f"this domain is not as its plan: {count} change{'' if count == 1 else 's'}, the first: {first}",
            code="run.differs",
            where=where,
            remedy=f"`sequester plan {where} --to diff` shows them, --define writes them into the domain",
        )
    written = plan.to("xml")
    if written.lost:
        raise RefusedError(
            "libvirt's XML cannot say all of the plan",
            code="run.unsaid",
            where=where,
            why="; ".join(written.lost),
        )
    tell.step("writing the plan into the domain")
    domain.define(written.text)


async def _until_end(domain: BoundDomain, plan: Plan, owner: OwnerCheck | None, teller: Teller) -> None:
    """Launch; the first Ctrl-C asks a running guest to power off, the next one ends it, as SIGTERM does."""
    loop = asyncio.get_running_loop()
    wish, limitation = Wish(), plan.limitation
    task = asyncio.ensure_future(
        launch_domain(domain, limitation.measured_launch, limitation.name, owner, teller, wish)
    )

    def interrupted() -> None:
        if teller.running and not wish.end.is_set():
            wish.end.set()
        else:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
