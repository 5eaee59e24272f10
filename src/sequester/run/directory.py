"""A private folder for one run, with the sockets that others may connect to, and the certainty that it goes away.

The folder (0700) lies under ``$XDG_RUNTIME_DIR/sequester``, ``/run/sequester`` for root, or the temporary directory. A
watcher, a process that does nothing but wait for our end, removes it and ends what is left of QEMU, also when we are
killed with SIGKILL: its pipe from us closes then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sequester.errors import HostError

MARKER = "SEQUESTER_RUN"
"""Environment variable of a run's QEMU and of all that it starts: the name of its folder. It is no secret."""
_DONE = b"."


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run's folder. `mark` is in the environment of its processes."""

    path: Path
    mark: str

    @property
    def monitor(self) -> Path:
        """The socket of the guard, for monitors of the guest."""
        return self.path / "qmp.sock"


def base_folder() -> Path:
    """Return where the folders of runs are made (XDG Base Directory 0.8; /run/sequester for root)."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK):
        return Path(runtime) / "sequester"
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/sequester")
    return Path(tempfile.gettempdir()) / f"sequester-{os.getuid()}"


@contextmanager
def run_directory(name: str, base: Path | None = None) -> Iterator[RunDirectory]:
    """Make a run's folder, and remove it at the end of the block or of this process, whichever comes first.

    `name` is how its own name begins. No other thread may run yet: the watcher is forked. Raises HostError where the
    folder cannot be made, or somebody else's is in its place.
    """
    base = base or base_folder()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = base.lstat()
        if owner.st_uid != os.geteuid() or owner.st_mode & 0o077:
            raise HostError(
                "this folder is not ours alone",
                code="run.directory",
                where=str(base),
                remedy="remove it, or set XDG_RUNTIME_DIR to a folder that nobody else can write",
            )
        path = Path(tempfile.mkdtemp(prefix=f"{_plain(name)}-", dir=base))
    except OSError as error:
        raise HostError(
            "the folder of this run cannot be made",
            code="run.directory",
            where=str(base),
            why=error.strerror or "",
            remedy="set XDG_RUNTIME_DIR to a folder that can be written",
        ) from None
    directory = RunDirectory(path, path.name)
    lifeline = _watched(directory)
    try:
        yield directory
    finally:
        end_marked(directory.mark)
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.write(lifeline, _DONE)
        os.close(lifeline)


def _plain(name: str) -> str:
    """Return a name as a part of a path."""
    stem = os.path.splitext(os.path.basename(name))[0]
    return (
        "".join(char for char in stem if char.isascii() and (char.isalnum() or char in "._"))[:40] or "guest"
    )


def _watched(directory: RunDirectory) -> int:
    """Fork the watcher; return the end of the pipe whose closing it waits for."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(reading)
        os.waitpid(pid, 0)
        return writing
    try:
        _watch(directory, reading)
    finally:
        os._exit(0)


def _watch(directory: RunDirectory, lifeline: int) -> None:
    """Be the watcher: a session of its own, and nothing open but the pipe."""
    if os.fork():
        return
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.dup2(lifeline, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    if os.read(3, 1) != _DONE:
        end_marked(directory.mark)
        shutil.rmtree(directory.path, ignore_errors=True)


def end_marked(mark: str) -> None:
    """Kill every process of a run that is left, whatever session it went to: its environment tells."""
    wanted = f"{MARKER}={mark}".encode()
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == own:
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as file:
                marked = wanted in file.read().split(b"\0")
            if marked:
                os.kill(int(entry), signal.SIGKILL)
