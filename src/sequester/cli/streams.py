"""The three standard streams, made fit to be written to whatever the locale is and whoever closed them."""

from __future__ import annotations

import codecs
import os
import sys

TYPE_CHECKING = False  # `typing` takes longer to load than `--version` takes
if TYPE_CHECKING:
    from typing import TextIO

SPELL = "sequester.spell"
"""The error handler for text that a stream or a file cannot hold as it is."""

_PLAIN = {"→": "->", "…": "...", "–": "-", "—": "-", "×": "x", "≥": ">="}


def prepare() -> None:
    """Open closed standard streams on /dev/null, and spell out what the locale cannot show."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # otherwise the next file that is opened would be taken for a standard stream
    os.close(number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    if hasattr(sys.stdin, "reconfigure"):  # a test or an embedding program may have its own
        sys.stdin.reconfigure(errors="replace")
    sys.stdout = _spelling(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115
    sys.stderr = _spelling(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115


def discard_output() -> None:
    """Give up standard output, so that the interpreter does not complain at its end about what is left in it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _spelling(stream: TextIO) -> TextIO:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=SPELL)
    return stream


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Give raw bytes of names back as they came (PEP 383); write anything else in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    if all("\udc80" <= char <= "\udcff" for char in wanted):
        return wanted.encode("utf-8", "surrogateescape"), error.end
    return "".join(_PLAIN.get(char) or ascii(char)[1:-1] for char in wanted), error.end


codecs.register_error(SPELL, _spell)
