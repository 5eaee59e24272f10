"""The private apt takes everything from the machine's own configuration, and says why when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_debian import ROW, fake_debian

from sequester.errors import HostError
from sequester.run import debian


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fake_debian(tmp_path / "machine", monkeypatch)


def archive(machine: Path) -> debian.Archive:
    return debian.machine_archive(machine / "os-release", machine / "no-keyring")


@pytest.mark.parametrize(
    "rows",
    [
        [ROW],
        ["http://mirror.invalid/debian-security/\tbookworm-security\tmain\tamd64", ROW],
        ["http://other.invalid/tools/\tnodistro\tmain\tamd64", ROW],
        ["http://mirror.invalid/debian/\tbookworm\tcontrib\tamd64", ROW],
    ],
    ids=["alone", "after-security", "after-a-stranger", "after-contrib"],
)
def test_the_archive_is_the_one_that_carries_the_machines_own_release(machine: Path, rows: list[str]) -> None:
    (machine / "sources").write_text("\n".join(rows) + "\n")
    found = archive(machine)
    assert (found.uri, found.codename, found.architecture) == (
        "http://mirror.invalid/debian",
        "bookworm",
        "amd64",
    )


def test_a_machine_without_a_debian_archive_is_told_what_to_add(machine: Path) -> None:
    (machine / "sources").write_text("http://other.invalid/tools/\tnodistro\tmain\tamd64\n")
    with pytest.raises(HostError, match=r"no Debian archive .*sources\.list"):
        archive(machine)


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="no apt-get"):
        debian.machine_archive()


def test_the_sources_of_a_private_state_name_the_suites_and_the_keyring(
    machine: Path, tmp_path: Path
) -> None:
    keyring = tmp_path / "keys.gpg"
    keyring.touch()
    found = debian.machine_archive(machine / "os-release", keyring)
    debian.open_state(tmp_path / "state", found, ["bookworm", "bookworm-backports"])
    lines = (tmp_path / "state" / "etc" / "sources.list").read_text().splitlines()
    assert lines == [
        f"deb [signed-by={keyring}] http://mirror.invalid/debian bookworm main",
        f"deb [signed-by={keyring}] http://mirror.invalid/debian bookworm-backports main",
    ]


def test_nothing_of_the_machines_own_apt_state_is_named_in_the_private_one(
    machine: Path, tmp_path: Path
) -> None:
    debian.open_state(tmp_path / "state", archive(machine), ["bookworm"])
    text = (tmp_path / "state" / "apt.conf").read_text()
    places = [line.split('"')[1] for line in text.splitlines() if line.startswith("Dir::")]
    allowed = (str(tmp_path / "state"), "/dev/null", "")
    assert [place for place in places if place and not place.startswith(allowed[:2])] == []


def test_an_epoch_in_a_version_is_read_from_and_written_to_file_names(machine: Path, tmp_path: Path) -> None:
    state = debian.open_state(tmp_path / "state", archive(machine), ["bookworm"])
    _, busybox = debian.resolve_alone(state, ["busybox-static"])
    assert busybox.version == "1:1.35.0-4"
    assert busybox.filename == "busybox-static_1%3a1.35.0-4_amd64.deb"


def test_what_is_already_fetched_is_still_part_of_the_plan(machine: Path, tmp_path: Path) -> None:
    state = debian.open_state(tmp_path / "state", archive(machine), ["bookworm"])
    debian.download_alone(state, ["busybox-static"])
    assert len(debian.download_alone(state, ["busybox-static"])) == 2
    plans = [line for line in (machine / "calls").read_text().splitlines() if "--print-uris" in line]
    assert all(f"Dir::Cache::archives={state.directory / 'plan'}/" in line for line in plans)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("E: Unable to locate package nonesuch", "Unable to locate package nonesuch"),
        ("W: GPG error: NO_PUBKEY 0E98404D386FA1D9", "debian-archive-keyring"),
        (
            "Err:1 x\n  Could not resolve 'mirror.invalid'\nE: Some index files failed",
            "check network and apt's proxy",
        ),
        (
            "E: The repository 'x forky Release' does not have a Release file.",
            "mirror does not carry this suite",
        ),
        ("", "no output"),
    ],
)
def test_a_failure_of_apt_is_one_line_with_its_cause(
    machine: Path, tmp_path: Path, said: str, expected: str
) -> None:
    (machine / "broken").write_text(said)
    with pytest.raises(HostError) as caught:
        debian.open_state(tmp_path / "state", archive(machine), ["forky"])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
