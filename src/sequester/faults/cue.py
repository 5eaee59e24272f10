"""Literal words that a match of a pattern must contain, so that few patterns need to be tried on a text."""

from __future__ import annotations

from functools import lru_cache

_LEAST = 3  # a shorter literal sorts nothing out


@lru_cache(maxsize=1024)
def cues(pattern: str) -> tuple[str, ...]:
    """Return literals in small letters, at least one of which is in every match; () where none can be named."""
    found, _ = _alternatives(pattern, 0)
    return tuple(dict.fromkeys(word.lower() for word in found))


def _alternatives(pattern: str, at: int) -> tuple[tuple[str, ...], int]:
    """Read alternatives up to a closing parenthesis or the end.

    Returns one of whose words every match contains (() if there is none), and where reading stopped.
    """
    found: list[str] = []
    hopeless = False
    while True:
        words, at = _sequence(pattern, at)
        found += words
        hopeless |= not words
        if at >= len(pattern) or pattern[at] == ")":
            return (() if hopeless else tuple(found)), at
        at += 1


def _sequence(pattern: str, at: int) -> tuple[tuple[str, ...], int]:
    """Read one alternative; its words are its longest literal, or those of its best group."""
    best: tuple[str, ...] = ()
    group: tuple[str, ...]
    run = ""
    while at < len(pattern) and pattern[at] not in "|)":
        char = pattern[at]
        literal, group, optional = "", (), False
        if char == "\\":
            at += 1
            literal = pattern[at] if not pattern[at].isalnum() else ""
        elif char == "[":
            at = pattern.index("]", at + 2 + pattern.startswith("[^", at))
        elif char == "(":
            group, at = _group(pattern, at)
        elif char not in ".^$":
            literal = char
        at += 1
        if at < len(pattern) and pattern[at] in "?*{+":
            optional = pattern[at] != "+" and not pattern.startswith(("{1", "{2", "{3"), at)
            at = pattern.index("}", at) + 1 if pattern[at] == "{" else at + 1
            if at < len(pattern) and pattern[at] == "?":
                at += 1
            run, best = "", _better(best, (run,))
            if optional:
                continue
        if literal:
            run += literal
        else:
            best = _better(_better(best, (run,)), group)
            run = ""
    return _better(best, (run,)), at


def _group(pattern: str, at: int) -> tuple[tuple[str, ...], int]:
    """Read a group from its opening parenthesis; returns its words and where its closing one is."""
    inside = at + 1
    looks = False
    if pattern.startswith("(?", at):
        looks = pattern.startswith(("(?!", "(?<!", "(?=", "(?<="), at)
        inside = pattern.index(">", at) + 1 if pattern.startswith("(?P<", at) else at + 3
        inside += pattern.startswith("(?<", at)
    words, end = _alternatives(pattern, inside)
    return (() if looks else words), end


def _better(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that sort out more: those whose shortest is longer, if it is long enough at all."""
    if not other or min(map(len, other)) < _LEAST:
        return one
    return other if not one or min(map(len, other)) > min(map(len, one)) else one
