"""A domain's QMP monitor, asked through libvirt: by libvirt-python, or by virsh where that is not installed."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sequester.audit.asking import NONSENSE, Answer, Command, Monitor, record
from sequester.domains.connection import PREFIX, bindings, connected, domain_of, reason
from sequester.errors import GuestError, HostError, InputError
from sequester.guard.wire import MalformedError, parse

ANSWER_SECONDS = 30.0
_MOST_REPLY = 16 << 20
_MOST_ARGUMENT = 96 << 10
"""Bytes of commands in one argument of virsh; Linux takes 128 KiB (MAX_ARG_STRLEN)."""
_PID_FILES = Path("/run/libvirt/qemu")


def monitor_of(name: str) -> Monitor:
    """Return the monitor of a domain that runs. Raises InputError or HostError where there is none."""
    if not _installed():
        return VirshMonitor(name)
    domain = domain_of(connected(), name)
    if not domain.isActive():
        raise _not_running(name)
    return BoundMonitor(domain)


class BoundMonitor:
    """A monitor by libvirt-python (virDomainQemuMonitorCommand)."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain
        self.where = f"{PREFIX}{domain.name()}"
        self.peer = _pid(domain.name())

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask one after the other: libvirt takes one command at a time."""
        import libvirt_qemu

        libvirt = bindings()
        answers: list[Answer] = []
        failed: list[str] = []

        def each() -> None:
            try:
                for command in commands:
                    text = libvirt_qemu.qemuMonitorCommand(self._domain, json.dumps(command.request()), 0)
                    answers.append(_answer(text, self.where))
            except libvirt.libvirtError as error:
                failed.append(reason(error))
            except GuestError as error:
                failed.append(str(error))

        # A call into libvirt has no time limit; the thread is given up, and ends with us.
        worker = threading.Thread(target=each, daemon=True)
        worker.start()
        worker.join(ANSWER_SECONDS)
        if failed:
            raise GuestError(
                "this domain cannot be asked", code="libvirt.error", where=self.where, why=failed[0]
            )
        if worker.is_alive():
            raise GuestError(
                f"libvirt did not answer in {ANSWER_SECONDS:.0f} s", code="libvirt.timeout", where=self.where
            )
        return answers


class VirshMonitor:
    """A monitor by `virsh qemu-monitor-command`, many commands to one virsh."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.where = f"{PREFIX}{name}"
        self.peer = _pid(name)

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask everything, in as few virsh as take it."""
        return [answer for lines in _batches(commands, self._name) for answer in self._asked(lines)]

    def _asked(self, lines: list[str]) -> list[Answer]:
        try:
            done = subprocess.run(
                ["virsh", "-q", "; ".join(lines)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise HostError(
                "neither libvirt-python nor virsh is installed",
                code="libvirt.missing",
                where=self.where,
                remedy="install sequester[libvirt], or libvirt's clients",
            ) from None
        except subprocess.TimeoutExpired:
            raise GuestError(
                f"libvirt did not answer in {ANSWER_SECONDS:.0f} s", code="libvirt.timeout", where=self.where
            ) from None
        replies = [line for line in done.stdout.decode(errors="replace").split("\n") if line.strip()]
        if done.returncode or len(replies) != len(lines):
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise InputError(
                "libvirt does not let this domain be asked",
                code="libvirt.error",
                where=self.where,
                why=said[-1].removeprefix("error: ") if said else "",
            )
        return [_answer(reply, self.where) for reply in replies]


def _batches(commands: Sequence[Command], name: str) -> Iterator[list[str]]:
    lines: list[str] = []
    size = 0
    for command in commands:
        # virsh reads quotes as a shell does; in JSON an apostrophe can be spelled without one.
        request = json.dumps(command.request()).replace("'", "\\u0027")
        line = f"qemu-monitor-command --domain {_quoted(name)} '{request}'"
        if lines and size + len(line) > _MOST_ARGUMENT:
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 2
    if lines:
        yield lines


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _answer(text: str, where: str) -> Answer:
    if len(text) > _MOST_REPLY:
        raise GuestError("QEMU does not stop talking", code="qmp.nonsense", where=where)
    try:
        message = record(parse(text.encode()))
    except MalformedError as fault:
        raise GuestError(NONSENSE, code="qmp.nonsense", where=where, why=str(fault)) from None
    if "error" in message:
        return Answer(error=str(record(message["error"]).get("desc", "")) or "refused")
    return Answer(message.get("return"))


def _pid(name: str) -> int | None:
    """Return the process of a domain of this host's libvirtd; None where we may not look, or it is another host's."""
    if "/" in name:
        return None
    try:
        text = (_PID_FILES / f"{name}.pid").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return int(text) if text.strip().isdecimal() else None


def _not_running(name: str) -> InputError:
    return InputError(
        "this domain does not run",
        code="audit.stopped",
        where=f"{PREFIX}{name}",
        remedy="`sequester check` judges a domain that does not run",
    )


def _installed() -> bool:
    try:
        bindings()
    except HostError:
        return False
    return True
