"""The errors that reach a caller: where, what, why, what to do, and a stable code. One line each."""

from __future__ import annotations


class SequesterError(Exception):
    """What went wrong and what would mend it.

    `code` is stable (``input.syntax``, ``host.unsupported`` ...), `where` names the file and line or the
    device or option, `what` is the fault, `why` its cause, `remedy` what to do. `exit_status` is what the
    command line ends with.
    """

    exit_status = 2

    def __init__(self, what: str, *, code: str, where: str = "", why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.where = where
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.why:
            text += f": {self.why}"
        if self.remedy:
            text += f" ({self.remedy})"
        return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return text with what does not show as itself spelled out: input must not steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class InputError(SequesterError):
    """A file, option or argument that cannot be used as it is (exit status 2)."""

    exit_status = 2


class RefusedError(SequesterError):
    """A plan that would not protect its guest (exit status 1)."""

    exit_status = 1


class HostError(SequesterError):
    """This host cannot do what the guest asks for (exit status 3)."""

    exit_status = 3


class GuestError(SequesterError):
    """The guest, or its evidence, failed (exit status 4)."""

    exit_status = 4
