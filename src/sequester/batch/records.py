"""What is to be appraised: files, folders of them, and JSON lines; one unreadable piece never stops the rest."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from sequester.errors import InputError, printable
from sequester.evidence.files import files_below, read_evidence
from sequester.evidence.recognise import LARGEST

LONGEST_LINE = LARGEST * 4 // 3 + (1 << 16)
"""Bytes of a line: the largest evidence in base64, and what stands around it."""
LARGEST_REPORT_DATA = 64
LONGEST_NAME = 1024
_REPORT = "outblob"
_KEYS = frozenset({"name", "evidence", "report_data"})


@dataclass(frozen=True, slots=True)
class Record:
    """One piece of evidence with its name, and the challenge that it must answer, where it brings its own.

    `fault` is the code and text of why it could not be read, `data` is empty then. `named` is false for what was found
    in a folder, where other things than evidence may lie too.
    """

    name: str
    data: bytes = b""
    report_data: bytes | None = None
    fault: tuple[str, str] | None = None
    named: bool = True


def from_paths(paths: Iterable[str]) -> Iterator[Record]:
    """Yield the files, and every file below the folders, in order of name; a name with a dot in front is left out.

    A folder that a kernel's report is in (Linux configfs-tsm) is one piece of evidence.
    """
    for path in paths:
        for name in files_below(path, _REPORT):
            yield _read(name, name == path)


def from_lines(stream: BinaryIO, name: str) -> Iterator[Record]:
    """Yield the evidence in each line, however many there are.

    A line is ``{"evidence": BASE64, "report_data": HEX, "name": TEXT}``, the last two if wanted, or evidence in a JSON
    wrapping of its own.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            while not line.endswith(b"\n") and (line := stream.readline(LONGEST_LINE)):
                pass
            yield Record(where, fault=("evidence.size", f"{where}: a line of more than {LONGEST_LINE} bytes"))
        elif line.strip():
            yield _of_line(line, where)


def _of_line(line: bytes, where: str) -> Record:
    import json

    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return Record(where, fault=("evidence.syntax", f"{where}: this line is no JSON"))
    if not isinstance(told, dict) or not isinstance(told.get("evidence"), str):
        return Record(where, line)
    try:
        return record_of(told, where)
    except InputError as error:
        return Record(where, fault=(error.code, str(error)))


def record_of(told: dict[str, Any], where: str) -> Record:
    """Return evidence in our own form of JSON. Raises InputError for keys or values that are not understood."""

    def fault(what: str, remedy: str) -> InputError:
        return InputError(what, code="evidence.syntax", where=where, remedy=remedy)

    for key in told:
        if key not in _KEYS:
            raise fault(f"there is no key '{key[:40]}'", f"known are {', '.join(sorted(_KEYS))}")
    if not all(isinstance(value, str) for value in told.values()):
        raise fault("a value is no text", "evidence is in base64, report_data in hex")
    try:
        data = b64decode(told["evidence"], validate=True)
    except ValueError:
        raise fault("the evidence is no base64", "encode the bytes of the evidence in base64") from None
    try:
        report_data = bytes.fromhex(told["report_data"]) if "report_data" in told else None
    except ValueError:
        raise fault("report_data is no hex", "spell the bytes of the challenge in hex") from None
    if report_data is not None and len(report_data) > LARGEST_REPORT_DATA:
        raise fault(f"report_data has {len(report_data)} bytes", f"at most {LARGEST_REPORT_DATA}")
    return Record(printable(told.get("name", "")[:LONGEST_NAME]) or where, data, report_data)


def _read(path: str, named: bool) -> Record:
    try:
        return Record(path, read_evidence(path), named=named)
    except InputError as error:
        return Record(path, fault=(error.code, str(error)), named=named)
