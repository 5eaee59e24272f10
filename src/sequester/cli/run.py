"""`sequester run`: a guest from its plan, for now simulated."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_guest, coloured, the_guest
from sequester.cli.output import say
from sequester.errors import InputError
from sequester.planning import make_plan
from sequester.report.style import Style

if TYPE_CHECKING:
    from sequester.run.boot import Result
    from sequester.run.simulate import Simulation


_STANDS = {
    (True, True): "negotiated",
    (True, False): "offered, not negotiated",
    (True, None): "offered; this QEMU cannot be asked what was negotiated",
    (False, True): "negotiated, not offered",
    (False, False): "missing",
    (False, None): "missing",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_guest(parser)
    parser.add_argument(
        "--simulate",
        metavar="NAME",
        help="boot it under TCG without the protection object of this platform: it is NOT protected",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command line and stop")
    parser.add_argument("--json", action="store_true", help="events as JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Boot the guest and check its claim; 4 when the guest does not hold to it."""
    if not arguments.simulate:
        raise InputError(
            "starting on protected hardware is not built yet",
            code="run.hardware",
            remedy="use `sequester plan GUEST --to argv` for the command line, or --simulate NAME",
        )
    from sequester.run.simulate import names_kernel, simulate

    document = the_guest(arguments)
    plan = make_plan(document, arguments.simulate)
    image = None
    teller = _Teller(arguments.json, Style(coloured(sys.stderr)))
    if not names_kernel(plan.guest):
        from sequester.run.image import default_cache, ensure_image

        image = ensure_image(plan.guest.arch, default_cache(), teller.step)
    simulation = simulate(plan, image)
    if arguments.dry_run:
        print(shlex.join(simulation.argv))
        return 0
    teller.begin(plan.limitation.title, simulation)
    from sequester.cli.signals import terminate_as_interrupt
    from sequester.run.boot import boot

    terminate_as_interrupt()
    result = asyncio.run(boot(simulation, teller.console, teller.step))
    teller.end(result)
    return 4 if result.wrong else 0


class _Teller:
    """Tells what happens: lines for a person, or JSON lines for a program."""

    def __init__(self, as_json: bool, style: Style) -> None:
        self.as_json = as_json
        self.style = style
        self.started = time.monotonic()

    def step(self, what: str) -> None:
        """Tell of a step."""
        if self.as_json:
            self._event("step", what=what)
        else:
            say(self.style.paint(f"[{time.monotonic() - self.started:5.1f} s] {what}", "cyan"))

    def console(self, line: str) -> None:
        """Show a line of the guest's console."""
        if self.as_json:
            self._event("console", line=line)
        else:
            print(line, flush=True)

    def begin(self, title: str, simulation: Simulation) -> None:
        """Say what this is, and what it is not."""
        if self.as_json:
            self._event(
                "simulation", platform=title, left_out=list(simulation.left_out), argv=list(simulation.argv)
            )
            return
        say(self.style.paint(f"SIMULATED {title}: this guest is NOT protected. Left out:", "yellow", "bold"))
        for what in simulation.left_out:
            say(self.style.paint(f"  - {what}", "yellow"))

    def end(self, result: Result) -> None:
        """Say what was negotiated."""
        if self.as_json:
            devices = [
                {
                    "name": d.name,
                    "path": d.path,
                    "offered": d.offered,
                    "accepted": d.accepted,
                    "right": d.right,
                }
                for d in result.devices
            ]
            self._event("result", devices=devices, wrong=list(result.wrong), status=result.status)
            return
        for device in result.devices:
            mark = self.style.paint("ok", "green") if device.right else self.style.paint("no", "red")
            say(
                f"  {mark}  {device.name:14} VIRTIO_F_ACCESS_PLATFORM {_STANDS[device.offered, device.accepted]}"
            )
        for what in result.wrong:
            say(self.style.paint(f"  wrong: {what}", "red"))
        seconds = time.monotonic() - self.started
        if not result.wrong:
            say(
                self.style.paint(
                    f"all {len(result.devices)} virtio devices go through the guest's own say; {seconds:.1f} s. "
                    "SIMULATED: nothing was protected.",
                    "green",
                )
            )

    def _event(self, event: str, **details: object) -> None:
        print(
            json.dumps({"event": event, "seconds": round(time.monotonic() - self.started, 3), **details}),
            flush=True,
        )
