"""QEMUs that misbehave in every way, asked by the collector; and the cache of what the good ones said."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_hosts import facts, tree

from sequester.host.collect import collect
from sequester.host.facts import QemuFacts

GREETING = '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}}, "capabilities": []}}'
ANSWERS: dict[str, Any] = {
    "qmp_capabilities": {},
    "query-version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": "Fake"},
    "query-target": {"arch": "x86_64"},
    "query-kvm": {"present": True, "enabled": False},
    "query-machines": [{"name": "pc-q35-11.1", "alias": "q35", "is-default": True, "deprecated": False}],
    "qom-list-types": [
        {"name": "sev-snp-guest", "parent": "sev-common"},
        {"name": "sev-common", "parent": "object", "abstract": True},
        {"name": "kvm-accel", "parent": "accel"},
    ],
    "qom-list-properties": [
        {"name": "type", "type": "string"},
        {"name": "policy", "type": "uint64", "default-value": 196608},
    ],
    "query-qmp-schema": [{"name": "7", "features": ["confidential-guest-reset"]}],
}
PYTHON = f"""#!{sys.executable}
import json, os, sys
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "runs"), "a") as stream:
    stream.write("x")
answers = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.json")))
print({GREETING!r}, flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command["execute"] in answers:
        print(json.dumps({{"return": answers[command["execute"]], "id": command["id"]}}), flush=True)
    else:
        print(json.dumps({{"error": {{"class": "CommandNotFound", "desc": "no"}}, "id": command["id"]}}), flush=True)
"""


def program(folder: Path, text: str, name: str = "qemu-system-x86_64") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def good(folder: Path, **changes: Any) -> Path:
    path = program(folder, PYTHON)
    (folder / "answers.json").write_text(json.dumps({**ANSWERS, **changes}))
    return path


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text()) if (folder / "runs").exists() else 0


def ask(root: Path, *paths: Path, seconds: float = 10, cache: str = "") -> tuple[QemuFacts, ...]:
    record = collect(root=str(root), qemus=[str(path) for path in paths], seconds=seconds, cache=cache)
    found = facts(record).qemus
    assert found is not None
    return found


def gone(pid: int) -> bool:
    """Tell whether a process has ended, collected or not."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


def test_a_qemu_tells_what_it_is(tmp_path: Path) -> None:
    (qemu,) = ask(tmp_path, good(tmp_path / "bin"))
    assert qemu.error == ""
    assert (qemu.version, qemu.version_text, qemu.arch) == ((11, 1, 2), "11.1.2 (Fake)", "x86_64")
    assert qemu.types == {"sev-snp-guest", "kvm-accel"}
    assert qemu.properties["sev-snp-guest"]["policy"].default == 196608
    assert "type" not in qemu.properties["sev-snp-guest"]
    assert qemu.machine("q35") == qemu.machine("") == qemu.machine("pc-q35-11.1") is not None
    assert qemu.accelerators == {"kvm"}
    assert qemu.rebuilds_on_reset


HANG = "echo $$ > PIDS; exec sleep 60"
WITH_CHILD = "sleep 61 & echo $! > PIDS; trap '' TERM; sleep 62"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (HANG, "no answer within 0.5 s"),
        (WITH_CHILD, "no answer within 0.5 s"),
        ("echo '" + GREETING + "'; " + HANG, "no answer within 0.5 s"),
        ("echo '" + GREETING + '\'; printf \'{"return": {}, "id"\'; ' + HANG, "no answer within 0.5 s"),
        ("exec 1>&-; " + HANG, "closed its output before it had answered"),
        ("exec 0<&- 2>&-; " + HANG, "no answer within 0.5 s"),
        ('yes \'{"event": "FLOOD"}\'', "more than 4 MiB of output"),
        ("cat /dev/zero", "more than 4 MiB of output"),
        ("yes noise >&2", "no answer within 0.5 s: noise"),
        ("echo hello; " + HANG, "its output is not QMP: 'hello'"),
        ("head -c 3000 /dev/urandom; echo; " + HANG, "its output is not QMP: '"),
        ("head -c 200000 /dev/zero | tr '\\0' '['; echo; " + HANG, "its output is not QMP: '[[[["),
        ("echo 7; " + HANG, "its output is not QMP: '7'"),
        ("echo '{}'; " + HANG, "its output is not QMP: '{}'"),
        ("exit 0", "ended with status 0 before it had answered"),
        (
            "echo 'accelerator is sad' >&2; exit 1",
            "ended with status 1 before it had answered: accelerator is sad",
        ),
        ("echo '" + GREETING + "'; kill -ABRT $$", "ended by signal 6 before it had answered"),
    ],
)
def test_a_qemu_that_misbehaves_is_an_error_text_and_leaves_no_process(
    tmp_path: Path, script: str, said: str
) -> None:
    pids = tmp_path / "pids"
    path = program(
        tmp_path / "bin",
        "#!/bin/sh\n" + script.replace("PIDS", str(pids)),
    )
    (qemu,) = ask(tmp_path, path, seconds=0.5 if said.startswith("no answer") else 30)
    assert qemu.error.startswith(said)
    assert len(qemu.error) < 500
    assert qemu.types == frozenset()
    started = pids.read_text().strip() if pids.exists() else ""
    assert not started or gone(int(started))


def test_a_bad_qemu_does_not_keep_the_good_ones_from_answering(tmp_path: Path) -> None:
    bad = [program(tmp_path / f"bad{number}", "#!/bin/sh\nexec sleep 60\n") for number in range(6)]
    found = ask(tmp_path, *bad[:3], good(tmp_path / "good"), *bad[3:], seconds=1)
    assert [bool(qemu.error) for qemu in found] == [True, True, True, False, True, True, True]


@pytest.mark.parametrize("how", ["missing", "directory", "not executable", "no program"])
def test_what_is_no_qemu_is_an_error_text(tmp_path: Path, how: str) -> None:
    path = tmp_path / "bin" / "qemu"
    if how == "directory":
        path.mkdir(parents=True)
    elif how != "missing":
        program(tmp_path / "bin", "\0\0\0", "qemu").chmod(0o644 if how == "not executable" else 0o755)
    (qemu,) = ask(tmp_path, path)
    assert qemu.error.startswith("cannot be run: ")


@pytest.mark.parametrize(
    "odd", [None, 7, "x", [], {}, [1, None], [{}], [{"name": 3}], {"qemu": 3}, {"arch": []}, [[[]]]]
)
def test_answers_of_the_wrong_shape_are_left_out(tmp_path: Path, odd: Any) -> None:
    path = good(tmp_path / "bin", **dict.fromkeys(ANSWERS, odd))
    (qemu,) = ask(tmp_path, path)
    assert qemu.error == ""
    assert qemu.version == ()


def test_a_qemu_that_knows_no_command_is_just_one_without_types(tmp_path: Path) -> None:
    path = good(tmp_path / "bin")
    (path.parent / "answers.json").write_text("{}")
    (qemu,) = ask(tmp_path, path)
    assert (qemu.error, qemu.types, qemu.version) == ("", frozenset(), ())


def test_a_relative_path_is_asked_where_the_caller_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    (qemu,) = ask(tmp_path, Path("bin/qemu-system-x86_64"))
    assert qemu.error == ""
    assert qemu.path == str(tmp_path / "bin/qemu-system-x86_64")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sequester"


def entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_the_second_time_a_binary_is_not_run(tmp_path: Path, cache: Path) -> None:
    path = good(tmp_path / "bin")
    first = ask(tmp_path, path, cache=str(cache))
    assert ask(tmp_path, path, cache=str(cache)) == first
    assert runs(tmp_path / "bin") == 1


def test_a_cached_answer_can_be_read_by_its_owner_only(tmp_path: Path, cache: Path) -> None:
    ask(tmp_path, good(tmp_path / "bin"), cache=str(cache))
    assert stat.S_IMODE(entry(cache).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_another_binary_at_the_same_path_is_asked_again(tmp_path: Path, cache: Path) -> None:
    path = good(tmp_path / "bin")
    ask(tmp_path, path, cache=str(cache))
    os.utime(path, ns=(1, 1))
    ask(tmp_path, path, cache=str(cache))
    assert runs(tmp_path / "bin") == 2


@pytest.mark.parametrize(
    "change", [{"/proc/sys/kernel/osrelease": "7.0"}, {"/sys/module/kvm_amd/parameters/sev_snp": "Y"}]
)
def test_a_host_in_another_state_is_asked_again(
    tmp_path: Path, cache: Path, change: dict[str, str | bytes]
) -> None:
    path = good(tmp_path / "bin")
    ask(tmp_path, path, cache=str(cache))
    tree(tmp_path, change)
    ask(tmp_path, path, cache=str(cache))
    assert runs(tmp_path / "bin") == 2


def damage(path: Path, how: str) -> None:
    text = path.read_text()
    if how == "cut":
        path.write_text(text[:-20])
    elif how == "empty":
        path.write_text("")
    elif how == "binary":
        path.write_bytes(b"\xff\xfe\x00" * 100)
    elif how == "deep":
        path.write_text("[" * 100000)
    elif how == "a list":
        path.write_text("[]")
    elif how == "another schema":
        path.write_text(text.replace("sequester-qemu/1", "sequester-qemu/9"))
    elif how == "no answer":
        path.write_text(json.dumps({**json.loads(text), "answer": [1]}))
    elif how == "huge":
        path.write_text(text + " " * (2 << 20))
    elif how == "a link":
        path.rename(path.with_suffix(".real"))
        path.symlink_to(path.with_suffix(".real"))
    elif how == "a fifo":
        path.unlink()
        os.mkfifo(path)
    elif how == "a folder":
        path.unlink()
        path.mkdir()


DAMAGES = [
    "cut",
    "empty",
    "binary",
    "deep",
    "a list",
    "another schema",
    "no answer",
    "huge",
    "a link",
    "a fifo",
    "a folder",
]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_cache_is_a_miss(tmp_path: Path, cache: Path, how: str) -> None:
    path = good(tmp_path / "bin")
    first = ask(tmp_path, path, cache=str(cache))
    damage(entry(cache), how)
    assert ask(tmp_path, path, cache=str(cache)) == first
    assert runs(tmp_path / "bin") == 2


@pytest.mark.parametrize("part", ["types", "properties", "machines", "version", "path"])
def test_a_cached_answer_of_the_wrong_shape_is_a_miss(tmp_path: Path, cache: Path, part: str) -> None:
    path = good(tmp_path / "bin")
    first = ask(tmp_path, path, cache=str(cache))
    kept = json.loads(entry(cache).read_text())
    kept["answer"][part] = {"odd": 3.5} if part != "properties" else [3]
    entry(cache).write_text(json.dumps(kept))
    assert ask(tmp_path, path, cache=str(cache)) == first


def test_errors_are_not_kept(tmp_path: Path, cache: Path) -> None:
    ask(tmp_path, program(tmp_path / "bin", "#!/bin/sh\nexit 1\n"), cache=str(cache))
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (qemu,) = ask(tmp_path, good(tmp_path / "bin"), cache=str(tmp_path / "file" / "cache"))
    assert qemu.error == ""
