"""Times the guard beside a direct socket: ``python bench/guard.py [QEMU]``.

Four figures, each bounded in time: what one command costs through the guard and without it, side by side, before a QMP
server that answers at once and before a real QEMU (machine ``none``); commands a second with 200 clients; resident
memory of the guard before and after a million commands. The guard and each server are processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROUNDS, WARM = 3000, 300
CLIENTS, SECONDS = 200, 5.0
MANY, MOST_SECONDS = 1_000_000, 240.0
_GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": ""}, '
    b'"capabilities": ["oob"]}}\r\n'
)
_COMMAND = b'{"execute": "query-status", "id": 7}\n'
_ID = re.compile(rb', "id": (\d+)')


def instant(path: str) -> None:
    """Serve QMP to one client at a time, each command answered at once."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(_GREETING)
                held = b""
                while data := peer.recv(1 << 16):
                    *lines, held = (held + data).split(b"\n")
                    peer.sendall(b"".join(_answer(line) for line in lines))


def _answer(line: bytes) -> bytes:
    if b"query-target" in line:
        body = b'{"return": {"arch": "x86_64"}'
    elif b"qom-get" in line:
        body = b'{"return": ""'
    else:
        body = b'{"return": {"status": "running", "running": true}'
    found = _ID.search(line)
    return body + (found[0] if found else b"") + b"}\r\n"


def client(path: str) -> socket.socket:
    """Connect and negotiate."""
    deadline = time.monotonic() + 20
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            break
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    sock.recv(4096)
    sock.sendall(b'{"execute": "qmp_capabilities"}\n')
    sock.recv(4096)
    return sock


def once(sock: socket.socket) -> float:
    """Return the seconds that one command takes."""
    start = time.perf_counter()
    sock.sendall(_COMMAND)
    while not sock.recv(4096).endswith(b"\n"):
        pass
    return time.perf_counter() - start


def medians(direct: str, guarded: str) -> tuple[float, float]:
    """Return the median of a command without and through the guard in µs, taken in turn."""
    with client(direct) as plain, client(guarded) as through:
        for _ in range(WARM):
            once(plain), once(through)
        pairs = [(once(plain), once(through)) for _ in range(ROUNDS)]
    return tuple(statistics.median(column) * 1e6 for column in zip(*pairs, strict=True))  # type: ignore[return-value]


def flood(path: str, clients: int, enough: Callable[[int, float], bool]) -> tuple[int, float]:
    """Have each client send its next command when it has its reply; return how many were answered in what time."""
    done, start = 0, time.monotonic()
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(clients):
            sock = stack.enter_context(client(path))
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(_COMMAND)
        start = time.monotonic()
        while not enough(done, time.monotonic() - start):
            for key, _ in selector.select():
                sock = key.fileobj  # type: ignore[assignment]
                done += sock.recv(4096).count(b'"return"')
                sock.sendall(_COMMAND)
        return done, time.monotonic() - start


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextlib.contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a block."""
    running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def guarded(folder: Path, name: str, *server: str) -> Iterator[tuple[str, str, int]]:
    """Run a server twice, once behind a guard: paths of the one without and of the guard, and the guard's process."""
    direct, behind, front = (str(folder / f"{name}-{which}") for which in ("direct", "behind", "front"))
    mine = (
        sys.executable,
        "-m",
        "sequester",
        "guard",
        "--qmp",
        behind,
        "--listen",
        front,
        "--limit",
        "sev-snp",
    )
    with (
        process(*(word.format(direct) for word in server)),
        process(*(word.format(behind) for word in server)),
    ):
        client(direct).close()
        while not os.path.exists(behind):
            time.sleep(0.02)
        with process(*mine) as running:
            client(front).close()
            yield direct, front, running.pid


def main(qemu: str | None) -> None:
    """Print the figures."""
    servers = {"instant": (sys.executable, __file__, "--serve", "{}")}
    if qemu is not None:
        servers["QEMU"] = (
            *(qemu, "-nodefaults", "-display", "none", "-machine", "none"),
            *("-qmp", "unix:{},server=on,wait=off"),
        )
    with tempfile.TemporaryDirectory() as made:
        for name, server in servers.items():
            with guarded(Path(made), name, *server) as (direct, front, pid):
                plain, through = medians(direct, front)
                print(
                    f"{name}: one command {plain:.0f} µs direct, {through:.0f} µs guarded: "
                    f"{through - plain:.0f} µs more"
                )
                number, took = flood(front, CLIENTS, lambda _, seconds: seconds > SECONDS)
                print(f"{name}: {CLIENTS} clients, {number / took:.0f} commands a second")
                if name == "instant":
                    before = resident(pid)
                    number, took = flood(
                        front, 50, lambda done, seconds: done >= MANY or seconds > MOST_SECONDS
                    )
                    print(
                        f"{name}: resident {before:.1f} MiB, after {number} commands ({took:.0f} s) "
                        f"{resident(pid):.1f} MiB",
                        flush=True,
                    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        instant(sys.argv[2])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else shutil.which("qemu-system-x86_64"))
