"""`sequester image` as its user meets it: made for machines that IBM vouches for, and measured by `measure`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))

from se_parts import STAND_IN, kernel


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sequester", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


@pytest.fixture
def parts(tmp_path: Path) -> list[object]:
    (tmp_path / "vmlinuz").write_bytes(kernel())
    (tmp_path / "stage3a.bin").write_bytes(STAND_IN.first)
    (tmp_path / "stage3b_reloc.bin").write_bytes(STAND_IN.second)
    return ["--kernel", tmp_path / "vmlinuz", "--boot-code", tmp_path, "-o", tmp_path / "guest.img"]


def trusted(papers: Path) -> list[object]:
    return [
        *("--host-key", papers / "host-key.pem", "--root", papers / "root.pem"),
        *("--cert", papers / "signing-key.pem"),
        *("--crl", papers / "root-crl.der", "--crl", papers / "signing-crl.der"),
    ]


def test_an_image_for_a_machine_that_ibm_vouches_for_is_made_and_measured(
    papers: Path, parts: list[object], tmp_path: Path
) -> None:
    (tmp_path / "cmdline").write_text("root=/dev/vda1 quiet\n")
    done = run("image", "s390-pv", *trusted(papers), *parts, "--append-file", tmp_path / "cmdline", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    measured = run("measure", "--type", "s390-pv", "--kernel", tmp_path / "guest.img", "--json")
    assert json.loads(measured.stdout)["registers"] == said["registers"]
    explained = run("measure", "--type", "s390-pv", "--kernel", tmp_path / "guest.img", "--explain")
    assert [part for part in ("kernel", "command line", "boot loader") if part in explained.stdout] == [
        "kernel",
        "command line",
        "boot loader",
    ]
    assert "initrd" not in explained.stdout
    assert "quiet" not in (tmp_path / "guest.img").read_bytes().decode("latin-1")


def test_without_a_chain_nothing_is_made_unless_that_is_said_and_then_it_is_said_back(
    papers: Path, parts: list[object], tmp_path: Path
) -> None:
    key = ("--host-key", papers / "host-key.pem")
    refused = run("image", "s390-pv", *key, *parts)
    assert refused.returncode == 2
    assert "whom to trust" in refused.stderr
    assert not (tmp_path / "guest.img").exists()
    done = run("image", "s390-pv", *key, *parts, "--no-verify")
    assert done.returncode == 0
    assert "NOT verified" in done.stderr
    both = run("image", "s390-pv", *trusted(papers), *parts, "--no-verify")
    assert both.returncode == 2
    assert "contradict" in both.stderr


@pytest.mark.parametrize(("left_out", "said"), [("--crl", "revocation list"), ("--cert", "whom to trust")])
def test_an_incomplete_chain_is_refused_and_leaves_no_file(
    papers: Path, parts: list[object], tmp_path: Path, left_out: str, said: str
) -> None:
    words = trusted(papers)
    pairs = [pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0] != left_out]
    done = run("image", "s390-pv", *(word for pair in pairs for word in pair), *parts)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage3a.bin", "stage3b_reloc.bin", "vmlinuz"]


def test_a_refused_image_leaves_the_old_one_in_place(
    papers: Path, parts: list[object], tmp_path: Path
) -> None:
    (tmp_path / "guest.img").write_bytes(b"old")
    (tmp_path / "vmlinuz").write_bytes(b"no kernel")
    done = run("image", "s390-pv", *trusted(papers), *parts)
    assert done.returncode == 2
    assert "no Linux kernel for s390x" in done.stderr
    assert (tmp_path / "guest.img").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 4


def test_keys_of_the_owner_have_their_size_and_do_not_show(
    papers: Path, parts: list[object], tmp_path: Path
) -> None:
    key = tmp_path / "header.key"
    key.write_bytes(b"S" * 31)
    refused = run("image", "s390-pv", *trusted(papers), *parts, "--header-key", key)
    assert refused.returncode == 2
    assert "32 bytes" in refused.stderr
    key.write_bytes(b"S" * 32)
    done = run(
        "image", "s390-pv", *trusted(papers), *parts, "--header-key", key, "--comm-key", key, "--enable-dump"
    )
    assert done.returncode == 0
    assert b"S" * 32 not in (tmp_path / "guest.img").read_bytes()
    measured = run("measure", "--type", "s390-pv", "--kernel", tmp_path / "guest.img")
    assert "dumps allowed" in measured.stderr
