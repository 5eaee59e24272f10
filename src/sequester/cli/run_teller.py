"""What `run` says while it goes on: lines for a person, with a status line on a terminal, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sequester.cli.arguments import coloured
from sequester.errors import printable
from sequester.report.style import Style

if TYPE_CHECKING:
    from sequester.owner.launch import Answer, Launch
    from sequester.run.launch import Ended
    from sequester.run.simulate import Simulation

_STANDS = {
    (True, True): "negotiated",
    (True, False): "offered, not negotiated",
    (True, None): "offered; this QEMU cannot be asked what was negotiated",
    (False, True): "negotiated, not offered",
    (False, False): "missing",
    (False, None): "missing",
}
_STATES = {"STOP": "paused", "RESUME": "running", "SHUTDOWN": "shutting down", "RESET": "resetting"}
_SHOWN = ("SHUTDOWN", "RESET", "GUEST_PANICKED", "WATCHDOG", "BLOCK_IO_ERROR", "MEMORY_FAILURE")
"""Events that are told to a person in a line of their own; a program gets all."""


class Teller:
    """Tells of one run. `running` is true from when the guest may run."""

    def __init__(self, as_json: bool) -> None:
        self.running = False
        self._as_json = as_json
        self._style = Style(coloured(sys.stderr))
        self._live = not as_json and sys.stderr.isatty()
        self._started = time.monotonic()
        self._state = ""

    def step(self, what: str) -> None:
        """Tell of a step."""
        self.running = self.running or what == "running"
        self._state = what
        if self._as_json:
            self._event("step", what=what)
        else:
            self._line(self._style.paint(f"[{self._seconds():5.1f} s] {what}", "cyan"))

    def warn(self, what: str) -> None:
        """Tell of something that should be known."""
        if self._as_json:
            self._event("warning", what=what)
        else:
            self._line(self._style.paint(printable(f"note: {what}"), "yellow"))

    def console(self, line: str) -> None:
        """Show a line of the guest's console."""
        if self._as_json:
            self._event("console", line=line)
        else:
            self._clear()
            print(printable(line), flush=True)
            self._status()

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """Tell of one of QEMU's events."""
        self._state = _STATES.get(name, self._state)
        if self._as_json:
            self._event("qmp", name=name, data=dict(data))
        elif name in _SHOWN:
            reason = data.get("reason") or data.get("action") or ""
            self._line(printable(f"[{self._seconds():5.1f} s] QEMU: {name.lower()} {reason}".rstrip()))

    def decided(self, command: str, what: str) -> None:
        """Tell of what the guard refused or amended."""
        if self._as_json:
            self._event("guard", command=command, what=what)
        else:
            self._line(self._style.paint(printable(f"guard: {command}: {what}"), "yellow"))

    def measured(self, launch: Launch, answer: Answer | None) -> None:
        """Tell of a measured launch."""
        told = launch.told()
        if self._as_json:
            accepted = None if answer is None else answer.accepted
            self._event("measured", launch=told, accepted=accepted, secret=bool(answer and answer.secret))
            return
        self._line(f"launch measurement: {told['measurement']}")
        if answer is None:
            self.warn("no owner was asked: whatever was measured runs (--owner-check)")
        elif answer.accepted:
            self._line(self._style.paint("the owner accepts the launch", "green"))

    def simulation(self, title: str, simulation: Simulation) -> None:
        """Say what this is, and what it is not."""
        if self._as_json:
            left_out, argv = list(simulation.left_out), list(simulation.argv)
            self._event("simulation", platform=title, left_out=left_out, argv=argv)
            return
        self._line(
            self._style.paint(f"SIMULATED {title}: this guest is NOT protected. Left out:", "yellow", "bold")
        )
        for what in simulation.left_out:
            self._line(self._style.paint(printable(f"  - {what}"), "yellow"))

    def end(self, ended: Ended, simulated: bool) -> None:
        """Say how it ended, and what was negotiated."""
        if self._as_json:
            devices = [
                {
                    "name": each.name,
                    "path": each.path,
                    "offered": each.offered,
                    "accepted": each.accepted,
                    "right": each.right,
                }
                for each in ended.devices
            ]
            self._event("result", devices=devices, wrong=list(ended.wrong), status=ended.status)
            return
        for device in ended.devices:
            mark = self._style.paint("ok", "green") if device.right else self._style.paint("no", "red")
            stands = _STANDS[device.offered, device.accepted]
            self._line(f"  {mark}  {printable(device.name):14} VIRTIO_F_ACCESS_PLATFORM {stands}")
        for what in ended.wrong:
            self._line(self._style.paint(printable(f"  wrong: {what}"), "red"))
        if simulated and not ended.wrong:
            count = len(ended.devices)
            what = f"all {count} virtio devices go" if count != 1 else "the one virtio device goes"
            what = f"{what} through the guest's own say" if count else "there is no virtio device"
            self._line(
                self._style.paint(
                    f"{what}; {self._seconds():.1f} s. SIMULATED: nothing was protected.", "green"
                )
            )

    def close(self) -> None:
        """Take the status line away."""
        self._clear()

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _line(self, text: str) -> None:
        self._clear()
        print(text, file=sys.stderr, flush=True)
        self._status()

    def _status(self) -> None:
        if self._live and self._state:
            sys.stderr.write(f"{self._seconds():6.1f} s  {self._state}")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\033[K")

    def _event(self, event: str, **details: object) -> None:
        print(json.dumps({"event": event, "seconds": round(self._seconds(), 3), **details}), flush=True)
