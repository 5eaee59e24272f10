"""The trees of real tools are built whole or not at all, and run by their own loader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tools"))

from realtools import main, manifest, tree  # noqa: E402
from realtools.suites import SUITES, Suite  # noqa: E402
from realtools.wrapper import IncompleteTreeError, library_directories, link_bundle, write_wrapper  # noqa: E402

LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A tree whose loader only prints how it was called."""
    root = tmp_path / "with space" / "forky"
    loader = root / LOADER
    loader.parent.mkdir(parents=True)
    loader.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    loader.chmod(0o755)
    return root


def test_a_wrapper_runs_the_program_through_the_trees_own_loader(unpacked: Path) -> None:
    wrapper = write_wrapper(
        unpacked.parent, unpacked, "usr/bin/qemu-system-x86_64", "qemu-system-x86_64-11.1.2"
    )
    done = subprocess.run([wrapper, "-M", "q35,a=b c"], capture_output=True, text=True, check=True)
    option, libraries, program, *arguments = done.stdout.splitlines()
    assert option == "--library-path"
    assert Path(libraries).resolve() == (unpacked / "usr/lib/x86_64-linux-gnu").resolve()
    assert Path(program).resolve() == (unpacked / "usr/bin/qemu-system-x86_64").resolve()
    assert arguments == ["-M", "q35,a=b c"]


def test_a_wrapper_still_works_after_the_whole_directory_was_moved(unpacked: Path, tmp_path: Path) -> None:
    write_wrapper(unpacked.parent, unpacked, "usr/bin/tool", "tool")
    unpacked.parent.rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [tmp_path / "elsewhere" / "bin" / "tool"], capture_output=True, text=True, check=True
    )
    assert "elsewhere" in done.stdout


def test_qemu_takes_modules_and_firmware_from_the_tree_and_never_from_the_host(unpacked: Path) -> None:
    link_bundle(unpacked)
    link_bundle(unpacked)
    assert (unpacked / LOADER).parent.joinpath("qemu-bundle").resolve() == unpacked.resolve()


def test_a_tree_without_a_loader_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "forky").mkdir()
    with pytest.raises(IncompleteTreeError, match="forky has no dynamic loader"):
        write_wrapper(tmp_path, tmp_path / "forky", "usr/bin/tool", "tool")


def test_libraries_in_a_directory_of_their_own_are_found(unpacked: Path) -> None:
    private = unpacked / "usr/lib/x86_64-linux-gnu/private"
    private.mkdir()
    assert library_directories(unpacked) == ["usr/lib/x86_64-linux-gnu"]
    (private / "libprivate.so.1").touch()
    assert library_directories(unpacked) == ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/private"]


def test_a_tree_is_built_again_when_its_packages_change(tmp_path: Path) -> None:
    suite = SUITES[-1]
    key = tree.request_key(suite, "amd64")
    (tmp_path / tree.STAMP).write_text(key + "\nqemu-system-x86 11.1\n")
    other = Suite(suite.name, suite.apt_suites, (*suite.packages, "one-more"))
    assert tree.is_built(tmp_path, key)
    assert not tree.is_built(tmp_path, tree.request_key(other, "amd64"))
    assert not tree.is_built(tmp_path / "nowhere", key)


def test_without_apt_the_reason_is_one_line_and_what_is_there_is_still_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(manifest, "SYSTEM", tmp_path)
    assert main.main(["--root", str(tmp_path / "real")]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "real-tools: no apt-get or dpkg-deb here (run this on Debian)",
        "real-tools: tests that need what is missing are skipped",
    ]
    listed = json.loads((tmp_path / "real" / "manifest.json").read_text())
    assert listed == {"version": 1, "qemu": [], "libvirt": None, "firmware": []}


def test_an_emulator_that_dies_is_left_out_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "system" / "qemu-system-x86_64"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(manifest, "SYSTEM", broken.parent)
    said: list[str] = []
    (tmp_path / "real").mkdir()
    assert manifest.write(tmp_path / "real", [], said.append)["qemu"] == []
    assert said == ["left out: qemu-system-x86_64: error while loading shared libraries"]
