"""The archive is what the kernel and cpio(1) read."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sequester.run import cpio

ENTRIES = [
    cpio.directory("bin"),
    cpio.file("bin/tool", b"#!/bin/sh\n", executable=True),
    cpio.file("odd", b"12345"),
    cpio.link("bin/sh", "tool"),
    cpio.character_device("console", 5, 1),
]


def test_every_header_name_and_content_starts_on_four_bytes() -> None:
    data = cpio.archive(ENTRIES)
    position = 0
    names = []
    while position < len(data):
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * n : position + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = fields[6], fields[11]
        names.append(data[position + 110 : position + 110 + name_size - 1].decode())
        content = position + 110 + name_size + -(110 + name_size) % 4
        position = content + size + -size % 4
    assert names == ["bin", "bin/tool", "odd", "bin/sh", "console", "TRAILER!!!"]


def test_a_device_node_carries_its_numbers_and_no_content() -> None:
    record = cpio.archive([cpio.character_device("console", 5, 1)])
    fields = [int(record[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
    assert stat.S_ISCHR(fields[1])
    assert fields[6] == 0
    assert fields[9:11] == [5, 1]


def test_the_same_files_give_the_same_bytes() -> None:
    assert cpio.archive(ENTRIES) == cpio.archive(list(ENTRIES))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio(1) is not installed")
def test_cpio_unpacks_what_was_packed(tmp_path: Path) -> None:
    subprocess.run(["cpio", "-i", "--quiet"], input=cpio.archive(ENTRIES[:4]), cwd=tmp_path, check=True)
    assert (tmp_path / "bin" / "sh").readlink() == Path("tool")
    assert (tmp_path / "odd").read_bytes() == b"12345"
    assert (tmp_path / "bin" / "tool").stat().st_mode & 0o111
