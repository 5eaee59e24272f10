"""What a policy's values may be: each reads one value of a policy file, or says what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Read = Callable[[Any], Any]
"""A value as TOML has it → as the policy holds it. Raises ValueError saying what it should be."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a policy: how its value is read, and what it asks for."""

    read: Read
    what: str


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def number(largest: int) -> Read:
    """Return a reader of a whole number from 0 to `largest`."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest:
            raise ValueError(f"a whole number from 0 to {largest}")
        return value

    return read


def octets(smallest: int, largest: int | None = None) -> Read:
    """Return a reader of bytes in hex, of a number of bytes or a range of them."""
    most = smallest if largest is None else largest
    size = f"{smallest}" if most == smallest else f"{smallest} to {most}"

    def read(value: Any) -> bytes:
        try:
            found = bytes.fromhex(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None or not smallest <= len(found) <= most:
            raise ValueError(f"{size} bytes in hex")
        return found

    return read


def some(of: Read) -> Read:
    """Return a reader of one value, or of a list with one at least, as a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("one value at least: an empty list accepts nothing")
        return tuple(of(each) for each in values)

    return read


def word(*words: str) -> Read:
    """Return a reader of one of some words, or of any text where none are given."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value or (words and value not in words):
            raise ValueError(f"one of {', '.join(words)}" if words else "text")
        return value

    return read


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that a policy names, which has a secret of `size` bytes and nothing else."""

    path: str
    size: int


def secret_file(size: int) -> Read:
    """Return a reader of a file's name; `secrets.with_secrets` reads the file of `size` bytes itself."""

    def read(value: Any) -> SecretFile:
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError(f"the name of a file with {size} secret bytes")
        return SecretFile(value, size)

    return read


def table(of: Mapping[str, Read] | Callable[[], Mapping[str, Read]], what: str) -> Read:
    """Return a reader of a table with some of these keys."""

    def read(value: Any) -> dict[str, Any]:
        known = of() if callable(of) else of
        if not isinstance(value, dict):
            raise ValueError(f"a table of {what}: {', '.join(known)}")
        found: dict[str, Any] = {}
        for name, inner in value.items():
            if name not in known:
                raise ValueError(f"{what}, and '{name[:40]}' is none: {', '.join(known)}")
            try:
                found[name] = known[name](inner)
            except ValueError as error:
                raise ValueError(f"{error} for {name}") from None
        return found

    return read
