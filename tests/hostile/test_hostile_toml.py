"""Bad TOML: one line with its place, no traceback, and nothing that grows without bound."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.formats.toml_read import MAX_BYTES, read_toml
from sequester.formats.toml_scan import DEEPEST, MOST, scan


def error(data: bytes) -> str:
    with pytest.raises(InputError) as raised:
        read_toml(data, "bad.toml")
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 300
    return said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = " + b"[" * 100_000, "bad.toml:1: values more than 24 deep in one another"),
        (b"a = " + b"{ b = " * 100_000, "bad.toml:1: values more than 24 deep in one another"),
        (b"\n\n" + b"a." * 100_000 + b"b = 1", "bad.toml:3: a key of more than 24 parts"),
        (b"[" + b"a." * 100_000 + b"b]", "bad.toml:1: a key of more than 24 parts"),
        (b"[[a]]\n" * (MOST + 1), f"bad.toml:{MOST + 1}: more than {MOST} keys and values"),
        (b"a = [" + b"1," * (MOST + 1) + b"]", f"bad.toml:1: more than {MOST} keys and values"),
        (b"#" * (MAX_BYTES + 1), f"bad.toml: {MAX_BYTES + 1} bytes are too many for a guest"),
        (b"x" * (100 << 20), "bad.toml: 104857600 bytes are too many for a guest"),
        (b"name = '\xff'", "bad.toml:1: this is not UTF-8 text"),
        ("name = 'x'".encode("utf-16"), "bad.toml:1: this is not UTF-8 text"),
        ("name = 'x'".encode("utf-16-le"), "bad.toml:1: this is not TOML"),
        ("\ufeffname = 'x'".encode(), "bad.toml:1: a byte order mark is no TOML"),
        (b"name = 'a\x00b'", "bad.toml:1: this is not TOML"),
        (b'name = "a\\u0000b"', "bad.toml:1: name: text is wanted"),
        (b"cpus = " + b"9" * 10_000, "bad.toml: this is not TOML"),
        (b'a = """' + b'""x' * 100_000, "bad.toml:1: this is not TOML"),
        (b"\r", "bad.toml:1: this is not TOML"),
        (b'"' + b"k" * 100_000 + b'" = 1', "bad.toml:1: there is no key 'kkk"),
        (
            b"[[device]]\ndriver = '" + b"d" * 100_000 + b"'\n''= 1",
            "bad.toml:3: no property of QEMU's can have this",
        ),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(data: bytes, message: str) -> None:
    assert error(data).startswith(message)


def test_what_tomllib_would_take_too_long_for_never_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(text: str) -> None:
        raise AssertionError("tomllib was asked")

    monkeypatch.setattr(tomllib, "loads", unreachable)
    error(b"a." * 500_000 + b"b = 1")
    error(b"a = " + b"[" * 500_000)


def test_ten_thousand_devices_are_read() -> None:
    text = "".join(f'[[device]]\ndriver = "virtio-net-pci"\nid = "n{n}"\nmq = true\n' for n in range(10_000))
    assert len(read_toml(text.encode(), "big.toml").guest.devices) == 10_000


def test_ten_thousand_disks_share_one_controller() -> None:
    text = '[[disk]]\nfile = "a.raw"\nbus = "scsi"\n' * 10_000
    assert len(read_toml(text.encode(), "big.toml").guest.devices) == 10_001


words = st.sampled_from(
    [
        *"[]{}=,.#\n\r\t \"'",
        '"""',
        "'''",
        "\\",
        "a",
        "disk",
        "[[disk]]",
        "file",
        "limit",
        "1",
        "true",
        "-",
        "\x00",
        "é",
    ]
)


@given(st.lists(words, max_size=40).map("".join))
def test_any_soup_of_syntax_is_a_guest_or_an_error_with_its_place(text: str) -> None:
    try:
        read_toml(text.encode(), "bad.toml")
    except InputError as raised:
        said = str(raised)
        assert said.startswith("bad.toml")
        assert "\n" not in said


@given(st.binary(max_size=200))
def test_any_bytes_are_a_guest_or_an_error_with_its_place(data: bytes) -> None:
    try:
        read_toml(data, "bad.toml")
    except InputError as raised:
        said = str(raised)
        assert said.startswith("bad.toml")


keys = st.text(max_size=5)
values = st.recursive(
    st.one_of(
        st.text(max_size=8), st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.floats(allow_nan=False)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_the_scan_finds_every_value_where_tomllib_reads_it(document: dict[str, object]) -> None:
    import tomlkit

    text = tomlkit.dumps(document)
    try:
        read = tomllib.loads(text)
    except ValueError:
        return
    layout = scan(text, "x")

    def look(path: tuple[str | int, ...], value: object) -> None:
        if path in layout.values:
            start, end = layout.values[path]
            assert tomllib.loads(f"x = {text[start:end]}")["x"] == value
        else:
            assert path == () or path in layout.lines
            assert isinstance(value, (dict, list))
        inner = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, each in inner:
            look((*path, key), each)

    look((), read)


def test_nesting_that_guests_have_is_allowed() -> None:
    depth = DEEPEST - 1
    text = "[[device]]\ndriver = 'x'\ny = " + "[" * depth + "]" * depth
    assert read_toml(text.encode(), "x.toml").guest.devices[0].type == "x"
