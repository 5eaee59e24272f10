"""Command lines as text: every way of writing them, and splices that keep the quoting."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.formats.words import from_argv, quote, read_words, spliced

words = st.lists(
    st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1), min_size=1
)


def values(text):
    return [word.value for word in read_words(text, "x").words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qemu -m 512", ["qemu", "-m", "512"]),
        ("qemu \\\n  -m 512 \\\n  -S\n", ["qemu", "-m", "512", "-S"]),
        ('qemu -append \'a b\' -name "x \\" y"', ["qemu", "-append", "a b", "-name", 'x " y']),
        ("qemu -name a\\ b", ["qemu", "-name", "a b"]),
        ("qemu -m 512 # a comment\n", ["qemu", "-m", "512"]),
        ("#!/bin/sh\nexec qemu -m 1 \\\n -S", ["exec", "qemu", "-m", "1", "-S"]),
        ("qemu -m 512 > log 2>&1", ["qemu", "-m", "512"]),
        ("qemu -m 512 & echo", ["qemu", "-m", "512"]),
        ("qemu -name ''", ["qemu", "-name", ""]),
        ("qemu -x a'b c'd", ["qemu", "-x", "ab cd"]),
        ("qemu \\\r\n -S\r\n", ["qemu", "-S"]),
    ],
)
def test_a_shell_line_is_split_as_a_shell_splits_it(text, expected):
    assert values(text) == expected


def test_one_argument_a_line_keeps_blanks_inside_an_argument():
    assert values("qemu\n-append\nroot=/dev/vda ro\n-S\n") == ["qemu", "-append", "root=/dev/vda ro", "-S"]


def test_options_with_their_values_side_by_side_are_read_as_a_shell_reads_them():
    assert values("qemu\n-m 512\n-name 'a b'\n") == ["qemu", "-m", "512", "-name", "a b"]


def test_nul_separated_arguments_are_read_as_proc_gives_them():
    assert values("qemu\0-name\0a b\0\0-S\0") == ["qemu", "-name", "a b", "", "-S"]


def test_an_open_quote_is_an_error_that_names_its_line():
    with pytest.raises(InputError, match=r"x:2: this argument's quote is never closed"):
        read_words("qemu \\\n -name 'abc", "x")


@given(words)
def test_what_shlex_quotes_is_read_back(given_words):
    line = " ".join(shlex.quote(word) for word in given_words) + " \\\n"
    assert values(line) == given_words


@given(words, st.data())
def test_a_splice_changes_one_word_and_no_other(given_words, data):
    styles = (shlex.quote, quote, lambda w: '"' + "".join("\\" + c if c in '"\\$`' else c for c in w) + '"')
    source = " ".join(data.draw(st.sampled_from(styles))(word) for word in given_words) + " \\\n"
    line = read_words(source, "x")
    at = data.draw(st.integers(0, len(given_words) - 1))
    word = line.words[at]
    start = data.draw(st.integers(0, len(word.value)))
    end = data.draw(st.integers(start, len(word.value)))
    new = data.draw(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=5))
    wanted = word.value[:start] + new + word.value[end:]
    low, high, raw = spliced(line, word, start, end, new)
    expected = [*given_words[:at], wanted, *given_words[at + 1 :]]
    if wanted:
        assert values(source[:low] + raw + source[high:]) == expected


def test_a_splice_into_an_argument_vector_needs_no_quoting():
    line = from_argv(["qemu", "-name", "a b"])
    assert spliced(line, line.words[2], 3, 3, ",c d")[2] == ",c d"
