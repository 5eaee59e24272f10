"""QEMU's ``key=value,key=value`` syntax: commas doubled inside values, an implied first key, flags.

Source: QEMU util/keyval.c and util/qemu-option.c.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One ``key=value``: offsets of the whole piece and of the value within the option's text."""

    name: str
    value: str
    start: int
    value_start: int
    end: int
    form: str = "="
    """``=``, ``implied`` for a bare first value, ``flag`` for a bare word, ``+`` or ``-`` for a CPU feature."""


def pieces(text: str, implied: str) -> list[Piece]:
    """Split an option's text. A bare first word is the value of `implied`; a bare later one means ``on``."""
    found: list[Piece] = []
    at = 0
    if ",," not in text:
        for said in text.split(",") if text else ():
            found.append(_piece(text, at, at + len(said), implied if not found else ""))
            at += len(said) + 1
        return found
    size = len(text)
    while at <= size and size:
        end = at
        while True:
            end = text.find(",", end)
            if end < 0:
                end = size
                break
            if text.startswith(",,", end):
                end += 2
                continue
            break
        found.append(_piece(text, at, end, implied if not found else ""))
        at = end + 1
    return found


def escape(value: str) -> str:
    """Double the commas of a value."""
    return value.replace(",", ",,")


def _piece(text: str, start: int, end: int, implied: str) -> Piece:
    name, equals, value = text[start:end].partition("=")
    if equals and ",," not in name:
        return Piece(name, value.replace(",,", ","), start, start + len(name) + 1, end)
    whole = text[start:end].replace(",,", ",")
    if implied:
        return Piece(implied, whole, start, start, end, "implied")
    if whole[:1] in ("+", "-"):
        return Piece(whole[1:], "on" if whole[0] == "+" else "off", start, start, end, whole[0])
    return Piece(whole, "on", start, start, end, "flag")
