"""Reads CBOR (RFC 8949) of strangers: definite lengths only, no floats, no key twice, bounded in depth and number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DEEPEST = 24
_MOST_ITEMS = 8192
_SIMPLE = {20: False, 21: True, 22: None}


class CborError(ValueError):
    """Bytes that are no CBOR of the kind that is read here; the text says why and at which offset."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value under a tag."""

    tag: int
    value: Any


def decode(data: bytes) -> Any:
    """Return the one value in some bytes. Raises CborError."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise CborError(f"{len(data) - reader.at} bytes follow the value, at offset {reader.at:#x}")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0
        self.at = 0

    def value(self, depth: int) -> Any:
        start = self.at
        self._items += 1
        if depth > _DEEPEST or self._items > _MOST_ITEMS:
            raise CborError(f"nested too deep, or too many values, at offset {start:#x}")
        major, number = self._head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major in (2, 3):
            raw = self._take(number)
            return raw if major == 2 else self._text(raw, start)
        if major == 4:
            self._room(number, 1)
            return [self.value(depth + 1) for _ in range(number)]
        if major == 5:
            return self._map(number, depth)
        if major == 6:
            return Tagged(number, self.value(depth + 1))
        if number in _SIMPLE:
            return _SIMPLE[number]
        raise CborError(f"a float or another simple value, at offset {start:#x}")

    def _map(self, number: int, depth: int) -> dict[Any, Any]:
        self._room(number, 2)
        found: dict[Any, Any] = {}
        for _ in range(number):
            at, key = self.at, self.value(depth + 1)
            if not isinstance(key, int | str) or isinstance(key, bool):
                raise CborError(f"a key that is neither a number nor text, at offset {at:#x}")
            if key in found:
                raise CborError(f"the key {key!r:.40} is there twice, at offset {at:#x}")
            found[key] = self.value(depth + 1)
        return found

    def _head(self) -> tuple[int, int]:
        start = self.at
        (first,) = self._take(1)
        major, low = first >> 5, first & 0x1F
        if low < 24:
            return major, low
        if low > 27:
            raise CborError(f"an indefinite length, at offset {start:#x}")
        if major == 7:
            raise CborError(f"a float or another simple value, at offset {start:#x}")
        return major, int.from_bytes(self._take(1 << low - 24), "big")

    def _take(self, size: int) -> bytes:
        found = self._data[self.at : self.at + size]
        if len(found) < size:
            raise CborError(f"it ends within a value, at offset {self.at:#x}")
        self.at += size
        return found

    def _room(self, number: int, each: int) -> None:
        if number * each > len(self._data) - self.at:
            raise CborError(f"a list or map claims {number} entries, at offset {self.at:#x}")

    @staticmethod
    def _text(raw: bytes, start: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise CborError(f"text that is not UTF-8, at offset {start:#x}") from None
