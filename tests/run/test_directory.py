"""A run's folder is its owner's alone, and goes away however the run ends; so does all that QEMU started."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sequester.errors import HostError
from sequester.run.directory import MARKER, base_folder, run_directory

HOLD = """
import os, sys, time
from pathlib import Path
from sequester.run.directory import run_directory
with run_directory("web.toml", Path(sys.argv[1])) as directory:
    print(directory.path, directory.mark, flush=True)
    time.sleep(1000)
"""
STRAY = "import os, time\nos.setsid()\nprint('up', flush=True)\ntime.sleep(1000)\n"


def soon(holds: Callable[[], bool]) -> bool:
    """Tell whether something comes to hold: a watcher needs a moment."""
    for _ in range(400):
        if holds():
            return True
        time.sleep(0.01)
    return False


def test_the_folder_is_private_and_named_after_the_guest(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with run_directory("guests/we\x1bb.toml", tmp_path / "base") as directory:
            assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
            assert stat.S_IMODE((tmp_path / "base").stat().st_mode) == 0o700
            assert directory.path.name.startswith("web-")
            (directory.path / "left").write_text("something")
    finally:
        os.umask(mask)
    assert not directory.path.exists()


def test_it_goes_away_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_directory("web", tmp_path / "base") as directory:
        raise ZeroDivisionError
    assert not directory.path.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_goes_away_when_we_are_killed_and_takes_strays_along(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "base")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        path, mark = holder.stdout.readline().split()
        environment = {**os.environ, MARKER: mark}
        with subprocess.Popen(
            [sys.executable, "-c", STRAY], stdout=subprocess.PIPE, text=True, env=environment
        ) as stray:
            assert stray.stdout is not None
            assert stray.stdout.readline() == "up\n"
            assert Path(path).is_dir()
            holder.send_signal(number)
            assert soon(lambda: not Path(path).exists())
            assert soon(lambda: stray.poll() is not None)
            assert stray.returncode == -signal.SIGKILL


def test_a_process_of_another_run_is_left_alone(tmp_path: Path) -> None:
    environment = {**os.environ, MARKER: "another"}
    with subprocess.Popen([sys.executable, "-c", STRAY], stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with run_directory("web", tmp_path / "base"):
            pass
        assert other.poll() is None
        other.kill()


def test_a_folder_that_others_can_look_into_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o755)
    base.chmod(0o755)
    with pytest.raises(HostError, match="not ours alone"), run_directory("web", base):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be made"), run_directory("web", tmp_path / "file" / "base"):
        pass


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o777)
    (tmp_path / "base").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="not ours alone"), run_directory("web", tmp_path / "base"):
        pass


def test_the_usual_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert base_folder() == tmp_path / "sequester"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert base_folder().name.startswith("sequester")
