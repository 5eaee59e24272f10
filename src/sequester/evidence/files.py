"""Reads evidence and collateral from files and folders, within limits of size and number."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator

from sequester.errors import InputError
from sequester.evidence.recognise import LARGEST

LARGEST_DOCUMENT = 8 << 20
MOST_DOCUMENTS = 200_000
MOST_BYTES = 1 << 30
"""Of all collateral together."""
_AT_ONCE = 1 << 20
_BLOBS = ("outblob", "auxblob")


def read_evidence(path: str) -> bytes:
    """Return the bytes of a file or pipe, or of standard input for ``-``. Raises InputError where it cannot be.

    A folder of Linux' configfs-tsm, with a kernel's report in ``outblob``, is read as one: JSON with its blobs.
    """
    if path == "-":
        return _bounded(sys.stdin.fileno(), "<stdin>", LARGEST)
    if os.path.isdir(path) and os.path.exists(os.path.join(path, "outblob")):
        return _kernel_report(path)
    return read_file(path, LARGEST)


def _kernel_report(folder: str) -> bytes:
    import json
    from base64 import b64encode

    told = {}
    for name in _BLOBS:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            told[name] = b64encode(read_file(path, LARGEST)).decode()
    return json.dumps(told).encode()


def read_file(path: str, largest: int) -> bytes:
    """Return the bytes of a file or pipe of at most `largest` bytes. Raises InputError where it cannot be."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise InputError("this is neither a file nor a pipe", code="evidence.unreadable", where=path)
        return _bounded(descriptor, path, largest)
    finally:
        os.close(descriptor)


def read_collateral(paths: Iterable[str]) -> tuple[bytes, ...]:
    """Return the documents in files, and in folders with all that is below them, in the order of their names.

    What is in a folder and is not to be read is passed over where its name begins with a dot, and an error otherwise.
    Raises InputError for what cannot be read, is too large, or too many.
    """
    found: list[bytes] = []
    total = 0
    for path in paths:
        for name in files_below(path):
            found.append(read_file(name, LARGEST_DOCUMENT))
            total += len(found[-1])
            if total > MOST_BYTES or len(found) > MOST_DOCUMENTS:
                raise InputError(
                    "this is more collateral than can be held",
                    code="collateral.size",
                    where=path,
                    remedy=f"at most {MOST_DOCUMENTS} files and {MOST_BYTES >> 20} MiB",
                )
    return tuple(found)


def files_below(path: str, whole: str = "") -> Iterator[str]:
    """Yield a path that is no folder, or every regular file below it in order of name, without hidden ones.

    A folder with a file called `whole` is yielded itself.
    """
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, names in os.walk(path):
        if whole and whole in names:
            folders.clear()
            yield folder
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            inside = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(inside):
                yield inside


def _bounded(descriptor: int, name: str, largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while part := os.read(descriptor, _AT_ONCE):
            parts.append(part)
            size += len(part)
            if size > largest:
                raise InputError(
                    "this is too large for what it should be",
                    code="evidence.size",
                    where=name,
                    remedy=f"at most {largest >> 20} MiB are read",
                )
    except OSError as error:
        raise _unreadable(name, error) from None
    return b"".join(parts)


def _unreadable(path: str, error: OSError | ValueError) -> InputError:
    why = getattr(error, "strerror", "") or str(error)
    return InputError("this file cannot be read", code="evidence.unreadable", where=path, why=why)
