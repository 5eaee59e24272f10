"""Reads the files that a launch names: firmware as a whole, kernels and initrds in passing."""

from __future__ import annotations

import os
import stat
from hashlib import sha256

from sequester.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from hashlib import _Hash
    from typing import BinaryIO

LARGEST_IMAGE = 64 << 20
"""QEMU takes 8 MiB of flash unless told otherwise (``max-fw-size``); an IGVM file may be larger."""
_AT_ONCE = 1 << 18
_NULL = os.makedev(1, 3)


def read_image(path: str, largest: int = LARGEST_IMAGE) -> bytes:
    """Return the contents of a firmware image, or of another file of at most `largest` bytes.

    Raises InputError where it cannot be read, is no regular file, is too large or changes.
    """
    descriptor = _open(path, os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise InputError("this is no regular file", code="measure.unreadable", where=path)
        if about.st_size > largest:
            raise InputError(
                f"this file of {about.st_size} bytes is too large for what it should be",
                code="measure.size",
                where=path,
                remedy=f"at most {largest >> 20} MiB are read",
            )
        contents = os.read(descriptor, about.st_size + 1)
        if len(contents) != about.st_size:
            raise InputError("this file changes while it is read", code="measure.unreadable", where=path)
        return contents
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def file_digest(path: str, algorithm: Callable[[], _Hash] = sha256) -> bytes:
    """Return the digest of a file or pipe, reading a quarter MiB at a time; of ``/dev/null`` that of nothing.

    Raises InputError where it cannot be read, or is a device or folder.
    """
    descriptor = _open(path, 0 if _is_pipe(path) else os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        null = stat.S_ISCHR(about.st_mode) and about.st_rdev == _NULL
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISFIFO(about.st_mode) or null):
            raise InputError("this is neither a file nor a pipe", code="measure.unreadable", where=path)
        digest = algorithm()
        buffer = bytearray(_AT_ONCE)
        view = memoryview(buffer)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            while count := file.readinto(buffer):
                digest.update(view[:count])
        return digest.digest()
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def in_parts(path: str, size: int) -> Iterator[bytes]:
    """Yield a regular file in parts of `size` bytes, the last of which may be shorter.

    Raises InputError where it cannot be read, or is no regular file.
    """
    descriptor = _open(path, os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("this is no regular file", code="measure.unreadable", where=path)
        with open(descriptor, "rb", buffering=max(_AT_ONCE, size), closefd=False) as file:
            while part := file.read(size):
                yield part
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def opened(path: str) -> BinaryIO:
    """Open a regular file that is read in places. Raises InputError where it cannot be read, or is none."""
    descriptor = _open(path, os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("this is no regular file", code="measure.unreadable", where=path)
    return open(descriptor, "rb")


def _is_pipe(path: str) -> bool:
    """Tell whether this is a pipe, which has to be waited for: opened at once it may look empty."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | flags)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError | ValueError) -> InputError:
    return InputError(
        "this file cannot be read",
        code="measure.unreadable",
        where=path,
        why=getattr(error, "strerror", None) or str(error),
    )
