"""What the host's kernel says of a QEMU process: KSM, and the sockets it listens on. Linux, proc(5)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from sequester.guest.running import Merging

PROC = Path("/proc")
_LISTENING = "0A"  # include/net/tcp_states.h, TCP_LISTEN
_MOST_MAPS = 64 << 20
_MAPS_SECONDS = 0.5
"""The kernel walks all page tables to write smaps: a second for some hundred GiB of small pages."""
_PIECE = 1 << 20
_FLAGS = re.compile(rb"^VmFlags:.*\bmg\b", re.MULTILINE)


def is_qemu(pid: int, threads: list[int], proc: Path = PROC) -> bool:
    """Tell whether a process of this host has these threads: QEMU's vCPUs are (query-cpus-fast)."""
    return bool(threads) and all((proc / str(pid) / "task" / str(thread)).exists() for thread in threads)


def merging(pid: int, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> Merging | None:
    """Return what KSM does to a process; None where the kernel does not let us look."""
    folder = proc / str(pid)
    stat = _fields(folder / "ksm_stat")
    pages = _number(stat.get("ksm_merging_pages", "") or _read(folder / "ksm_merging_pages"))
    told = stat.get("ksm_mergeable")  # newer kernels; seen on Linux 6.18
    if told in ("yes", "no"):
        return Merging(told == "yes", pages or 0)
    marked = _marked(folder / "smaps", clock)
    return None if marked is None and pages is None else Merging(marked, pages or 0)


def listening(pid: int, proc: Path = PROC) -> tuple[str, ...] | None:
    """Return the TCP addresses that a process listens on, as ``HOST:PORT``; None where we may not look."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(proc / str(pid) / "fd")]
    except OSError:
        return None
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in _read(proc / str(pid) / "net" / name).splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == _LISTENING and words[9] in inodes:
                found.add(_address(words[1]))
    return tuple(sorted(found))


def _marked(path: Path, clock: Callable[[], float]) -> bool | None:
    """Tell whether any memory is marked as mergeable (smaps, VmFlags mg); None where that cannot be read in time."""
    until, size, rest = clock() + _MAPS_SECONDS, 0, b""
    try:
        with path.open("rb", buffering=0) as maps:
            while data := maps.read(_PIECE):
                size += len(data)
                whole, _, rest = (rest + data).rpartition(b"\n")
                if _FLAGS.search(whole):
                    return True
                if size > _MOST_MAPS or clock() > until:
                    return None
    except OSError:
        return None
    return False if size else None


def _address(raw: str) -> str:
    """Read an address as the kernel writes it: words of 32 bits in the host's order, in hexadecimal."""
    import socket

    host, _, port = raw.partition(":")
    words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
    packed = b"".join(words)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    text = socket.inet_ntop(family, packed)
    return f"[{text}]:{int(port, 16)}" if family == socket.AF_INET6 else f"{text}:{int(port, 16)}"


def _fields(path: Path) -> dict[str, str]:
    """Read ``name value`` or ``name: value`` lines."""
    pairs = (line.replace(":", " ", 1).split(None, 1) for line in _read(path).splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_PIECE).decode(errors="replace")
    except OSError:
        return ""
