"""Writes CBOR (RFC 8949), in its shortest and deterministic form, as far as a CoRIM needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a tag."""

    tag: int
    value: Value


Value = int | str | bytes | list["Value"] | Mapping[int, "Value"] | Tagged
_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6


def encode(value: Value) -> bytes:
    """Return a value as CBOR. Keys are small numbers, which sort as they are; ValueError for a negative number."""
    match value:
        case int() if value >= 0:
            return _head(_UNSIGNED, value)
        case bytes():
            return _head(_BYTES, len(value)) + value
        case str():
            text = value.encode()
            return _head(_TEXT, len(text)) + text
        case list():
            return _head(_ARRAY, len(value)) + b"".join(encode(each) for each in value)
        case Mapping():
            pairs = b"".join(encode(key) + encode(value[key]) for key in sorted(value))
            return _head(_MAP, len(value)) + pairs
        case Tagged():
            return _head(_TAG, value.tag) + encode(value.value)
    raise ValueError(f"{value!r:.40} has no place in a CoRIM")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major << 5 | code,)) + number.to_bytes(size, "big")
    raise ValueError(f"{number} does not fit in 64 bits")
