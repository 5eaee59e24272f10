"""Evidence is read from files, folders and lines; what cannot be read is one record with a fault, never the end."""

from __future__ import annotations

import io
import json
import os
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.batch.records import LONGEST_LINE, Record, from_lines, from_paths


def lines(*told: object) -> list[Record]:
    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in told)
    return list(from_lines(io.BytesIO(text), "-"))


def test_a_folder_is_read_in_order_of_name_with_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.bin", "b/1.bin", "a.bin", ".hidden", "z.bin"):
        (tmp_path / name).write_bytes(name.encode())
    found = list(from_paths([str(tmp_path), str(tmp_path / "a.bin")]))
    names = [os.path.relpath(record.name, tmp_path) for record in found]
    assert names == ["a.bin", "z.bin", "b/1.bin", "b/2.bin", "a.bin"]
    assert [record.data.decode() for record in found] == names


def test_what_cannot_be_read_does_not_stop_the_rest(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"evidence")
    os.mkfifo(tmp_path / "pipe")
    found = list(from_paths([str(tmp_path / "none"), "/dev/null", str(good), "a\0b"]))
    assert [record.fault and record.fault[0] for record in found] == [
        "evidence.unreadable",
        "evidence.unreadable",
        None,
        "evidence.unreadable",
    ]
    assert "No such file" in (found[0].fault or ("", ""))[1]


def test_a_line_brings_evidence_its_challenge_and_its_name() -> None:
    told = {"evidence": b64encode(b"bytes").decode(), "report_data": "00ff", "name": "host-7"}
    assert lines(told) == [Record("host-7", b"bytes", b"\x00\xff")]


def test_a_line_in_another_wrapping_is_evidence_as_it_is() -> None:
    assert lines({"quote": "AAAA"}) == [Record("-:1", b'{"quote": "AAAA"}\n')]


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b'{"evidence": "AAAA", "nonce": "00"}\n',
        b'{"evidence": "*"}\n',
        b'{"evidence": "AAAA", "report_data": "xx"}\n',
        b'{"evidence": "AAAA", "report_data": "' + b"00" * 65 + b'"}\n',
        b'{"evidence": "AAAA", "report_data": 7}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_a_bad_line_is_a_fault_that_names_the_line(line: bytes) -> None:
    good = {"evidence": "AAAA"}
    first, bad, last = lines(good, line, good)
    assert first.data == last.data == b"\0\0\0"
    assert bad.fault is not None
    assert bad.name == "-:2"
    assert "-:2" in bad.fault[1]
    assert last.name == "-:3"


def test_an_endless_line_is_skipped_without_keeping_it() -> None:
    text = b"x" * (LONGEST_LINE + 5_000_000) + b'\n{"evidence": "AAAA"}\n'
    found = list(from_lines(io.BytesIO(text), "-"))
    assert [record.fault and record.fault[0] for record in found] == ["evidence.size", None]


def test_empty_lines_are_no_records() -> None:
    assert lines(b"\n", b"  \n", {"evidence": "AAAA"}, b"\n") == [Record("-:3", b"\0\0\0")]


def test_a_name_cannot_steer_a_terminal() -> None:
    told = {"evidence": "AAAA", "name": "\x1b[2J\ud800"}
    (record,) = lines(told)
    assert record.name.isprintable()
    record.name.encode()


@given(st.binary(max_size=400))
def test_any_bytes_are_records_or_faults(data: bytes) -> None:
    for record in from_lines(io.BytesIO(data), "-"):
        assert record.data or record.fault
