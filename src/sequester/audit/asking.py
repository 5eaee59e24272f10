"""What is asked of a running QEMU: reading commands, many at once, and what came back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sequester.errors import GuestError

NONSENSE = "QEMU's answers are not those of a QEMU"


@dataclass(frozen=True, slots=True)
class Command:
    """One QMP command: its name, and its arguments as pairs."""

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def request(self) -> dict[str, Any]:
        """Return it as QMP has it."""
        told: dict[str, Any] = {"execute": self.name}
        if self.arguments:
            told["arguments"] = dict(self.arguments)
        return told


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's value, or the description of QEMU's error ('' where there is none)."""

    value: Any = None
    error: str = ""


class Monitor(Protocol):
    """A QEMU that can be asked: over its own socket, or through libvirt."""

    @property
    def where(self) -> str:
        """What a person calls it."""

    @property
    def peer(self) -> int | None:
        """The process at the other end of the socket; None where that is not QEMU itself, or not known."""

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask all of these and return the answers in order. Raises GuestError or HostError."""


def command(name: str, **arguments: Any) -> Command:
    """Return a command; underscores in argument names stand for dashes."""
    return Command(name, tuple((key.replace("_", "-"), value) for key, value in arguments.items()))


def prop(path: str, name: str) -> Command:
    """Return the question for one property of an object."""
    return Command("qom-get", (("path", path), ("property", name)))


def children(path: str) -> Command:
    """Return the question for everything that an object has."""
    return Command("qom-list", (("path", path),))


class Seen:
    """What a QEMU has answered so far."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._answers: dict[Command, Answer] = {}

    def ask(self, commands: Iterable[Command]) -> None:
        """Ask, in one go, what was not asked before."""
        new = [one for one in dict.fromkeys(commands) if one not in self._answers]
        if new:
            self._answers.update(zip(new, self._monitor.ask(new), strict=True))

    def value(self, asked: Command) -> Any:
        """Return an answer; None where QEMU refused it or was not asked."""
        return self._answers.get(asked, Answer()).value

    def answered(self, asked: Command) -> bool:
        """Tell whether QEMU took the command."""
        answer = self._answers.get(asked)
        return answer is not None and not answer.error

    def property(self, path: str, name: str) -> Any:
        """Return a property's value, None where there is none."""
        return self.value(prop(path, name))

    def text(self, path: str, name: str) -> str:
        """Return a property that is text, '' where there is none. Raises GuestError where it is something else."""
        value = self.property(path, name)
        return "" if value is None else string(value)


def records(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects, [] for no answer. Raises GuestError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise nonsense(value)
    return value


def record(value: Any) -> dict[str, Any]:
    """Return an object, {} for no answer. Raises GuestError for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise nonsense(value)
    return value


def string(value: Any) -> str:
    """Return text. Raises GuestError for anything else."""
    if not isinstance(value, str):
        raise nonsense(value)
    return value


def strings(value: Any) -> list[str]:
    """Return a list of texts, [] for no answer. Raises GuestError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise nonsense(value)
    return [string(one) for one in value]


def integer(value: Any) -> int:
    """Return a number. Raises GuestError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise nonsense(value)
    return value


def boolean(value: Any) -> bool:
    """Return a truth. Raises GuestError for anything else."""
    if not isinstance(value, bool):
        raise nonsense(value)
    return value


def nonsense(value: Any) -> GuestError:
    """Return the error for an answer of the wrong kind."""
    return GuestError(NONSENSE, code="qmp.answer", why=json.dumps(value, default=str)[:80])
