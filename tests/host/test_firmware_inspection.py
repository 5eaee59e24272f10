"""Firmware files on the host: the real images that are installed, and files that are no such thing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sequester.host.firmware import FEATURES, inspect

PLACES = [
    Path(place)
    for place in (
        "/usr/share/ovmf",
        "/usr/share/OVMF",
        "/usr/share/AAVMF",
        "/usr/share/qemu-efi-aarch64",
        "/usr/share/edk2",
        *os.environ.get("SEQUESTER_FIRMWARE_DIRS", "").split(":"),
    )
    if place
]
IMAGES = sorted({path for place in PLACES if place.is_dir() for path in place.rglob("*.fd")})
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

images = pytest.mark.parametrize("path", IMAGES or [None], ids=lambda path: str(path))


def need(path: Path | None) -> Path:
    if path is None or not path.exists():
        pytest.skip(
            "no such firmware image here (Debian: ovmf, ovmf-amdsev, ovmf-inteltdx, qemu-efi-aarch64)"
        )
    return path


@images
def test_nothing_is_wrong_with_an_image_that_a_distribution_ships(path: Path | None) -> None:
    found = inspect(str(need(path)))
    assert found.error == ""
    assert found.size == need(path).stat().st_size
    assert found.features <= FEATURES.keys()


@images
def test_what_an_image_is_agrees_with_its_name(path: Path | None) -> None:
    name = need(path).name
    features = inspect(str(path)).features
    if "VARS" in name:
        assert features <= {"variables"}
    elif "CODE" in name:
        assert "code" in features
        assert "variables" not in features
        assert "tdx" not in features
    if name.startswith("OVMF") and "VARS" not in name:
        assert "sev-es" in features
    if name.startswith("AAVMF_CODE") or name == "QEMU_EFI.fd":
        assert features == {"code", "aarch64"}
    if "amdsev" in name:
        assert {"sev-es", "sev-secret", "sev-hashes", "sev-snp", "snp-hashes", "variables"} <= features
    if "inteltdx" in name:
        assert {"tdx", "variables"} <= features
        assert "sev-hashes" not in features


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("ovmf_AmdSev_suffix.bin", {"sev-es", "sev-secret", "sev-hashes", "sev-snp", "snp-hashes"}),
        ("ovmf_OvmfX64_suffix.bin", {"sev-es", "sev-snp"}),
    ],
)
def test_the_end_of_a_build_tells_what_the_build_can_do(name: str, features: set[str]) -> None:
    path = DATA / "measure" / name
    if not path.exists():
        pytest.skip("needs the third-party data beside the repository")
    assert inspect(str(path)).features == features


def test_a_real_secure_execution_header_is_known() -> None:
    path = DATA / "s390" / "secure_guest.hdr"
    if not path.exists():
        pytest.skip("needs the third-party data beside the repository")
    assert inspect(str(path)).features == {"secure-execution"}


def test_a_qcow2_image_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "CODE.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(1000))
    found = inspect(str(path))
    assert found.features == {"qcow2"}
    assert "cannot be a ROM" in found.error


@pytest.mark.parametrize("content", [b"", b"\0", b"QFI", b"hello", bytes(4096)])
def test_a_file_that_is_no_firmware_bears_nothing_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    found = inspect(str(path))
    assert (found.features, found.error, found.size) == (frozenset(), "", len(content))


def test_what_cannot_be_read_is_said_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert inspect(str(tmp_path / "fifo")).error == "not a regular file"
    assert inspect(str(tmp_path)).error == "not a regular file"
    assert inspect("/dev/zero").error == "not a regular file"
    assert inspect(str(tmp_path / "none")).error == "No such file or directory"
    assert inspect("").error == "No such file or directory"
    assert "null" in inspect("a\0b").error
    assert inspect("x" * 5000).error == "File name too long"


def test_a_huge_sparse_file_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.fd"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    found = inspect(str(path))
    assert (found.size, found.features, found.error) == (1 << 40, frozenset(), "")
