"""A table of a TOML guest as its reader sees it: typed values, each with its line, and no key left unread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sequester.errors import InputError
from sequester.formats.toml_scan import Path
from sequester.guest.part import Value

_SHOWN = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class Table:
    """One table. Every key that is asked for counts as known; `finish` objects to the others.

    All errors are InputErrors naming file, line and key.
    """

    __slots__ = ("_known", "_lines", "_name", "path", "values")

    def __init__(
        self, name: str, values: Mapping[str, Any], lines: Mapping[Path, int], path: Path = ()
    ) -> None:
        self._name = name
        self._lines = lines
        self._known: list[str] = []
        self.path = path
        self.values = values

    @property
    def line(self) -> int:
        """The line where the table begins."""
        return self.line_of()

    def line_of(self, key: str | None = None) -> int:
        """Return the line of a key, or of the table where the key has none."""
        path = self.path if key is None else (*self.path, key)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def has(self, key: str) -> bool:
        """Tell whether a key is there; it counts as known."""
        self._known.append(key)
        return key in self.values

    def text(self, key: str, default: str = "") -> str:
        """Return a key's text, which may not be empty, or the default where the key is missing."""
        if not self.has(key):
            return default
        value = self.values[key]
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.wrong(key, "text")
        return value

    def text_or_number(self, key: str, default: str = "") -> str:
        """Return a key's text, or its whole number as text."""
        if not self.has(key):
            return default
        value = self.values[key]
        if type(value) is int and value > 0:
            return str(value)
        if not isinstance(value, str):
            raise self.wrong(key, "text or a number above 0")
        return self.text(key)

    def needed(self, key: str, example: str) -> str:
        """Return a key's text; InputError, with an example, where the key is missing."""
        if not self.has(key):
            raise self.error(None, f"'{key}' is missing", remedy=f"such as {key} = {example}")
        return self.text(key)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a key's truth."""
        if not self.has(key):
            return default
        value = self.values[key]
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str) -> int | None:
        """Return a key's whole number, None where the key is missing."""
        if not self.has(key):
            return None
        value = self.values[key]
        if type(value) is not int or value < 0:
            raise self.wrong(key, "a whole number")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return a key's text, which must be one of a few."""
        value = self.text(key, default)
        if value not in choices:
            raise self.error(key, f"'{value}' is none of {', '.join(choices)}", code="input.value")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a key's list of texts, [] where the key is missing."""
        if not self.has(key):
            return []
        value = self.values[key]
        if not isinstance(value, list) or not all(
            isinstance(each, str) and "\0" not in each for each in value
        ):
            raise self.wrong(key, "a list of texts")
        return value

    def table(self, key: str) -> Table | None:
        """Return the table under a key, None where the key is missing."""
        if not self.has(key):
            return None
        value = self.values[key]
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return Table(self._name, value, self._lines, (*self.path, key))

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array of tables, [] where the key is missing."""
        if not self.has(key):
            return []
        value = self.values[key]
        if isinstance(value, dict):
            raise self.error(
                key,
                f"{self._shown(key)} is one of many",
                remedy=f"write [[{key}]] instead of [{key}]",
                code="input.type",
            )
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.wrong(key, f"a list of tables, each begun by [[{key}]]")
        return [Table(self._name, each, self._lines, (*self.path, key, i)) for i, each in enumerate(value)]

    def properties(self, key: str) -> dict[str, Value]:
        """Return the table under a key as QEMU properties, {} where the key is missing."""
        inner = self.table(key)
        return inner.rest() if inner is not None else {}

    def rest(self) -> dict[str, Value]:
        """Return every key not asked for yet as a QEMU property."""
        return {key: self.value(key) for key in self.values if key not in self._known}

    def value(self, key: str) -> Value:
        """Return a key's value as QEMU takes it: text, number, truth, or a list or table of them."""
        self.has(key)
        value = self.values[key]
        if not key or not _fits(value):
            raise self.error(
                key, "no property of QEMU's can have this value", remedy="write text, a number, true or false"
            )
        return value

    def finish(self) -> None:
        """Raise InputError for the first key that nobody asked for, naming the nearest one that is known."""
        for key in self.values:
            if key not in self._known:
                raise self.error(key, f"there is no key '{key[:60]}'{self._place()}", remedy=self._near(key))

    def wrong(self, key: str, wanted: str) -> InputError:
        """Return the error for a value of the wrong type."""
        value = self.values[key]
        shown = f'"{value[:40]}"' if isinstance(value, str) else _SHOWN.get(type(value), "a date or time")
        if isinstance(value, (bool, int, float)):
            shown = str(value).lower()[:40]
        return self.error(key, f"{self._shown(key)}: {wanted} is wanted, not {shown}", code="input.type")

    def error(self, key: str | None, what: str, *, code: str = "input.key", remedy: str = "") -> InputError:
        """Return an error at a key of this table, or at the table."""
        line = self.line_of(key)
        where = f"{self._name}:{line}" if line else self._name
        if key is None and self.path:
            what = f"{self._shown()}: {what}"
        return InputError(what, code=code, where=where, remedy=remedy)

    def _place(self) -> str:
        return f" in {self._shown()}" if self.path else ""

    def _shown(self, key: str | None = None) -> str:
        names = [part for part in (*self.path, key) if isinstance(part, str)]
        if key is None and self.path and isinstance(self.path[-1], int):
            return f"[[{'.'.join(names)}]]"
        return ".".join(names) if key is not None else f"[{'.'.join(names)}]"

    def _near(self, key: str) -> str:
        from difflib import get_close_matches  # only an error needs it

        known = list(dict.fromkeys(self._known))
        near = get_close_matches(key[:60], known, 1, 0.5)
        return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(key and _fits(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(_fits(inner) for inner in value)
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, float):
        return value - value == 0
    return isinstance(value, (bool, int))


def in_order(tables: Iterator[Table]) -> list[Table]:
    """Return tables of several arrays in the order in which the file has them."""
    return sorted(tables, key=lambda table: table.line)
