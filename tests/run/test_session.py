"""A QEMU that dies, hangs or talks nonsense ends in one error, and nothing is left of it, however we end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_qemu.py")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    qemu.chmod(0o755)
    guest = [str(qemu), "-machine", "q35", "-kernel", os.devnull]
    return [sys.executable, "-m", "sequester", "run", "--simulate", "sev-snp", "--", *guest]


def start(command: list[str], how: str, tmp_path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "FAKE": how, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def gone(pid: int) -> bool:
    """Tell whether a process ends soon: a kill takes effect a moment later."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def pids(output: str) -> Iterator[int]:
    return (int(line.split()[1]) for line in output.splitlines() if line.startswith("pid "))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("die@start", "QEMU ended with status 1 before it answered: fake: gone at start"),
        ("die@start child", "QEMU ended with status 1 before it answered: fake: gone at start"),
        ("crash@start", "QEMU was killed by signal 11 before it answered"),
        ("garbage@start", "QEMU's first words are not QMP"),
        ("die@qmp_capabilities", "QEMU ended with status 1 before it answered"),
        ("die@cont", "QEMU ended during cont: fake: gone at cont"),
        ("crash@cont", "QEMU ended during cont"),
        ("", "QEMU's answers are not those of a QEMU"),
    ],
)
def test_a_bad_qemu_is_one_line_and_leaves_nothing(
    how: str, said: str, command: list[str], tmp_path: Path
) -> None:
    process = start(command, how, tmp_path)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert f"sequester: {said}" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert "\x1b" not in errors
    assert all(gone(pid) for pid in pids(output))
    assert not list(tmp_path.glob("sequester-*"))


@pytest.mark.parametrize("how", ["hang@start", "hang@qmp_capabilities", "hang@cont", "hang@query-version"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_qemu_outlives_us(how: str, number: signal.Signals, command: list[str], tmp_path: Path) -> None:
    process = start(command, how, tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    assert "Traceback" not in errors
    found = list(pids(first + output))
    assert found
    assert all(gone(pid) for pid in found)
    assert not list(tmp_path.glob("sequester-*"))


def test_a_qemu_that_ignores_sigterm_is_killed(command: list[str], tmp_path: Path) -> None:
    process = start(command, "stubborn hang@cont", tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert all(gone(pid) for pid in pids(first))


def test_a_reader_that_goes_away_ends_the_guest(command: list[str], tmp_path: Path) -> None:
    process = start(command, "flood@booted", tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    (pid,) = pids(process.stdout.readline())
    process.stdout.close()
    assert process.wait(60) == 0
    assert "Traceback" not in process.stderr.read()
    assert gone(pid)
