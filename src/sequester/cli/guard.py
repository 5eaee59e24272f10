"""`sequester guard`: a QMP server that keeps a running guest's limitation, in front of QEMU's own."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sequester.cli.output import say
from sequester.errors import GuestError, RefusedError, printable

if TYPE_CHECKING:
    from sequester.guard.guard import Noted
    from sequester.guard.rulebook import Rulebook

SCHEMA = "sequester-guard/1"
_LINES_A_SECOND = 50
_DESCRIPTORS = 4096

_EPILOG = """\
Start QEMU with a QMP socket that only the guard may reach, and give clients the guard's:

  qemu-system-x86_64 ... -qmp unix:/run/vm/private.sock,server=on,wait=off
  sequester guard --qmp /run/vm/private.sock --listen /run/vm/qmp.sock
  qmp-shell /run/vm/qmp.sock

  sequester guard --qmp private.sock --listen qmp.sock --limit sev-snp      a simulation: QEMU has no object
  sequester guard --qmp private.sock --listen qmp.sock --json 2>guard.log

`sequester explain SQ903` tells of a refusal. The guard ends when QEMU does; SIGTERM ends it and leaves QEMU running.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("--qmp", required=True, metavar="SOCKET", help="QEMU's QMP socket (a UNIX path)")
    parser.add_argument(
        "--listen", required=True, metavar="SOCKET", help="where clients connect; made with mode 0600"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--limit", metavar="NAME", help="the platform; otherwise QEMU is asked for its protection object"
    )
    which.add_argument("--guest", metavar="GUEST", help="a file whose limitation names the platform")
    parser.add_argument(
        "--unknown",
        choices=("refuse", "allow"),
        default="refuse",
        help="commands that no rule knows, but for query-*, which pass (default: refuse)",
    )
    parser.add_argument("--json", action="store_true", help="lines on standard error as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Guard until QEMU ends or a signal comes; 0, 4 when QEMU ends without having said so."""
    _more_descriptors()
    return asyncio.run(_guard(arguments, _Teller(arguments.json, time.monotonic)))


async def _guard(arguments: argparse.Namespace, teller: _Teller) -> int:
    from sequester.guard.discovery import discovered
    from sequester.guard.guard import Guard
    from sequester.guard.monitor import connect
    from sequester.simulator.platform import QmpError

    limit = _of_guest(arguments.guest) if arguments.guest else arguments.limit
    loop = asyncio.get_running_loop()
    monitor = await connect(arguments.qmp)
    try:
        try:
            rules = await discovered(monitor.execute, monitor.version, limit, arguments.unknown)
        except QmpError as error:
            raise GuestError(
                "QEMU refuses to be asked", code="qmp.answer", where=arguments.qmp, why=error.description
            ) from None
        guard = Guard(rules, monitor, journal=teller.noted)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        guard.serve(arguments.listen)
        teller.begin(rules, arguments.listen)
        ended, stop = asyncio.ensure_future(guard.wait()), asyncio.ensure_future(stopped.wait())
        await asyncio.wait((ended, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        guard.close()
        if stopped.is_set():
            ended.cancel()
            teller.tell("stopped", "stopped; QEMU runs on, and nobody guards its monitor")
            return 0
        why = ended.result()
        if not monitor.shut_down:
            raise GuestError("QEMU is gone", code="qemu.ended", where=arguments.qmp, why=why)
        teller.tell("ended", "QEMU has ended")
        return 0
    finally:
        monitor.close()


def _of_guest(name: str) -> str:
    from sequester.formats.sources import open_guest
    from sequester.platforms.registry import resolve

    limitation = resolve(open_guest(name).guest)
    if limitation is None:
        raise RefusedError(
            "this guest has no limitation that is known",
            code="guard.unprotected",
            where=name,
            remedy="name the platform with --limit",
        )
    return limitation.name


def _more_descriptors() -> None:
    """Allow as many open files as many clients need, within what the host allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Teller:
    """Writes what happens to standard error, at most so many lines a second: a client decides how many there are."""

    def __init__(self, as_json: bool, clock: Callable[[], float]) -> None:
        self._as_json = as_json
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._untold = 0

    def begin(self, rules: Rulebook, where: str) -> None:
        """Tell that clients may connect."""
        version = ".".join(str(number) for number in rules.version)
        title = rules.limitation.title
        text = f"QEMU {version}, {title}: listening on {where}"
        if not rules.identity:
            text += " (QEMU has no protection object: this guest is NOT protected)"
        self.tell(
            "listening", text, qemu=version, platform=rules.limitation.name, protected=bool(rules.identity)
        )

    def noted(self, noted: Noted) -> None:
        """Tell of a decision."""
        from sequester.guard.verdict import Allow, Refuse

        verdict, facts = noted.verdict, {"client": noted.client, "command": noted.command}
        if isinstance(verdict, Refuse):
            self.tell("refused", f"client {noted.client}: {verdict.description}", code=verdict.code, **facts)
            return
        changes = () if isinstance(verdict, Allow) else verdict.changes
        if changes:
            text = f"client {noted.client}: {noted.command} amended: {', '.join(changes)}"
            self.tell("amended", text, changes=changes, **facts)
        for note in verdict.notes:
            self.tell("warning", f"client {noted.client}: {noted.command}: {note}", **facts)

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """Write one line."""
        second = int(self._clock())
        if second != self._second:
            untold, self._second, self._lines, self._untold = self._untold, second, 0, 0
            if untold:
                self.tell("untold", f"{untold} more lines were left out", number=untold)
        self._lines += 1
        if self._lines > _LINES_A_SECOND:
            self._untold += 1
        elif self._as_json:
            say(json.dumps({"schema": SCHEMA, "event": event, **facts, "text": text}))
        else:
            say(f"sequester guard: {printable(text)}")
