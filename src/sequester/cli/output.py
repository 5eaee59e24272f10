"""Writes what a command produced: to standard output, or to a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile

from sequester.cli.streams import SPELL
from sequester.errors import InputError


def write_out(text: str, path: str | None) -> None:
    """Write text to `path`, or to standard output when it is None or ``-``. Raises InputError when it cannot.

    A device or pipe is written to as it is: renaming a file over it would take it away.
    """
    if path is None or path == "-":
        sys.stdout.write(text)
        return
    if os.path.exists(path) and not os.path.isfile(path):
        _write_in_place(text, path)
        return
    folder = os.path.dirname(os.path.abspath(path))
    try:
        descriptor, beside = tempfile.mkstemp(prefix=".sequester-", dir=folder)
        try:
            with open(descriptor, "w", encoding="utf-8", errors=SPELL, newline="") as file:
                file.write(text)
                os.fchmod(descriptor, _mode(path))
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise InputError(
            "this file cannot be written", code="output.unwritable", where=path, why=error.strerror or ""
        ) from None


def _write_in_place(text: str, path: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", errors=SPELL, newline="") as file:
            file.write(text)
    except OSError as error:
        raise InputError(
            "this cannot be written to", code="output.unwritable", where=path, why=error.strerror or ""
        ) from None


def say(text: str) -> None:
    """Write one line to standard error."""
    print(text, file=sys.stderr)


def _mode(path: str) -> int:
    """Return the mode of the file that is replaced, or what a new file gets."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
