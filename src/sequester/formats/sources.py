"""Finds out what a guest is written in, and reads it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence

from sequester.errors import InputError
from sequester.formats.document import Document, Written
from sequester.guest.guest import Guest

MAX_BYTES = 32 << 20
"""No guest is larger than this in any format."""

FORMATS = ("argv", "xml", "toml")
_BY_SUFFIX = {".args": "argv", ".argv": "argv", ".cmd": "argv", ".sh": "argv", ".xml": "xml", ".toml": "toml"}
_VIRSH_SECONDS = 20


def open_guest(source: str | os.PathLike[str]) -> Document:
    """Read a guest: a file by its suffix or else its look, ``-`` for standard input, ``libvirt:NAME``.

    Raises InputError that names the source and, where there is one, the line.
    """
    name = os.fspath(source)
    if name == "-":
        return read(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>")
    if name.startswith("libvirt:"):
        return read(_from_libvirt(name.removeprefix("libvirt:")), name, "xml")
    suffix = os.path.splitext(name)[1].lower()
    return read(_contents(name), name, _BY_SUFFIX.get(suffix, ""))


def from_argv(argv: Sequence[str]) -> Document:
    """Read a guest from an argument vector."""
    from sequester.formats.argv_read import read_argv

    return read_argv(argv)


def read(data: bytes, name: str, form: str = "") -> Document:
    """Read a guest from bytes in one of `FORMATS`, found out by looking when not given."""
    if len(data) > MAX_BYTES:
        raise InputError(
            f"this is larger than {MAX_BYTES >> 20} MiB",
            code="input.size",
            where=name,
            remedy="no guest is that large",
        )
    form = form or _look(data)
    if form == "xml":
        from sequester.formats.libvirt_read import read_xml

        return read_xml(data, name)
    if form == "toml":
        from sequester.formats.toml_read import read_toml

        return read_toml(data, name)
    from sequester.formats.argv_read import read_argv_text

    return read_argv_text(data, name)


def write(guest: Guest, form: str) -> Written:
    """Write a guest, its limitation already in the format's dialect, as a new text in one of `FORMATS`."""
    if form == "xml":
        from sequester.formats.libvirt_write import write_xml

        return write_xml(guest)
    if form == "toml":
        from sequester.formats.toml_write import write_toml

        return write_toml(guest)
    from sequester.formats.argv_write import write_argv_text

    return write_argv_text(guest)


def _look(data: bytes) -> str:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        return "xml"
    for raw in head.splitlines():
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        key, equals, _ = line.partition(b"=")
        bare = key.strip().replace(b"-", b"").replace(b"_", b"")
        return (
            "toml" if line.startswith(b"[") or (equals and key.endswith(b" ") and bare.isalnum()) else "argv"
        )
    return "argv"


def _contents(name: str) -> bytes:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(name, error) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(
                "this is a folder", code="input.unreadable", where=name, remedy="name a file in it"
            )
        if not stat.S_ISREG(mode):
            os.set_blocking(descriptor, True)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1) or b""  # None: /proc/kmsg, for one, has nothing just now
    except OSError as error:
        raise _unreadable(name, error) from None
    finally:
        os.close(descriptor)


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(
        "this file cannot be read",
        code="input.unreadable",
        where=name,
        why=error.strerror or str(error),
        remedy="name a guest's .toml, .xml or .args file, - for standard input, or libvirt:NAME",
    )


def _from_libvirt(domain: str) -> bytes:
    import subprocess

    command = ["virsh", "--readonly", "dumpxml", "--inactive", "--domain", domain]
    where = f"libvirt:{domain}"
    try:
        done = subprocess.run(command, capture_output=True, timeout=_VIRSH_SECONDS, check=False)
    except FileNotFoundError:
        raise InputError(
            "virsh is not installed", code="libvirt.missing", where=where, remedy="install libvirt's clients"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"libvirt did not answer in {_VIRSH_SECONDS} s", code="libvirt.timeout", where=where
        ) from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(
            "libvirt does not give this domain", code="libvirt.error", where=where, why=why[-1] if why else ""
        )
    return done.stdout
