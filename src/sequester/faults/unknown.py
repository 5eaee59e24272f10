"""What can honestly be said of a text that no fault matches: decoded numbers, and faults with the same words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from sequester.faults.errno_names import ERRNO, errno_text
from sequester.faults.passage import Passage

_WORD = re.compile(r"[a-z][a-z0-9_+]{2,40}")
_RETURN = re.compile(r"\b(?:ret|rc|err|errno|error)[ =:]{1,2}(-\d{1,3})\b", re.IGNORECASE)
_GROUP = re.compile(r"\(\?(?:P<\w+>|:)|\\[a-zA-Z]|\{[0-9,]{1,9}\}")
_COMMON = frozenset(
    {
        "qemu",
        "system",
        "x86",
        "x86_64",
        "the",
        "and",
        "for",
        "not",
        "with",
        "from",
        "this",
        "that",
        "was",
        "has",
        "are",
    }
    | {
        "error",
        "warning",
        "failed",
        "fail",
        "cannot",
        "can",
        "could",
        "invalid",
        "unable",
        "host",
        "guest",
        "kernel",
    }
    | {"info", "debug", "libvirt", "internal"}
)
_READ = 200  # passages of a text whose words count
_SHOWN = 3
_LEAST = 6.0  # a shared rare word counts about 5


@dataclass(frozen=True, slots=True)
class Nearest:
    """A known fault that shares words with an unknown text."""

    code: str
    title: str
    shared: tuple[str, ...]


def nearest(pieces: Sequence[Passage], known: Sequence[tuple[str, str, str]]) -> tuple[Nearest, ...]:
    """Return the faults, given as (code, title, pattern), that share the rarest words with a text; may be none."""
    text = _words(piece.text for piece in (*pieces[:_READ], *pieces[-_READ:]))
    words = [_words((title, _GROUP.sub(" ", pattern))) for _, title, pattern in known]
    frequency = Counter(word for each in words for word in each)
    scored = []
    for (code, title, _), each in zip(known, words, strict=True):
        shared = each & text
        score = sum(log(len(known) / frequency[word]) for word in shared)
        if score >= _LEAST and len(shared) > 1:
            scored.append((-score, Nearest(code, title, tuple(sorted(shared)))))
    return tuple(found for _, found in sorted(scored, key=lambda item: (item[0], item[1].code))[:_SHOWN])


def hints(pieces: Sequence[Passage]) -> tuple[tuple[str, str], ...]:
    """Return the error numbers that a text gives, as ("ret", "-22 EINVAL: …")."""
    found: dict[str, str] = {}
    for piece in pieces[-_READ:]:
        for match in _RETURN.finditer(piece.text):
            number = int(match[1])
            if -number in ERRNO:
                found.setdefault(match[1], errno_text(number))
    return tuple(("error number", text) for text in found.values())[:_SHOWN]


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.lower())} - _COMMON
