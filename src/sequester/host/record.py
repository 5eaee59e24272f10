"""Records of hosts as they come in: bounded, well-formed JSON of the known schema, or one clear error."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from typing import Any

from sequester.errors import InputError
from sequester.host.printable import shown

SCHEMA = "sequester-host/1"
LIMIT = 2 << 20
"""Bytes in a record at most; a real one has 20 to 200 KiB. This much is judged in less than a second."""
CODE = "host.record"
REMEDY = "write a new one with 'sequester probe --record'"


def load(path: str) -> dict[str, Any]:
    """Read a record from a regular file; InputError says what is wrong with it."""
    try:
        # A fifo or a device could keep us waiting for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InputError("not a file", code=CODE, where=path, remedy="name a record's file")
            data = stream.read(LIMIT + 1) or b""  # None: /proc/kmsg, for one, has nothing to say just now
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError("the host's record cannot be read", code=CODE, where=path, why=why) from error
    return parse(data, path)


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Return the record in JSON text; InputError when it is too large, not JSON, or of another schema."""
    if len(data) > LIMIT:
        raise fault(where, f"more than {LIMIT >> 20} MiB")
    try:
        record = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise fault(where, f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise fault(f"{where}:{error.lineno}", f"not JSON: {error.msg}") from error
    except RecursionError as error:
        raise fault(where, "nested too deeply") from error
    except ValueError as error:
        raise fault(where, f"not JSON: {shown(str(error), 80)}") from error
    return checked(record, where)


def checked(record: object, where: str) -> dict[str, Any]:
    """Return a record as it came from a collector, if it is one of the known schema."""
    if not isinstance(record, dict):
        raise fault(where, "not the record of a host")
    schema = record.get("schema")
    if schema == SCHEMA:
        return record
    if isinstance(schema, str) and schema.startswith("sequester-host/"):
        raise fault(
            where, f"schema {shown(schema, 40)}, this is for {SCHEMA}", "update sequester, or collect again"
        )
    raise fault(where, "not the record of a host")


def fault(where: str, why: str, remedy: str = REMEDY) -> InputError:
    """Return the error for a record that cannot be used."""
    return InputError("the host's record cannot be used", code=CODE, where=where, why=why, remedy=remedy)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Part:
    """A piece of a record with its place in it, for errors: ``kvm.caps``."""

    __slots__ = ("place", "value", "where")

    def __init__(self, value: object, where: str, place: str) -> None:
        self.value = value
        self.where = where
        self.place = place

    def wrong(self, wanted: str) -> InputError:
        """Return the error that something else is wanted here."""
        return fault(self.where, f"{self.place}: {wanted} is wanted, not {type(self.value).__name__}")

    def fields(self) -> dict[str, Part]:
        """Return the parts of an object; of nothing, none."""
        if self.value is None:
            return {}
        if not isinstance(self.value, Mapping):
            raise self.wrong("an object")
        prefix = f"{self.place}." if self.place else ""
        return {
            str(key): Part(value, self.where, f"{prefix}{shown(str(key), 60)}")
            for key, value in self.value.items()
        }

    def field(self, name: str) -> Part:
        """Return one part of an object; a part that is not there has the value None."""
        return self.fields().get(name) or Part(
            None, self.where, f"{self.place}.{name}" if self.place else name
        )

    def items(self) -> list[Part]:
        """Return the parts of a list; of nothing, none."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Part(value, self.where, f"{self.place}[{number}]") for number, value in enumerate(self.value)]

    def text(self) -> str:
        """Return a text; of nothing, ''."""
        if self.value is None:
            return ""
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def number(self) -> int:
        """Return an unsigned number of at most 64 bits."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < 1 << 64:
            raise self.wrong("an unsigned number")
        return self.value

    def truth(self) -> bool:
        """Return a truth; of nothing, false."""
        if self.value is not None and not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return bool(self.value)

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(item.text() for item in self.items())
