"""`sequester run`: a guest from its plan, followed until it ends; on this host, or simulated."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_guest, the_guest
from sequester.cli.run_teller import Teller
from sequester.errors import InputError, SequesterError
from sequester.planning import Plan, make_plan

if TYPE_CHECKING:
    from sequester.run.directory import RunDirectory
    from sequester.run.launch import Ended, Evidence, Start
    from sequester.run.owner_check import OwnerCheck
    from sequester.simulator.platform import SimulatedPlatform

_MOST_DATA = 64
_EPILOG = """\
examples:
  sequester run web.toml                                         on a host that can protect it
  sequester run --simulate sev-snp web.toml                      anywhere, with nothing protected
  sequester run --simulate sev-snp --evidence DIR web.toml       and the evidence that it would give
  sequester run libvirt:web --define                             a domain, changed to its plan first
  sequester run --owner-check https://owner.example/launch web.toml
  sequester run --owner-check 'exec:sequester owner answer --keys web --secret luks-key:pass web.toml' web.toml

A measured launch (SEV, SEV-ES) waits for its owner: a command gets the launch as JSON and answers in JSON, a web
address gets it by POST, and a file is written, whose answer is awaited in FILE.answer. Without --owner-check nobody is
asked.
Monitors connect to the socket that is named at the start, and are held to the rules (`sequester guard`).

exit status: 0 it ran and ended, 1 the plan is refused, 2 usage, 3 this host cannot, 4 the guest, its launch or its
owner's check failed
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    add_guest(parser)
    parser.add_argument(
        "--limit", metavar="auto|NAME", help="the platform, for a guest that names none (as for `plan`)"
    )
    parser.add_argument(
        "--owner-check",
        metavar="exec:COMMAND|URL|FILE",
        help="ask the owner about a measured launch, and give the guest the secret in the answer",
    )
    parser.add_argument(
        "--simulate",
        metavar="NAME",
        help="boot it under TCG with this platform's firmware played: it is NOT protected",
    )
    parser.add_argument(
        "--simulated-identity", metavar="DIR", help="where the simulated platform's keys are kept"
    )
    parser.add_argument(
        "--evidence", metavar="DIR", help="write the evidence of the simulated platform there"
    )
    parser.add_argument(
        "--report-data", metavar="HEX", help="the guest's own bytes in that evidence, at most 64"
    )
    parser.add_argument(
        "--define", action="store_true", help="with libvirt:NAME: write what the plan changes into the domain"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command line and stop")
    parser.add_argument("--json", action="store_true", help="events as JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Run the guest; 4 when it, its launch or its owner's check fails."""
    if not arguments.simulate:
        _simulation_alone(arguments)
    of_libvirt = bool(arguments.guest) and arguments.guest.startswith("libvirt:") and not arguments.simulate
    if arguments.define and not of_libvirt:
        raise InputError("--define is for libvirt:NAME", code="usage.define")
    if of_libvirt:
        from sequester.cli.run_domain import run_domain

        return run_domain(arguments)
    teller = Teller(arguments.json)
    if arguments.simulate:
        if arguments.limit not in (None, arguments.simulate):
            raise InputError("--limit and --simulate name two platforms", code="usage.platform")
        start = _simulated(arguments, teller)
    else:
        start = _on_hardware(arguments, teller)
    if arguments.dry_run:
        print(shlex.join(start.argv))
        return 0
    ended = _launched(start, teller)
    teller.end(ended, start.platform is not None)
    return 4 if ended.wrong else 0


def _simulation_alone(arguments: argparse.Namespace) -> None:
    for name in ("evidence", "report_data", "simulated_identity"):
        if getattr(arguments, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} belongs to a simulation", code="usage.simulate", remedy="add --simulate"
            )


def _on_hardware(arguments: argparse.Namespace, teller: Teller) -> Start:
    from sequester.host.local import this_host
    from sequester.run.launch import Start
    from sequester.run.preflight import ahead, demand

    document = the_guest(arguments)
    host = this_host()
    plan = make_plan(document, arguments.limit, host)
    demand(plan.limitation, host)
    for what in ahead(plan, simulated=False):
        teller.warn(what)
    argv, lost = plan.argv()
    for what in lost:
        teller.warn(f"not carried over: {what}")
    return Start(plan, tuple(argv), owner=_owner(arguments, plan))


def _simulated(arguments: argparse.Namespace, teller: Teller) -> Start:
    from sequester.run.launch import Start
    from sequester.run.preflight import ahead
    from sequester.run.simulate import names_kernel, simulate

    plan = make_plan(the_guest(arguments), arguments.simulate)
    image = None
    if not names_kernel(plan.guest):
        from sequester.run.image import default_cache, ensure_image

        image = ensure_image(plan.guest.arch, default_cache(), teller.step)
    simulation = simulate(plan, image)
    teller.simulation(plan.limitation.title, simulation)
    for what in ahead(plan, simulated=True):
        teller.warn(what)
    return Start(
        plan,
        simulation.argv,
        _platform(arguments, plan),
        simulation.ours,
        _owner(arguments, plan),
        _evidence(arguments),
    )


def _platform(arguments: argparse.Namespace, plan: Plan) -> SimulatedPlatform:
    from sequester.simulator.identity import Identity, default_folder
    from sequester.simulator.registry import simulated

    folder = arguments.simulated_identity
    identity = Identity(Path(folder) if folder is not None else default_folder())
    return simulated(plan, identity, os.urandom, datetime.now(UTC))


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


def _evidence(arguments: argparse.Namespace) -> Evidence | None:
    from sequester.run.launch import Evidence

    if arguments.evidence is None:
        if arguments.report_data is not None:
            raise InputError("--report-data is for --evidence", code="usage.report-data")
        return None
    try:
        data = bytes.fromhex(arguments.report_data or "")
    except ValueError:
        raise InputError("the report data is no hex", code="usage.report-data") from None
    if len(data) > _MOST_DATA:
        raise InputError(f"report data has at most {_MOST_DATA} bytes", code="usage.report-data")
    return Evidence(Path(arguments.evidence), data)


def _launched(start: Start, teller: Teller) -> Ended:
    """Launch, with what is left of it removed whatever happens."""
    import resource

    from sequester.run.directory import run_directory
    from sequester.run.preflight import explained

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with run_directory(start.name) as directory:
        try:
            return asyncio.run(_until_end(start, directory, teller))
        except SequesterError as error:
            better = explained(error, start.plan.limitation)
            if better is error:
                raise
            raise better from None
        finally:
            teller.close()


async def _until_end(start: Start, directory: RunDirectory, teller: Teller) -> Ended:
    """Launch; the first Ctrl-C asks a running guest to power off, the next one ends it, as SIGTERM does."""
    from sequester.run.launch import Wish, launch

    loop = asyncio.get_running_loop()
    wish = Wish()
    task = asyncio.ensure_future(launch(start, directory, teller, wish))

    def interrupted() -> None:
        if teller.running and not wish.end.is_set():
            wish.end.set()
        else:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
