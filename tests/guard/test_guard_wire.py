"""Where messages end, and JSON as QEMU reads it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.guard.wire import Framer, MalformedError, encode, error_reply, parse, return_reply

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BETWEEN = ("", " ", "\n", "\r\n", "\n\n")
OBJECTS = st.dictionaries(TEXT, JSON, max_size=4)


def framed(data: bytes, step: int = 1 << 20, **limits: int) -> list[bytes | str]:
    framer = Framer(**limits)
    found: list[bytes | str] = []
    for at in range(0, len(data), step):
        found += (str(m) if isinstance(m, MalformedError) else m for m in framer.feed(data[at : at + step]))
    return found


@given(
    st.lists(OBJECTS, max_size=5),
    st.integers(1, 40),
    st.sampled_from(["", " ", "\n", "\r\n", "\n\n"]),
    st.booleans(),
)
def test_messages_come_out_whole_in_whatever_pieces_they_come_in(objects, step, between, ascii_only) -> None:
    data = between.join(json.dumps(each, ensure_ascii=ascii_only) for each in objects).encode()
    assert [parse(m) for m in framed(data, step)] == objects


@given(st.binary(max_size=200), st.integers(1, 7))
def test_bytes_of_any_kind_are_cut_the_same_way_in_any_pieces(data, step) -> None:
    assert framed(data, step) == framed(data)


@given(OBJECTS)
def test_what_is_read_is_what_json_says(value) -> None:
    assert parse(encode(value).encode()) == value


@given(st.text("ab'\"\\\\", max_size=8))
def test_any_text_is_read_in_either_quotes(text) -> None:
    single = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert parse(f"[{json.dumps(text)}, {single}]".encode()) == [text, text]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'execute': 'x'}", {"execute": "x"}),
        ("""{'a': 'say "hi"'}""", {"a": 'say "hi"'}),
        (r"""{'a': 'it\'s'}""", {"a": "it's"}),
        (r"""{"a": "it\'s"}""", {"a": "it's"}),
        (r"""{'a': "it's"}""", {"a": "it's"}),
        (r"""{'a': '\\"'}""", {"a": '\\"'}),
        (r"""{'a': '\"'}""", {"a": '"'}),
        (r"""["\u00e9", "é", "\ud83d\ude00"]""", ["é", "é", "😀"]),
    ],
)
def test_strings_in_either_quotes_are_read(text, value) -> None:
    assert parse(text.encode()) == value
    assert framed(text.encode(), 1) == [text.encode()]


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        rb'["\ud800"]',
        b'["\xff"]',
        b'["a\tb"]',
        b"{'a': 1,}",
        b"{a: 1}",
        b"{} {}",
        b"[" * 100_000,
        b"1" * 5000,
        b"",
    ],
)
def test_what_qemu_refuses_or_python_reads_otherwise_is_refused(text) -> None:
    with pytest.raises(MalformedError, match="JSON parse error"):
        parse(text)


def test_after_a_fault_the_next_line_counts() -> None:
    assert framed(b'{"a": "\n{"b": 1}\n') == [
        "JSON parse error, a string does not go over the end of a line",
        b'{"b": 1}',
    ]
    assert framed(b'garbage\n{"b": 1}') == [b"garbage", b'{"b": 1}']


def test_too_long_or_too_deep_is_said_once_and_not_kept() -> None:
    framer = Framer(most=1000, depth=10)
    said = [str(m) for _ in range(5000) for m in framer.feed(b'{"a": "' + b"x" * 100)]
    assert said == ["JSON parse error, a message longer than 1000 bytes"]
    assert framer.held == 0
    assert list(framer.feed(b'"\n{}')) == [b"{}"]
    assert framed(b"[" * 11 + b"\n{}", depth=10) == ["JSON parse error, nesting deeper than 10", b"{}"]
    assert framed(b'{"a": "' + b"x" * 1000 + b'"}\n{}', most=1000)[1:] == [b"{}"]


def test_replies_carry_the_id_as_it_came() -> None:
    assert json.loads(return_reply({"a": 1}, b'{"x": [1]}')) == {"return": {"a": 1}, "id": {"x": [1]}}
    assert json.loads(return_reply({})) == {"return": {}}
    error = {"class": "GenericError", "desc": 'a"b\né'}
    assert json.loads(error_reply('a"b\né', identity=b"null")) == {"id": None, "error": error}
    assert json.loads(error_reply('a"b\né')) == {"error": error}
    assert error_reply("a\nb").count(b"\n") == 1
