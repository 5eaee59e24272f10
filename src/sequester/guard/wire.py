"""QMP on the wire: where one message ends and the next begins, and JSON as QEMU reads it.

QEMU's dialect (qobject/json-lexer.c, json-parser.c) is RFC 8259 plus strings in single quotes and the escape ``\\'``.
It refuses what Python's reader would take: a member twice, NaN and Infinity, lone surrogates, bytes that are no UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 1 << 20
"""Of one message from a client. QEMU takes 64 MiB; no command is near that, and a client may send many."""
MOST_DEPTH = 256
"""Of nesting in one message. QEMU takes 1024."""

_OUTSIDE = re.compile(rb"[{}\[\]\"'\n]")
_IN_QUOTES = {0x22: re.compile(rb'["\\\n]'), 0x27: re.compile(rb"['\\\n]")}
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'", re.S)
_SPECIAL = re.compile(r'\\.|"', re.S)
_BACKSLASH, _NEWLINE = 0x5C, 0x0A
_BLANK = b" \t\r\n"


class MalformedError(ValueError):
    """A message that is no JSON, or more of it than a client may send. The text is for the client."""


class Framer:
    """Cuts a stream of bytes into JSON values, each byte looked at once, whatever pieces it comes in.

    An object or array ends with its last bracket, wherever the line ends; anything else (garbage) with the line.
    """

    def __init__(self, most: int = MOST_BYTES, depth: int = MOST_DEPTH) -> None:
        self._most = most
        self._most_depth = depth
        self._held = bytearray()
        self._at = 0  # up to here `_held` was looked at
        self._depth = 0
        self._quote = 0
        self._skipping = False

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[bytes | MalformedError]:
        """Take more of the stream; yield each complete message, or what is wrong with one that cannot become any.

        After a fault everything up to the end of its line is dropped.
        """
        held = self._held
        held += data
        start = 0
        while True:
            if self._skipping:
                end = held.find(b"\n", self._at)
                start = self._at = len(held) if end < 0 else end + 1
                self._skipping = end < 0
                if end < 0:
                    break
            end, fault = self._next(start)
            if fault:  # drop the rest of the line
                yield MalformedError(fault)
                self._reset()
                self._skipping = True
                start = self._at
            elif end < 0:
                break
            else:
                message = bytes(held[start:end]).strip(_BLANK)
                start = self._at = end
                if message:
                    yield message
        del held[:start]
        self._at -= start

    def _reset(self) -> None:
        self._depth = self._quote = 0

    def _next(self, start: int) -> tuple[int, str]:
        """Look on from `_at`; return where the message from `start` ends (-1: not yet), and a fault."""
        held, at = self._held, self._at
        end, fault = -1, ""
        while end < 0 and not fault:
            found = (_IN_QUOTES[self._quote] if self._quote else _OUTSIDE).search(held, at)
            if found is None:
                at = len(held)
                break
            byte, at = held[found.start()], found.end()
            if byte == _BACKSLASH:  # what follows is no quote
                if at == len(held):
                    at -= 1
                    break
                at += 1
            elif self._quote:
                if byte == _NEWLINE:
                    at -= 1
                    fault = "JSON parse error, a string does not go over the end of a line"
                self._quote = 0
            elif byte in b"\"'":
                self._quote = byte
            elif byte in b"{[":
                self._depth += 1
                if self._depth > self._most_depth:
                    fault = f"JSON parse error, nesting deeper than {self._most_depth}"
            elif byte in b"}]":
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    end = at
            elif self._depth == 0:  # the end of a line that holds no object
                end = at
        self._at = at
        if not fault and (at if end < 0 else end) - start > self._most:
            fault = f"JSON parse error, a message longer than {self._most} bytes"
        return end, fault


def parse(message: bytes) -> Any:
    """Read one message as QEMU does. Raises MalformedError."""
    try:
        text = message.decode()
        if "'" in text:
            text = _STRINGS.sub(_double_quoted, text)
        value = _decoder.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
        return value
    except UnicodeError:
        raise MalformedError("JSON parse error, not a valid Unicode character") from None
    except RecursionError:
        raise MalformedError("JSON parse error, nesting too deep") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise MalformedError(f"JSON parse error, {reason[:80]}") from None


def _double_quoted(found: re.Match[str]) -> str:
    """Spell a string of QEMU's dialect as JSON has it."""
    quote, inner = found[0][0], found[0][1:-1]
    spelled = {"\\'": "'", '"': '\\"' if quote == "'" else '"'}
    return '"' + _SPECIAL.sub(lambda special: spelled.get(special[0], special[0]), inner) + '"'


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"stray '{name[:1]}'")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number too large")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode
"""A value as JSON text, in ASCII, as QEMU writes it."""


def error_reply(description: str, error_class: str = "GenericError", identity: bytes | None = None) -> bytes:
    """Return an error as a line for a client; `identity` is the command's id as JSON."""
    body = f'"error": {{"class": {encode(error_class)}, "desc": {encode(description)}}}}}\r\n'.encode()
    return b'{"id": ' + identity + b", " + body if identity is not None else b"{" + body


def return_reply(value: Any, identity: bytes | None = None) -> bytes:
    """Return a command's value as a line for a client."""
    body = b'{"return": ' + encode(value).encode()
    return body + b', "id": ' + identity + b"}\r\n" if identity is not None else body + b"}\r\n"
