"""Typed properties of the platforms' objects: read from any dialect, judged, written to any dialect."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sequester.guest.part import Value, truth


@dataclass(frozen=True, slots=True, eq=False)
class PropertyFault:
    """Something wrong with one property: its name, one line of what, and whether it is fatal."""

    name: str
    text: str
    fatal: bool


@dataclass(frozen=True, slots=True, eq=False)
class Bit:
    """A named bit of a policy: its number, its name in the manual, and what it means when set."""

    number: int
    name: str
    meaning: str


@dataclass(frozen=True, slots=True, eq=False)
class Unsigned:
    """A number of `bits` bits: an integer, or text in decimal, hex (0x) or octal as QEMU reads it.

    With `names`, also a list of bit names, or one text of them joined by ``+``.
    """

    bits: int
    names: tuple[Bit, ...] = ()

    def read(self, value: Value) -> int:
        """Return the number; ValueError says what is wrong with it."""
        if isinstance(value, bool):
            raise ValueError(f"a number is wanted, not {str(value).lower()}")
        if isinstance(value, int):
            number = value
        elif isinstance(value, (list, tuple)):
            number = self._named(value)
        elif isinstance(value, str):
            number = self._parse(value.strip())
        else:
            raise ValueError(f"a number is wanted, not {type(value).__name__}")
        if not 0 <= number < 1 << self.bits:
            raise ValueError(f"{number:#x} does not fit in {self.bits} bits")
        return number

    def write(self, value: int) -> int:
        """Return the number as JSON holds it."""
        return value

    def _parse(self, text: str) -> int:
        if len(text) > 40:
            raise ValueError("that is no number")
        if self.names and text and not text[0].isdigit():
            return self._named(text.split("+"))
        try:
            return int(text, 0) if not (text.startswith("0") and text.isdigit()) else int(text, 8)
        except ValueError:
            raise ValueError(f"'{text}' is not a number") from None

    def _named(self, words: Any) -> int:
        known = {bit.name: bit.number for bit in self.names}
        number = 0
        for word in words:
            if not isinstance(word, str) or word.strip() not in known:
                raise ValueError(f"'{word}' is not a policy bit (known: {', '.join(known)})")
            number |= 1 << known[word.strip()]
        return number


@dataclass(frozen=True, slots=True, eq=False)
class Boolean:
    """On or off, in any of QEMU's or libvirt's spellings. `inverted` for libvirt's ``vcek``."""

    def read(self, value: Value) -> bool:
        """Return the truth; ValueError when it is neither."""
        found = truth(value)
        if found is None:
            raise ValueError(f"'{value}' is neither on nor off")
        return found

    def write(self, value: bool) -> bool:
        """Return the truth as JSON holds it."""
        return value


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """One of a few words; booleans count as ``on`` and ``off``."""

    words: tuple[str, ...]

    def read(self, value: Value) -> str:
        """Return the word; ValueError when it is none of them."""
        word = ("on" if value else "off") if isinstance(value, bool) else value
        if word not in self.words:
            raise ValueError(f"'{value}' is none of {', '.join(self.words)}")
        return str(word)

    def write(self, value: str) -> str:
        """Return the word."""
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Bytes:
    """Base64 of exactly `length` bytes."""

    length: int

    def read(self, value: Value) -> bytes:
        """Return the bytes, whatever their number (see `Property.judge`); ValueError if not base64."""
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ValueError("base64 text is wanted")
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("that is not base64") from None

    def write(self, value: bytes) -> str:
        """Return base64."""
        return base64.b64encode(value).decode()


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Text: a path, mostly."""

    def read(self, value: Value) -> str:
        """Return the text; ValueError when it is something else or empty."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("text is wanted")
        return value

    def write(self, value: str) -> str:
        """Return the text."""
        return value


@dataclass(frozen=True, slots=True, eq=False)
class SocketAddress:
    """QEMU's SocketAddress, a structure; a bare path stands for a UNIX socket."""

    def read(self, value: Value) -> Mapping[str, Value]:
        """Return the structure; ValueError when it cannot be one."""
        if isinstance(value, str) and value:
            return {"type": "unix", "path": value}
        if isinstance(value, Mapping) and value.get("type") in ("unix", "inet", "vsock", "fd"):
            return dict(value)
        raise ValueError("a socket address is wanted: a path, or {type = 'unix', path = ...}")

    def write(self, value: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return the structure."""
        return value


Kind = Unsigned | Boolean | OneOf | Bytes | Text | SocketAddress


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """One property of a platform's QEMU object.

    `name` as QEMU spells it; `libvirt` as libvirt does (``@attribute`` or element name), '' if it cannot.
    `default` is QEMU's; `always` is written even when nobody gave it; `from_host` names the attribute of
    the host's facts that supplies it. `since` is the QEMU release. `must` and `never` are masks of bits that
    have to be set or clear; `reserved` of bits that must be zero. `debug` is (mask, value): the policy lets
    the host debug the guest when value & mask == that. `agent` is a mask of bits that let a migration agent in.
    `leaves` are (mask, value, what the host may do with the guest when value & mask == that).
    `inverted` turns libvirt's sense round. `file` says that the value is a path; libvirt has what is in that file
    instead, and gives QEMU a file of its own, named `libvirt_file`.
    """

    name: str
    kind: Kind
    about: str
    default: Any = None
    libvirt: str = ""
    always: Any = None
    from_host: str = ""
    since: tuple[int, ...] = ()
    must: int = 0
    never: int = 0
    reserved: int = 0
    debug: tuple[int, int] | None = None
    agent: int = 0
    leaves: tuple[tuple[int, int, str], ...] = ()
    inverted: bool = False
    file: bool = False
    libvirt_file: str = ""
    check: Callable[[Any], str | None] | None = None

    def read(self, value: Value, dialect: str) -> Any:
        """Return the typed value; ValueError says what is wrong."""
        read = self.kind.read(value)
        return not read if self.inverted and dialect == "libvirt" else read

    def to_qemu(self, value: Any) -> Value:
        """Return the value as QEMU's JSON takes it."""
        return self.kind.write(value)

    def to_libvirt(self, value: Any) -> str:
        """Return the value as libvirt's XML writes it."""
        if isinstance(value, bool):
            return "yes" if value != self.inverted else "no"
        if isinstance(self.kind, Unsigned) and self.kind.names:
            width = 8 if self.kind.bits > 32 else 4
            return f"0x{value:0{width}x}"
        if isinstance(self.kind, SocketAddress):
            return str(value.get("path", ""))
        return str(self.kind.write(value))

    def said_by_libvirt(self, value: Any) -> bool:
        """Tell whether libvirt's XML has a place for this value: of socket addresses it knows UNIX paths alone."""
        return bool(self.libvirt) and not (isinstance(self.kind, SocketAddress) and value["type"] != "unix")

    def judge(self, value: Any) -> list[tuple[str, bool]]:
        """Return what is wrong with a well-formed value: (one line, whether it is fatal)."""
        wrong: list[tuple[str, bool]] = []
        if isinstance(self.kind, Bytes) and len(value) != self.kind.length:
            wrong.append((f"{self.name} is {len(value)} bytes, not {self.kind.length}", True))
        if isinstance(self.kind, Unsigned):
            for mask, text in (
                (self.must & ~value, "must be set and is not"),
                (self.never & value, "cannot be set through QEMU"),
                (self.reserved & value, "is reserved and must be zero"),
            ):
                wrong.extend((f"{self.name} {value:#x}: bit {self.bit(n)} {text}", True) for n in bits(mask))
        if self.check is not None and (fault := self.check(value)):
            wrong.append((f"{self.name}: {fault}", True))
        return wrong

    def bit(self, number: int) -> str:
        """Name a bit for a person: its number, and its name where the manual gives one."""
        names = self.kind.names if isinstance(self.kind, Unsigned) else ()
        return next((f"{number} ({bit.name})" for bit in names if bit.number == number), str(number))


def bits(mask: int) -> tuple[int, ...]:
    """Return the numbers of the bits set in a mask, lowest first."""
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)
