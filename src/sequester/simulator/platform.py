"""What a simulated platform is to the launch and to the monitor: an object that answers in QEMU's and the firmware's
place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

Forward = Callable[[], Awaitable[Any]]
"""Sends the command on to QEMU as it came and returns what QEMU returns. Raises QmpError."""
Handler = Callable[[Mapping[str, Any], Forward], Awaitable[Any]]
"""Answers one QMP command: its arguments in, its return value out. Raises QmpError."""


class QmpError(Exception):
    """A QMP command's failure as its client gets it: `description`, and QAPI's error class."""

    def __init__(self, description: str, error_class: str = "GenericError") -> None:
        super().__init__(description)
        self.description = description
        self.error_class = error_class


class SimulatedPlatform(Protocol):
    """One guest's protection, simulated.

    `handlers` are the QMP commands that are answered here and not by QEMU, by name; ``cont`` is among them where the
    launch must be finished before the guest may run. A handler raises GuestError where QEMU would end. `notes` say
    what is played only in part.
    """

    handlers: Mapping[str, Handler]
    notes: tuple[str, ...]

    @property
    def engaged(self) -> bool:
        """Whether the limitation binds now: from the start, or from the guest's switchover on."""

    def begin(self) -> None:
        """Take the launch to where QEMU would stand paused. Raises GuestError with QEMU's words and the firmware's."""

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """Take note of one of QEMU's events: a reset ends what a guest switched on."""

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return files by name: the evidence that the guest would get for its own bytes (at most 64), then what it
        is verified with. Raises GuestError where the platform has none."""
