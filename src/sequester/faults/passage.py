"""A text of unknown origin, cut into passages that patterns can be tried on in bounded time."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 1 << 20  # characters of a text that are read: its beginning and its end
WIDTH = 2000  # characters of a passage; longer lines are cut, with an overlap
OVERLAP = 400  # no known message is longer
JOINED = 16384  # characters of a text that is also read as one line

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]{0,16}[ -/]{0,4}[@-~]|[@-Z\\-_])")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u200b": None, "\x00": " "})


@dataclass(frozen=True, slots=True)
class Passage:
    """A line of the text, or a part of a very long one; `line` counts from 1."""

    line: int
    text: str


def passages(text: str, *, joined: bool = False) -> tuple[Passage, ...]:
    """Cut a text into its lines without those that are empty; with `joined`, read a short text as one line.

    Of a text longer than `LONGEST` the middle is left out: its beginning says what was run, its end what went
    wrong. Colours are taken out, typographic quotes made plain.
    """
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n{text[-half:]}"
    text = text.translate(_QUOTES)
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if joined:
        if len(text) > JOINED:
            return ()
        lines = text.split("\n")
        # A break may have replaced a blank, or stand inside a word.
        return tuple(
            piece
            for glue in (" ", "")
            for piece in _cut(1, glue.join(line.strip() for line in lines if line.strip()))
        )
    found: list[Passage] = []
    for number, line in enumerate(text.split("\n"), 1):
        found += _cut(number, line)
    return tuple(found)


def plain(text: str, longest: int = 200) -> str:
    """Make a text fit to be shown: nothing unprintable, and not longer than `longest`."""
    shown = "".join(char if char.isprintable() else " " for char in text[: longest + 1])
    return shown if len(text) <= longest else shown[: longest - 1] + "…"


def _cut(number: int, line: str) -> list[Passage]:
    if not line or line.isspace():
        return []
    if len(line) <= WIDTH:
        return [Passage(number, line)]
    step = WIDTH - OVERLAP
    return [Passage(number, line[at : at + WIDTH]) for at in range(0, len(line) - OVERLAP, step)]
