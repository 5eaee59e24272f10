"""Puts the hook where libvirt finds it, beside whatever hooks there are."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from sequester.errors import HostError, InputError, RefusedError

FOLDER = "/etc/libvirt/hooks"
POLICY = "/etc/sequester/hook.toml"
NAME = "50-sequester"
_MARK = "# This is sequester's hook; `sequester hook --install` writes it anew."


def script(python: str, package: Path, policy: str) -> str:
    """Return the hook's text: the gate as it is, and where its judge, its package and its policy are."""
    gate = (Path(__file__).parent / "gate.py").read_text(encoding="utf-8")
    start = f"import sys; sys.path.insert(0, {str(package)!r}); from sequester.cli.main import entry; entry()"
    judge = [python, "-I", "-c", start, "hook", "--judge"]
    return (
        f"#!{python} -I\n{_MARK}\n{gate}\n\nif __name__ == '__main__':\n"
        f"    sys.exit(main(sys.argv[1:], {judge!r}, {policy!r}))\n"
    )


def writable_by_others(python: str = sys.executable) -> tuple[str, ...]:
    """Return what the hook runs, as root in most places, and somebody else may write: its Python, or our package."""
    package = Path(__file__).resolve().parents[1]
    found = []
    for place in (Path(python).resolve(), Path(python).absolute(), package):
        for path in (place, *place.parents):
            about = path.stat()
            shared = about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX
            if about.st_uid not in (0, os.geteuid()) or shared:
                found.append(str(path))
    return tuple(dict.fromkeys(found))


def install(folder: str = FOLDER, policy: str = POLICY, python: str = sys.executable) -> Path:
    """Write the hook into `FOLDER/qemu.d`; return its path.

    libvirt runs every program there (since 6.5.0), after ``FOLDER/qemu``, which stays as it is. Raises RefusedError
    where another hook has our name, InputError and HostError where it cannot be written or would not run.
    """
    if any(character.isspace() for character in python) or len(python) > 120:
        raise HostError(
            "this Python cannot be named in a script's first line",
            code="hook.python",
            where=python,
            remedy="install sequester in a place with a short path without blanks",
        )
    place = Path(folder) / "qemu.d"
    path = place / NAME
    package = Path(__file__).resolve().parents[2]
    text = script(python, package, os.path.abspath(policy))
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.path.lexists(path) and _MARK not in path.read_text(encoding="utf-8", errors="replace")[:400]:
            raise RefusedError(
                "another hook has this name",
                code="hook.exists",
                where=str(path),
                remedy="move it, or remove it",
            )
        beside = place / f".{NAME}.{os.getpid()}"  # libvirt runs no name that begins with a dot
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o755)
        beside.replace(path)
    except OSError as error:
        raise InputError(
            "the hook cannot be written",
            code="hook.unwritable",
            where=error.filename or str(path),
            why=error.strerror or str(error),
            remedy="run it as root, or name another folder",
        ) from None
    return path
