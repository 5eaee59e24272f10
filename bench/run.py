"""What `run` adds between its start and the first answer of QEMU, beside the same QEMU started by hand."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
QEMU = "qemu-system-x86_64"
GUEST = [QEMU, "-M", "q35", "-accel", "kvm", "-cpu", "EPYC", "-m", "256", "-nodefaults", "-kernel"]


def by_hand(argv: list[str]) -> float:
    """Return the seconds from a QEMU's start to its first answer."""
    start = time.perf_counter()
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    qmp = ["-chardev", f"socket,id=q,fd={number}", "-qmp", "chardev:q", "-S"]
    with subprocess.Popen([*argv, *qmp], pass_fds=(number,), stderr=subprocess.DEVNULL) as process:
        lines = ours.makefile("rb")
        lines.readline()
        ours.sendall(b'{"execute": "qmp_capabilities"}\n')
        assert b"return" in lines.readline()
        found = time.perf_counter() - start
        process.kill()
    return found


def by_run(arguments: list[str]) -> float:
    """Return the seconds from the start of `sequester run` to where QEMU has answered."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "sequester", "run", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step" and "monitors" in event["what"]:
                break
        found = time.perf_counter() - start
        process.kill()
    return found


def main() -> None:
    """Print the medians, taken in turn, and their difference."""
    if shutil.which(QEMU) is None:
        print(f"{QEMU} is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernel"
        kernel.write_bytes(bytes(512 * 1024))
        identity = ["--simulate", "sev-snp", "--simulated-identity", folder]
        dry = [sys.executable, "-m", "sequester", "run", "--dry-run", *identity, "--", *GUEST, str(kernel)]
        argv = subprocess.run(dry, capture_output=True, text=True, check=True).stdout.split()
        pairs = [(by_hand(argv), by_run([*identity, "--", *GUEST, str(kernel)])) for _ in range(ROUNDS)]
    hand, ours = (statistics.median(each) * 1000 for each in zip(*pairs, strict=True))
    print(f"QEMU by hand {hand:.0f} ms, sequester run {ours:.0f} ms: {ours - hand:.0f} ms more")


if __name__ == "__main__":
    main()
