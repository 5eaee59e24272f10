"""The guest image is made once, kept, and made again when it has to be."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from fake_debian import fake_debian, fake_tree

from sequester.errors import HostError, InputError
from sequester.run import image


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = fake_debian(tmp_path / "machine", monkeypatch)
    fake_tree(folder)
    return folder


def ensure(cache: Path) -> tuple[image.GuestImage, list[str]]:
    said: list[str] = []
    return image.ensure_image("x86_64", cache, said.append), said


def test_an_image_has_the_kernel_and_an_initramfs_with_the_drivers(machine: Path, tmp_path: Path) -> None:
    made, _ = ensure(tmp_path / "cache")
    initramfs = gzip.decompress(made.initrd.read_bytes())
    assert made.kernel.read_bytes() == b"kernel"
    assert made.release == "6.1.0-1-cloud-amd64"
    for name in (b"init\0", b"dev/console\0", b"modules/virtio_blk.ko\0", b"modules/virtio-0x0002.order\0"):
        assert name in initramfs


def test_the_second_time_neither_apt_nor_the_network_is_asked(machine: Path, tmp_path: Path) -> None:
    first, said = ensure(tmp_path / "cache")
    assert len(said) == 3
    calls = (machine / "calls").read_text()
    second, said = ensure(tmp_path / "cache")
    assert (second, said) == (first, [])
    assert (machine / "calls").read_text() == calls


def test_another_init_script_makes_another_image(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = ensure(tmp_path / "cache")
    monkeypatch.setattr(image, "recipe", lambda: b"another")
    second, said = ensure(tmp_path / "cache")
    assert second.initrd != first.initrd
    assert said


def test_a_damaged_image_is_made_again(machine: Path, tmp_path: Path) -> None:
    first, _ = ensure(tmp_path / "cache")
    first.initrd.unlink()
    second, said = ensure(tmp_path / "cache")
    assert second.initrd.exists()
    assert said


def test_an_interrupted_making_leaves_no_image_behind(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image, "initramfs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ensure(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("image.json"))
    made, _ = ensure(tmp_path / "cache")
    assert made.kernel.exists()


def test_a_target_without_a_guest_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no guest image for m68k .*x86_64"):
        image.ensure_image("m68k", tmp_path, print)


def test_a_cache_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot keep a guest image in .*file.*XDG_CACHE_HOME"):
        image.ensure_image("x86_64", tmp_path / "file", print)


def test_the_cache_is_where_xdg_says_and_a_relative_path_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert image.default_cache() == Path("/elsewhere/sequester")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert image.default_cache() == Path("/home/somebody/.cache/sequester")


def test_a_disk_has_its_marker_in_the_first_the_middle_and_the_last_sector(tmp_path: Path) -> None:
    image.write_disk(tmp_path / "disk", 1024 * 1024 + 100)
    data = (tmp_path / "disk").read_bytes()
    sectors = [data[start : start + 512] for start in range(0, len(data), 512)]
    marked = [number for number, sector in enumerate(sectors) if sector.startswith(image.MARKER)]
    assert marked == [0, 1024, 2047]
    assert os.stat(tmp_path / "disk").st_blocks * 512 < len(data)
