"""Spells keys and values in TOML 1.0."""

from __future__ import annotations

import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def key_text(key: str) -> str:
    """Spell a key, quoted only where it has to be."""
    return key if _BARE.match(key) else _quoted(key)


def value_text(value: Any) -> str:
    """Spell a value on one line. Raises ValueError for what TOML has no value for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(value_text(inner) for inner in value)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key_text(str(key))} = {value_text(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    raise ValueError(f"TOML has no {type(value).__name__}")


def sayable(value: Any) -> bool:
    """Tell whether TOML has a value for this: it has no null, and only finite numbers are worth writing."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and key and sayable(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(sayable(inner) for inner in value)
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 64
    return isinstance(value, float) and value - value == 0


def _quoted(text: str) -> str:
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
