"""Command lines as text: shell quoting, one argument a line, or NUL-separated; every argument keeps its place.

A word can be spliced in the quoting it was written in, so that an edit touches only what it means to.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from sequester.errors import InputError

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_-+=:,./^~")
_OPERATORS = frozenset(";|&<>()")
_IN_DOUBLE = frozenset('"\\$`\n')


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """One argument: its value, and where its raw text stands in the source (offsets in characters)."""

    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A command line: its source, how it is written (``shell``, ``lines``, ``nul``, ``argv``) and its words.

    `stop` is the offset behind the command, where a shell operator ends it.
    """

    source: str
    style: str
    words: tuple[Word, ...]
    breaks: tuple[int, ...]

    def line_of(self, word: Word) -> int:
        """Return the number of the line on which a word starts, from 1; 0 where there are no lines."""
        return 0 if self.style in ("nul", "argv") else bisect_right(self.breaks, word.start) + 1


def read_words(source: str, name: str, style: str = "") -> Line:
    """Split a command line written in any of the ways people keep them, found out by looking unless given.

    NUL bytes separate arguments as in /proc/PID/cmdline. Several lines none of which ends in a backslash
    hold one argument each, unless one of them has an option and its value side by side. Everything else is read
    as a POSIX shell reads it, without expanding anything. Raises InputError for an open quote.
    """
    breaks = tuple(accumulate(len(text) + 1 for text in source.split("\n")[:-1]))
    if style == "nul" or (not style and "\0" in source):
        return Line(source, "nul", tuple(_between(source, "\0")), breaks)
    if style == "lines" or (not style and _one_a_line(source)):
        return Line(source, "lines", tuple(w for w in _between(source, "\n") if w.value), breaks)
    words: list[Word] = []
    at = 0
    while (word := _next(source, at, name)) is not None:
        words.append(word)
        at = word.end
    return Line(source, "shell", tuple(words), breaks)


def from_argv(argv: list[str] | tuple[str, ...]) -> Line:
    """Wrap an argument vector that never was text."""
    words = []
    at = 0
    for value in argv:
        words.append(Word(value, at, at + len(value)))
        at += len(value) + 1
    return Line("\0".join(argv), "argv", tuple(words), ())


def quote(value: str) -> str:
    """Quote an argument for a POSIX shell, only where it needs it."""
    if value and all(char in _PLAIN for char in value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def spliced(line: Line, word: Word, start: int, end: int, new: str) -> tuple[int, int, str]:
    """Return the edit (raw start, raw end, raw text) that replaces characters [start, end) of a word's value."""
    if line.style != "shell":
        return word.start + start, word.start + end, new
    places = list(_characters(line.source, word.start))
    offsets = [place[0] for place in places]
    ends = [place[1] for place in places]
    if start < end:
        raw_start, raw_end, context = offsets[start], ends[end - 1], places[start][2]
        if places[end - 1][2] != context or "'" in line.source[raw_start:raw_end]:
            value = word.value[:start] + new + word.value[end:]
            return word.start, word.end, quote(value)
    elif places:
        at = start - 1 if start else 0
        raw_start = raw_end = ends[at] if start else offsets[0]
        context = places[at][2]
    else:
        return word.start, word.end, quote(new)
    return raw_start, raw_end, _escaped(new, context)


def _escaped(text: str, context: str) -> str:
    if context == "'":
        return text.replace("'", "'\\''")
    if context == '"':
        return "".join("\\" + char if char in '"\\$`' else char for char in text)
    return "".join(char if char in _PLAIN else "'\n'" if char == "\n" else "\\" + char for char in text)


def _one_a_line(source: str) -> bool:
    lines = [text for text in source.split("\n") if text.strip()]
    if len(lines) < 2 or any(text.rstrip("\r").endswith("\\") for text in lines):
        return False
    return not any(
        text.startswith("-") and len(text.split()) > 1 and "{" not in text.split()[0] for text in lines
    )


def _between(source: str, separator: str) -> Iterator[Word]:
    at = 0
    pieces = source.split(separator)
    if pieces and pieces[-1] == "":
        pieces.pop()
    for piece in pieces:
        value = piece.removesuffix("\r") if separator == "\n" else piece
        yield Word(value, at, at + len(value))
        at += len(piece) + 1


_BETWEEN = re.compile(r"(?:\s+|\\\r?\n|#[^\n]*)*")
"""What stands between two words: blanks, continuation lines, comments."""

_PIECE = re.compile(
    r"""([^\s'"\\;|&<>()]+)"""  # plain
    r"""|'([^']*)'"""
    r"""|"([^"\\$`]*)\""""  # double quotes with nothing special inside
    r"""|(["\\][\s\S]*)""",  # anything else: read character by character
)
"""A piece of a word."""


def _next(source: str, at: int, name: str) -> Word | None:
    between = _BETWEEN.match(source, at)
    at = between.end() if between else at
    if at >= len(source) or source[at] in _OPERATORS:
        return None
    value: list[str] = []
    end = at
    while (piece := _PIECE.match(source, end)) is not None:
        plain = piece[1] or piece[2] or piece[3]
        if piece[4] is not None:
            return _slowly(source, at, name)
        value.append(plain or "")
        end = piece.end()
    if end < len(source) and source[end] == "'":
        return _slowly(source, at, name)
    return Word("".join(value), at, end)


def _slowly(source: str, at: int, name: str) -> Word:
    value: list[str] = []
    end = at
    for _, stop, context, char in _scan(source, at):
        end = stop
        if context == "open":
            line = source.count("\n", 0, at) + 1
            raise InputError(
                "this argument's quote is never closed",
                code="input.quote",
                where=f"{name}:{line}",
                remedy="close the quote, or put one argument on each line",
            )
        value.append(char)
    return Word("".join(value), at, end)


def _characters(source: str, start: int) -> Iterator[tuple[int, int, str]]:
    for at, end, context, char in _scan(source, start):
        if char:
            yield at, end, context


def _scan(source: str, at: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield (raw start, raw end, quoting, character) of a shell word; '' for a quote, quoting ``open`` if unclosed."""
    size = len(source)
    context = ""
    while at < size:
        char = source[at]
        if context == "'":
            context, shown = ("", "") if char == "'" else (context, char)
            yield at, at + 1, "'", shown
            at += 1
        elif char == "\\" and at + 1 < size and (not context or source[at + 1] in _IN_DOUBLE):
            step = 3 if source.startswith("\\\r\n", at) else 2
            follower = "" if source[at + step - 1] == "\n" else source[at + 1]
            yield at, at + step, context, follower
            at += step
        elif context == '"':
            context, shown = ("", "") if char == '"' else (context, char)
            yield at, at + 1, '"', shown
            at += 1
        elif char in "'\"":
            context = char
            yield at, at + 1, char, ""
            at += 1
        elif char.isspace() or char in _OPERATORS:
            return
        else:
            yield at, at + 1, "", char
            at += 1
    if context:
        yield at, at, "open", ""
