"""Finds where everything stands in a TOML text, and refuses texts that are nested beyond any guest.

It reads only as much of TOML as that takes; what is not TOML is for `tomllib` to say. It also guards `tomllib`,
whose time grows with the square of a dotted key's length and whose stack with the nesting of values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sequester.errors import InputError

Path = tuple[str | int, ...]
Span = tuple[int, int]

DEEPEST = 24
"""Parts of a dotted key, and brackets within brackets, at most."""

MOST = 100_000
"""Keys, tables and elements of arrays, at most: room for 10,000 devices with all they may have."""

_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]++|\\.)*+)"|'([^'\n]*+)')[ \t]*""")
_SKIP = re.compile(r"""[^\[\]{}"'#,\n=]*""")
_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_STRING = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}|"(?!"")(?:[^"\\\n]++|\\.)*+"'''
    r"""|'{3}(?:[^']++|'(?!''))*+'{3,5}|'(?!'')[^'\n]*+'""",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:([btnfr"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


@dataclass(slots=True)
class Layout:
    """Where things stand: offsets in characters, by path of names and indices.

    `lines` has the line, from 1, of every table, key and element that is a table or array itself. The others are
    for editing: `values` the extent of each value that is written as one, `keys` where a key's statement begins
    and the table in which it is written, `headers` the extent of each ``[table]`` line in the order of the text,
    `tails` for each array and inline table the end of its last entry and of a comma behind that (-1: none).
    """

    lines: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, tuple[int, Path]] = field(default_factory=dict)
    headers: dict[Path, Span] = field(default_factory=dict)
    tails: dict[Path, Span] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """An array or inline table that is being read: `entry` is the path of the value at hand, `start` its offset."""

    array: bool
    path: Path
    entry: Path
    start: int
    index: int = -1
    last: int = -1
    comma: int = -1


def scan(text: str, name: str) -> Layout:
    """Return where everything stands in a TOML text.

    Raises InputError for a key or value nested more than `DEEPEST` deep, or for more than `MOST` of them. Of text
    that is not TOML the part before the first fault is read.
    """
    return _Scan(text, name).run()


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0
        self.line = 1
        self.counted = 0
        self.items = 0
        self.ended = 0
        self.layout = Layout()
        self.elements: dict[Path, int] = {}

    def run(self) -> Layout:
        table: Path = ()
        while True:
            self._move(_BLANK)
            if self.at >= len(self.text):
                return self.layout
            if self.text.startswith("[", self.at):
                header = self._header()
                if header is None:
                    return self.layout
                table = header
            else:
                path = self._statement(table)
                if path is None or not self._value(path):
                    return self.layout

    def _header(self) -> Path | None:
        start, line = self.at, self._line()
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        key = self._key("]")
        if key is None:
            return None
        if array:
            self.at += 1
        self._count(len(key))
        path: Path = ()
        for part in key[:-1]:
            path = (*path, part)
            self.layout.lines.setdefault(path, line)
            path = self._entered(path)
        path = (*path, key[-1])
        self.layout.lines.setdefault(path, line)
        if array:
            index = self.elements.get(path, -1) + 1
            self.elements[path] = index
            path = (*path, index)
            self.layout.lines[path] = line
        else:
            path = self._entered(path)
        end = self.text.find("\n", self.at)
        self.layout.headers[path] = (start, len(self.text) if end < 0 else end + 1)
        return path

    def _entered(self, path: Path) -> Path:
        return (*path, self.elements[path]) if path in self.elements else path

    def _statement(self, table: Path) -> Path | None:
        """Read a dotted key and its equals sign; return its whole path."""
        start = self.at
        key = self._key("=")
        if key is None:
            return None
        self._count(len(key))
        path = table
        for part in key:
            path = (*path, part)
            self.layout.lines.setdefault(path, self._line())
        self.layout.keys[path] = (start, table)
        return path

    def _key(self, stop: str) -> list[str] | None:
        """Read a dotted key and the character behind it; None where there is none."""
        parts: list[str] = []
        while (found := _KEY.match(self.text, self.at)) is not None:
            bare, basic, literal = found.groups()
            parts.append(bare if bare is not None else literal if basic is None else _unescaped(basic))
            if len(parts) > DEEPEST:
                raise self._too_deep("a key of more than {} parts")
            self.at = found.end()
            if self.text.startswith(stop, self.at):
                self.at += 1
                return parts
            if not self.text.startswith(".", self.at):
                return None
            self.at += 1
        return None

    def _value(self, path: Path) -> bool:
        """Pass over a value and all that is in it; False where it is not one."""
        start = self.ended = self._after_blanks()
        open_: list[_Open] = []
        while True:
            if open_:
                self._move(_BLANK)
            else:
                self._skip()
            char = self.text[self.at : self.at + 1]
            top = open_[-1] if open_ else None
            if top is None and char in ("", "#", "\n"):
                self.layout.values[path] = (start, self.ended)
                return True
            if char in ("'", '"'):
                string = _STRING.match(self.text, self.at)
                if string is None:
                    return False
                self.at = self.ended = string.end()
            elif char in ("[", "{"):
                if len(open_) == DEEPEST:
                    raise self._too_deep("values more than {} deep in one another")
                opened = _Open(char == "[", top.entry if top else path, path, self.at)
                self.layout.lines.setdefault(opened.path, self._line())
                self.at += 1
                open_.append(opened)
                if not self._next(opened):
                    return False
            elif top is None or char in ("", "="):
                return False
            elif char in ("]", "}"):
                if top.array != (char == "]"):
                    return False
                self._ended(open_.pop())
                self.at = self.ended = self.at + 1
                self.layout.tails[top.path] = (top.last, top.comma)
            elif char == ",":
                self._ended(top)
                self.at = top.comma = self.at + 1
                self._count()
                if not self._next(top):
                    return False
            else:
                self._skip()

    def _next(self, top: _Open) -> bool:
        """Get ready for the next entry of an array or inline table, if there is one."""
        self._move(_BLANK)
        top.index += 1
        top.entry, top.start = (*top.path, top.index), self.at
        if not top.array and not self.text.startswith("}", self.at):
            path = self._statement(top.path)
            if path is None:
                return False
            top.entry, top.start = path, self._after_blanks()
        return True

    def _ended(self, top: _Open) -> None:
        """Note where the entry at hand ends, unless there is none before a closing bracket."""
        if self.ended > top.start:
            self.layout.values.setdefault(top.entry, (top.start, self.ended))
            top.last, top.comma = self.ended, -1

    def _after_blanks(self) -> int:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        return self.at

    def _skip(self) -> None:
        """Pass over what is no bracket, string, comma or comment; note where it ends but for white space."""
        start = self.at
        self._move(_SKIP)
        end = self.at
        while end > start and self.text[end - 1] in " \t\r":
            end -= 1
        if end > start:
            self.ended = end

    def _move(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def _count(self, items: int = 1) -> None:
        self.items += items
        if self.items > MOST:
            where = f"{self.name}:{self._line()}"
            raise InputError(
                f"more than {MOST} keys and values",
                code="input.size",
                where=where,
                remedy="no guest needs that",
            )

    def _line(self) -> int:
        if self.at > self.counted:
            self.line += self.text.count("\n", self.counted, self.at)
            self.counted = self.at
        return self.line

    def _too_deep(self, what: str) -> InputError:
        where = f"{self.name}:{self._line()}"
        return InputError(what.format(DEEPEST), code="input.depth", where=where, remedy="no guest needs that")


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        short, four, eight = found.groups()
        if short:
            return _ESCAPED[short]
        number = int(four or eight, 16)
        return chr(number) if number < 0x110000 else ""

    return _ESCAPE.sub(one, text) if "\\" in text else text
