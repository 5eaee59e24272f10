"""Changes values in a TOML text in their places; every byte that no change is about stays as it is."""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sequester.formats.toml_scan import Layout, Path, scan
from sequester.formats.toml_value import key_text, value_text

Missing = object()


class Splicer:
    """Gathers what is to be set and taken away, by path, then writes the text once.

    The text must be TOML. Paths are those of `toml_scan`; what is under a path that does not exist yet is made.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.layout: Layout = scan(text, "")
        self.values: dict[str, Any] = tomllib.loads(text)
        self.sets: dict[Path, Any] = {}
        self.removed: set[Path] = set()
        self.passed: set[Path] = set()
        self.ends: dict[Path, int] = {}
        for path, (_, scope) in self.layout.keys.items():
            self.ends[scope] = max(self.ends.get(scope, 0), self.layout.values[path][1])
        self.extended: dict[Path, list[Any]] = {}
        self.appended: list[tuple[str, Mapping[str, Any]]] = []

    def get(self, path: Path) -> Any:
        """Return the value at a path, `Missing` where there is none."""
        if path in self.sets:
            return self.sets[path]
        return Missing if path in self.removed else self._before(path)

    def _before(self, path: Path) -> Any:
        value: Any = self.values
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return Missing
        return value

    def set(self, path: Path, value: Any) -> None:
        """Set a key. Of a plain value on the way to it nothing is kept: set that first, as a table."""
        self._forget(path)
        self.removed.discard(path)
        self.sets[path] = value
        self.passed.update(path[:length] for length in range(1, len(path) + 1))

    def remove(self, path: Path) -> None:
        """Take away a key, or an element of an array of tables."""
        self._forget(path)
        if self.get(path) is not Missing:
            self.removed.add(path)

    def extend(self, path: Path, values: Sequence[Any]) -> None:
        """Add elements to an array that the text has."""
        self.extended[path] = [*self.extended.get(path, []), *values]

    def append(self, section: str, values: Mapping[str, Any]) -> None:
        """Add a ``[[section]]``."""
        self.appended.append((section, values))

    def _forget(self, path: Path) -> None:
        if path in self.passed:
            for inner in [each for each in self.sets if each[: len(path)] == path]:
                del self.sets[inner]

    def text_now(self) -> str:
        """Return the text with everything done."""
        edits: list[tuple[int, int, str]] = []
        rewritten = self._rewritten()
        missing: dict[Path, dict[str, Any]] = {}
        for path, value in self.sets.items():
            if any(path[: len(each)] == each for each in rewritten):
                continue
            if path in self.layout.values:
                edits.append((*self.layout.values[path], value_text(value)))
            else:
                if self._before(path) is not Missing:
                    edits += self._deleted(path)
                at = self._ancestor(path)
                _nest(missing.setdefault(at, {}), path[len(at) :], value)
        for at, values in missing.items():
            edits += self._inserted(at, values)
        for path in self.removed:
            if not any(path[: len(each)] == each for each in rewritten):
                edits += self._deleted(path)
        edits += [(*self.layout.values[path], value_text(value)) for path, value in rewritten.items()]
        edits += [self._into_array(path, new) for path, new in self.extended.items() if new]
        for section, table in self.appended:
            if (section,) in self.layout.tails and (section,) not in rewritten:
                edits.append(self._into_array((section,), [dict(table)]))
        return self._written(edits)

    def _rewritten(self) -> dict[Path, Any]:
        """Return the inline tables and arrays that lose something, as they will be: those are written anew."""
        found: dict[Path, Any] = {}
        for path in sorted(self.removed, key=len):
            outer = next((path[:n] for n in range(1, len(path)) if path[:n] in self.layout.tails), None)
            if outer is None or outer in found:
                continue
            value = _copied(self.get(outer))
            for each, new in self.sets.items():
                if each[: len(outer)] == outer:
                    _place(value, each[len(outer) :], new)
            inside = [each for each in self.removed if each[: len(outer)] == outer]
            for each in sorted(inside, key=lambda each: [str(part).zfill(9) for part in each], reverse=True):
                del _at(value, each[len(outer) : -1])[each[-1]]
            if isinstance(value, list):
                value += [dict(values) for section, values in self.appended if (section,) == outer]
            found[outer] = value
        return found

    def _ancestor(self, path: Path) -> Path:
        """Return the longest beginning of a path that exists as a table."""
        for length in range(len(path) - 1, 0, -1):
            if isinstance(self.get(path[:length]), dict):
                return path[:length]
        return ()

    def _inserted(self, at: Path, values: Mapping[str, Any]) -> list[tuple[int, int, str]]:
        if at in self.layout.tails:
            return [self._into_inline(at, values)]
        if at in self.layout.headers or not at:
            place, prefix = self._end_of(at), ""
        else:
            scope, place = self._dotted(at)
            prefix = "".join(f"{key_text(str(part))}." for part in at[len(scope) :])
        text = "".join(f"{prefix}{key_text(key)} = {value_text(value)}\n" for key, value in values.items())
        if place and self.text[place - 1] != "\n":
            text = "\n" + text.removesuffix("\n")
        elif not at and self.text.startswith("[", place):
            text += "\n"
        return [(place, place, text)]

    def _into_inline(self, at: Path, values: Mapping[str, Any]) -> tuple[int, int, str]:
        said = ", ".join(f"{key_text(key)} = {value_text(value)}" for key, value in values.items())
        last, comma = self.layout.tails[at]
        if last < 0:
            start, end = self.layout.values[at]
            return start + 1, end - 1, f" {said} "
        return (comma, comma, f" {said}") if comma >= 0 else (last, last, f", {said}")

    def _into_array(self, at: Path, new: Sequence[Any]) -> tuple[int, int, str]:
        last, comma = self.layout.tails[at]
        said = ", ".join(value_text(value) for value in new)
        if last < 0:
            start, end = self.layout.values[at]
            return start + 1, end - 1, said
        return (comma, comma, f" {said},") if comma >= 0 else (last, last, f", {said}")

    def _end_of(self, table: Path) -> int:
        """Return the offset behind the last line of a table's own keys."""
        if table in self.ends:
            return self._line_end(self.ends[table])
        if table:
            return self.layout.headers[table][1]
        return self._top()

    def _top(self) -> int:
        """Return where the first key goes: behind a comment that the text begins with and a blank line ends."""
        at = 0
        while self.text.startswith("#", at):
            at = self._line_end(at)
        return self._line_end(at) if at and self.text[at : self._line_end(at)].strip() == "" else 0

    def _dotted(self, table: Path) -> tuple[Path, int]:
        """Return, for a table that dotted keys make, the table they stand in and where another goes."""
        found = [
            (self.layout.values[path][1], scope)
            for path, (_, scope) in self.layout.keys.items()
            if path[: len(table)] == table and len(scope) < len(table)
        ]
        if not found:
            return (), self._end_of(())
        end, scope = max(found)
        return scope, self._line_end(end)

    def _deleted(self, path: Path) -> list[tuple[int, int, str]]:
        """Delete a key's line, or all lines of a table and what is under it."""
        found: list[tuple[int, int, str]] = []
        starts = self._starts
        for header in self._under.get(path, ()):
            if header in self.layout.headers:
                start = self.layout.headers[header][0]
                after = bisect_right(starts, start)
                end = starts[after] if after < len(starts) else len(self.text)
                found.append((start, self._before_comment(start, end), ""))
            elif header in self.layout.keys:
                start, scope = self.layout.keys[header]
                if scope[: len(path)] != path:
                    found.append((start, self._line_end(self.layout.values[header][1]), ""))
        return found

    @cached_property
    def _starts(self) -> list[int]:
        return sorted(start for start, _ in self.layout.headers.values())

    @cached_property
    def _under(self) -> dict[Path, list[Path]]:
        """Headers and keys by each beginning of their path."""
        found: dict[Path, list[Path]] = {}
        for each in (*self.layout.headers, *self.layout.keys):
            for length in range(1, len(each) + 1):
                found.setdefault(each[:length], []).append(each)
        return found

    def _before_comment(self, start: int, end: int) -> int:
        """Return the end of a table's lines, leaving the comment right above the next header to that."""
        lines = self.text[start:end].splitlines(keepends=True)
        while len(lines) > 1 and lines[-1].lstrip().startswith("#") and end < len(self.text):
            end -= len(lines.pop())
        return end

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def _written(self, edits: list[tuple[int, int, str]]) -> str:
        out: list[str] = []
        at = 0
        for start, end, text in sorted(edits, key=lambda edit: edit[:2]):
            out += (self.text[at:start], text)
            at = max(at, end)
        out.append(self.text[at:])
        text = "".join(out)
        for section, values in self.appended:
            if (section,) in self.layout.tails:
                continue
            text += "" if not text or text.endswith("\n") else "\n"
            text += f"\n[[{section}]]\n" if text else f"[[{section}]]\n"
            text += "".join(f"{key_text(key)} = {value_text(value)}\n" for key, value in values.items())
        if "\r\n" in self.text and self.text.count("\n") == self.text.count("\r\n"):
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return text


def _nest(table: dict[str, Any], path: Path, value: Any) -> None:
    *outer, last = path
    for part in outer:
        inner = table.get(str(part))
        if not isinstance(inner, dict):
            inner = table[str(part)] = {}
        table = inner
    table[str(last)] = value


def _place(value: Any, path: Path, new: Any) -> None:
    """Set a value in a structure, through what is there and then through new tables."""
    length = 0
    while length < len(path) - 1 and isinstance(inner := _get(value, path[length]), (dict, list)):
        value = inner
        length += 1
    _nest(value, path[length:], new)


def _get(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return Missing


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
