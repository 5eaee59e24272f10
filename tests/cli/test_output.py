"""What a command writes appears whole or not at all, and never in the place of a device."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sequester.cli.output import write_out
from sequester.errors import InputError


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    path.chmod(0o640)
    write_out("after", str(path))
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["out"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append(path.read_text()))
    reader.start()
    write_out("through", str(path))
    reader.join(20)
    assert seen == ["through"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_one() -> None:
    write_out("nothing", os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_folder_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_out("text", str(tmp_path))
    with pytest.raises(InputError, match="cannot be written"):
        write_out("text", str(tmp_path / "none" / "out"))
