"""The literal words of a pattern."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.faults.cue import cues


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("the sky falls", ("the sky falls",)),
        (r"sky \(blue\)", ("sky (blue)",)),
        (r"first\d{1,3}second part", ("second part",)),
        (r"one thing|another", ("one thing", "another")),
        (r"(?:left|right) x", ("left", "right")),
        (r"(?P<a>left|right)", ("left", "right")),
        (r"longer words (?:ab|cd)", ("longer words ",)),
        (r"(?:maybe )?surely", ("surely",)),
        (r"colou?r is here", ("r is here",)),
        (r"nothing(?! more)", ("nothing",)),
        (r"(?<!no )good luck", ("good luck",)),
        (r"[abc]{1,4}xyz", ("xyz",)),
        (r"[^]x]{1,4}abc", ("abc",)),
        (r"ab", ()),
        (r"\d{1,9}", ()),
        (r"long enough|\d{1,9}", ()),
        (r"Upper Case", ("upper case",)),
        (r"x(?:yz){1,3}abcdef", ("abcdef",)),
        (r"(?:optional words){0,1}tail", ("tail",)),
    ],
)
def test_the_longest_literal_that_every_match_has(pattern: str, expected: tuple[str, ...]) -> None:
    assert cues(pattern) == expected


@given(
    st.lists(
        st.sampled_from(["abc", "(?:de|fgh)", "i?", "[jk]", "l{1,2}", "(?:mno)?", r"\.", "(?P<x>pqr)"]),
        max_size=6,
    )
)
def test_what_matches_has_one_of_the_words(parts: list[str]) -> None:
    pattern = "".join(part.replace("x>", f"x{n}>") for n, part in enumerate(parts))
    words = cues(pattern)
    for text in ("abcdeijl.pqr", "abcfghklmno.pqr", "abc", "fgh", "mnopqr"):
        if words and re.search(pattern, text):
            assert any(word in text for word in words)
