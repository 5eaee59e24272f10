"""What a run tells of itself while it goes on: the words of the launch, whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sequester.owner.launch import Answer, Launch


class Tell(Protocol):
    """Listens to a run. Any of these may raise to end it."""

    def step(self, what: str) -> None:
        """A step begins, in a few words."""

    def warn(self, what: str) -> None:
        """Something that whoever runs the guest should know."""

    def console(self, line: str) -> None:
        """The guest wrote a line."""

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """QEMU sent an event."""

    def decided(self, command: str, what: str) -> None:
        """The guard refused or amended a command of a monitor."""

    def measured(self, launch: Launch, answer: Answer | None) -> None:
        """The owner was asked about a launch and answered; None where nobody is asked."""
