"""The command line over bad input and in bad surroundings: one line, a status, no traceback, bounded memory."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

MEMORY = 512 << 20
NO_UNICODE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
DOMAIN = b"<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os>"
DISK = (
    b"<devices><disk type='file'><source file='a'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
)
GUEST = ("--", "qemu-system-x86_64", "-machine", "q35", "-device", "virtio-rng-pci")
Word = str | bytes


def sequester(
    *words: Word,
    given: bytes = b"",
    surroundings: Mapping[str, str] | None = None,
    shell: str = "",
    where: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in little memory; `shell` is what a shell does to its streams."""
    command: Sequence[Word] = [sys.executable, "-m", "sequester", *words]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        timeout=60,
        cwd=where,
        env={**os.environ, **(surroundings or {})},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


def assert_one_line(done: subprocess.CompletedProcess[bytes], status: int = 2) -> str:
    said = done.stderr.decode()
    assert done.returncode == status, said
    assert said.startswith("sequester: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert len(said) < 1000
    return said


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--",),
        ("bogus",),
        ("\x1b[31m",),
        ("check",),
        ("check", "--"),
        ("check", "--\x1b[31m"),
        ("check", "--format", "klingon", "x"),
        ("check", "--host"),
        ("check", "\x1b[31m\n"),
        ("check", b"\xff\xfe"),
        ("check", "x" * 300),
        ("check", "", "--"),
        ("platforms", "\x1b[31m"),
        ("probe", "--host", b"\xed\xa0\x80"),
        ("plan", "--limit", "\x1b[31m", *GUEST),
        ("check", "-o", "/proc/nonexistent/\x1b", *GUEST),
        ("check", "--", "qemu-system-x86_64", "-device", '{"a":' * 3000),
        ("run", "--evidence", "x", *GUEST),
        ("run", "--simulate", "\x1b[31m", *GUEST),
    ],
)
def test_bad_arguments_are_one_line(words: tuple[Word, ...]) -> None:
    assert_one_line(sequester(*words))


def test_a_guest_that_asks_for_no_protection_is_not_run() -> None:
    assert_one_line(sequester("run", *GUEST), 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.xml", b"<!DOCTYPE d [<!ENTITY a 'a'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>"),
        ("a.xml", b"<a>" * 500_000),
        ("a.xml", b"<a>" * 90_000 + b"</a>" * 90_000),
        ("a.xml", DOMAIN + b"<devices>" + b"<disk/>" * 900_000 + b"</devices></domain>"),
        ("a.xml", DOMAIN + b"<a>\0</a></domain>"),
        ("a.xml", b"<?xml version='1.0' encoding='klingon'?><domain/>"),
        ("a.xml", b"<domain xmlns='http://example.com' type='kvm'/>"),
        ("a.xml", DOMAIN + b"<memory>\x1b[31m</memory></domain>"),
        ("a.toml", b"a = " + b"[" * 100_000),
        ("a.toml", b"a." * 100_000 + b"a = 1"),
        ("a.toml", b"name = '" + b"x" * (30 << 20) + b"'"),
        ("a.toml", b"memory = " + b"9" * 100_000),
        ("a.toml", b"cpus = inf"),
        ("a.toml", b'arch = "\\u001b[31m"'),
        ("a.toml", "name = 'a'".encode("utf-16")),
        ("a.args", b"x" * (33 << 20)),
    ],
)
def test_bad_files_are_one_line_with_their_name(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert f"sequester: {name}" in assert_one_line(sequester("check", name, where=tmp_path))


def test_one_huge_element_is_read_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(
        DOMAIN + b"<description>" + b"x" * (30 << 20) + b"</description></domain>"
    )
    assert sequester("check", "a.xml", where=tmp_path).returncode == 0


@pytest.fixture
def oddities(tmp_path: Path) -> Path:
    """A folder of what is not a guest's file, whatever its name says."""
    os.mkfifo(tmp_path / "fifo.xml")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "dangling.xml").symlink_to("gone")
    (tmp_path / "loop.xml").symlink_to("loop.xml")
    (tmp_path / "zero.xml").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.xml"))
    with (tmp_path / "sparse.xml").open("wb") as file:
        file.truncate(10 << 30)
    return tmp_path


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling", "loop", "zero", "socket", "sparse"])
def test_what_is_no_file_is_one_line(kind: str, oddities: Path) -> None:
    name = f"{kind}.xml"
    assert name in assert_one_line(sequester("check", name, where=oddities))
    assert name in assert_one_line(sequester("probe", "--host", name, where=oddities))
    firmware = sequester(
        "measure", "--type", "sev-snp", "--firmware", name, "--cpus", "1", "--cpu", "EPYC-v4", where=oddities
    )
    assert name in assert_one_line(firmware)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"schema": NaN}',
        b'{"schema": "sequester-host/1", "files": {'
        + b",".join(b'"/%d": {"text": "x"}' % n for n in range(200_000))
        + b"}}",
        b'{"schema": "sequester-host/1", "memlock": [' + b"9" * 100_000 + b"]}",
        b'{"schema": "sequester-host/1", "qemu": [[]]}',
        b'{"schema": "sequester-host/1", "nodes": 7}',
        b'{"schema": "\x1b[31m"}',
    ],
)
def test_a_bad_record_of_a_host_is_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_bytes(data)
    assert "host.json" in assert_one_line(sequester("check", "--host", "host.json", *GUEST, where=tmp_path))


def test_a_record_does_not_steer_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\ud800\x9b"
    record = {
        "schema": "sequester-host/1",
        "arch": "x86_64",
        "cpuinfo": {"model name": evil},
        "files": {"/proc/sys/kernel/osrelease": {"text": evil}},
        "qemu": [{"path": evil, "error": evil}, {"path": evil, "arch": evil, "types": [{"name": evil}]}],
    }
    (tmp_path / "host.json").write_text(json.dumps(record))
    done = sequester("probe", "-v", "--host", "host.json", where=tmp_path)
    assert done.returncode == 3
    assert done.stderr == b""
    assert "\x1b" not in done.stdout.decode()
    assert "\x9b" not in done.stdout.decode()


@pytest.mark.parametrize("name", [b"a\xffb.xml", b"n\nl.xml", b"e\x1b[31m.xml", "u\u202e.xml".encode()])
@pytest.mark.parametrize("surroundings", [{}, NO_UNICODE, {"PYTHONIOENCODING": "latin-1"}])
@pytest.mark.parametrize(
    "words", [("check",), ("check", "--json"), ("plan", "--to", "diff"), ("plan", "--to", "argv")]
)
def test_odd_names_are_printed_in_every_locale(
    name: bytes, surroundings: Mapping[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    limited = DOMAIN + b"<launchSecurity type='sev'><policy>1</policy></launchSecurity>" + DISK
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(limited)
    done = sequester(*words, name, surroundings=surroundings, where=tmp_path)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("probe",),
        ("explain", "failed to initialize kvm: Operation not permitted"),
        ("explain", "SQ201"),
        ("--help",),
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_encoding_can_hold_what_is_said(words: tuple[str, ...], encoding: str) -> None:
    done = sequester(*words, surroundings={"PYTHONIOENCODING": encoding})
    assert done.returncode in (0, 3)
    assert done.stderr == b""
    done.stdout.decode(encoding)


@pytest.mark.parametrize(
    "words", [("--version",), ("platforms",), ("explain",), ("probe", "--json"), ("check", *GUEST)]
)
def test_a_full_disk_is_one_line_and_a_closed_stream_is_none(words: tuple[str, ...]) -> None:
    assert "No space left" in assert_one_line(sequester(*words, shell=">/dev/full"))
    for shell in (">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"):
        done = sequester(*words, shell=shell)
        assert done.returncode in (0, 3)
        assert done.stderr == b""


def test_a_full_standard_error_leaves_the_status_as_it_is() -> None:
    assert sequester("check", "gone", shell="2>/dev/full").returncode == 2


@pytest.mark.parametrize("shell", ["<&-", "</dev/zero"])
def test_a_bad_standard_input_is_one_line(shell: str) -> None:
    assert "<stdin>" in assert_one_line(sequester("check", "-", shell=shell))


@pytest.mark.parametrize(
    "surroundings",
    [
        {"HOME": ""},
        {"HOME": "/proc/nonexistent"},
        {"XDG_CACHE_HOME": "/proc"},
        {"XDG_CACHE_HOME": "/dev/null"},
    ],
)
def test_no_place_for_a_cache_does_not_matter(surroundings: Mapping[str, str]) -> None:
    done = sequester("probe", surroundings=surroundings)
    assert done.returncode in (0, 3)
    assert done.stderr == b""


@pytest.mark.parametrize(
    "text",
    [
        b"a" * (1 << 20),
        bytes(range(256)) * 100,
        b"\x1b[31mcbitpos check failed\x9b\x07",
        b"fw_error=" * 50_000,
        b"{" * (1 << 20),
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_text_is_explained_or_not_and_does_not_steer_the_terminal(text: bytes, encoding: str) -> None:
    done = sequester("explain", "-", given=text, surroundings={"PYTHONIOENCODING": encoding})
    assert done.returncode in (0, 1)
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert b"\x07" not in done.stdout
