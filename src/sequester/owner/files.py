"""Files that the owner keeps: secrets are read without their contents ever showing, and written for the owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from sequester.errors import InputError

LARGEST = 1 << 20


def read(path: str, largest: int = LARGEST) -> bytes:
    """Return a file's bytes. Raises InputError where it cannot be read or is too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise InputError("this is a folder, not a file", code="owner.unreadable", where=path)
            data = file.read(largest + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or str(error)
        raise InputError("this file cannot be read", code="owner.unreadable", where=path, why=why) from None
    if len(data) > largest:
        raise InputError(f"this is larger than {largest} bytes", code="owner.unreadable", where=path)
    return data


def write_new(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files that were not there, each readable by the owner alone (0600): all of them, or none.

    Raises InputError where one is there already or cannot be written.
    """
    made: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in contents.items():
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            made.append(path)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise InputError(
                "this file is there already, and keys are never written over",
                code="owner.exists",
                where=str(error.filename),
                remedy="use another --name or folder, or remove it yourself",
            ) from None
        if isinstance(error, OSError):
            raise InputError(
                "this file cannot be written",
                code="output.unwritable",
                where=str(error.filename or folder),
                why=error.strerror or "",
            ) from None
        raise
    return made
