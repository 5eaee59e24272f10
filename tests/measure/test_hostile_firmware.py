"""Firmware that is truncated, lies or is made to cost much: one clear error, and little time and memory."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ovmf_images import RESET, SECTIONS, image

from sequester.errors import InputError
from sequester.measure.boot import Boot
from sequester.measure.files import LARGEST_IMAGE, file_digest, read_image
from sequester.measure.ovmf import MOST_SECTIONS, read_ovmf
from sequester.measure.sev import MOST_VCPUS, SevLaunch
from sequester.measure.sev_snp import SnpLaunch, image_digest
from sequester.measure.svsm import SvsmLaunch

BOOT = Boot(bytes(32))


def snp(data: bytes, boot: Boot | None = None) -> bytes:
    return SnpLaunch(read_ovmf(data, "bad.fd"), 2, boot=boot).measure().digest


def fault(data: bytes) -> InputError | None:
    try:
        snp(data, BOOT)
    except InputError as error:
        return error
    return None


def refused(data: bytes, what: str, boot: Boot | None = None) -> None:
    with pytest.raises(InputError) as error:
        snp(data, boot)
    assert error.value.where == "bad.fd"
    assert what in error.value.what
    assert "\n" not in str(error.value)


def test_an_empty_image_is_refused() -> None:
    refused(b"", "empty")


def test_an_image_without_a_table_is_refused() -> None:
    refused(bytes(0x4000), "no table of GUIDs")


def test_an_image_that_is_no_whole_number_of_pages_is_refused_for_snp() -> None:
    refused(b"\xff" * 100 + image(), "no whole number of pages")


def test_it_is_measured_for_plain_sev_which_has_no_pages() -> None:
    assert len(SevLaunch(read_ovmf(b"\xff" * 100 + image())).measure().digest) == 32


def test_a_missing_reset_vector_is_refused_where_vcpus_need_one() -> None:
    refused(image(reset=None), "further vCPUs")
    refused(image(reset=0), "further vCPUs")
    with pytest.raises(InputError, match="further vCPUs"):
        SevLaunch(read_ovmf(image(reset=0)), es=True)
    assert SevLaunch(read_ovmf(image(reset=0))).measure().digest


def test_a_kernel_is_refused_where_the_firmware_would_not_check_it() -> None:
    for hashes in (None, (0, 0), (0x810C00, 175)):
        refused(image(hashes=hashes), "kernel hashes", BOOT)
        with pytest.raises(InputError, match="kernel hashes"):
            SevLaunch(read_ovmf(image(hashes=hashes)), boot=BOOT)
    refused(image(SECTIONS[:-1]), "no section for kernel hashes", BOOT)
    assert snp(image(SECTIONS[:-1]))


def test_a_hash_table_that_runs_over_its_section_is_refused() -> None:
    refused(image(hashes=(0x810FF0, 0x400)), "does not hold a table", BOOT)


def test_metadata_that_costs_much_is_refused_before_it_costs_anything() -> None:
    many = [(0x1000 * number, 0x1000, 1) for number in range(MOST_SECTIONS + 1)]
    refused(image(many, size=0x8000), "more memory")
    refused(image([(0, 0xFFFFF000, 1)]), "more memory")
    refused(image([(0x1000, 0x3FFFF000, 1), (0x80000000, 0x2000, 1)]), "more memory")


def test_memory_that_is_described_twice_is_refused() -> None:
    refused(image([(0x800000, 0x3000, 1), (0x802000, 0x1000, 2)]), "twice")
    refused(image([(0x800000, 0x1000, 1), (0x800000, 0x1000, 1)]), "twice")


def test_memory_off_page_boundaries_is_refused() -> None:
    refused(image([(0x800800, 0x1000, 1)]), "no whole pages")
    refused(image([(0x800000, 0x800, 1)]), "no whole pages")


def test_an_unknown_kind_of_section_is_a_zero_page_for_qemu_and_unknown_elsewhere() -> None:
    known, unknown = image([(0x800000, 0x1000, 1)]), image([(0x800000, 0x1000, 0x77)])
    seed = bytes(48)
    assert (
        SnpLaunch(read_ovmf(unknown), seed=seed).measure().digest
        == SnpLaunch(read_ovmf(known), seed=seed).measure().digest
    )
    with pytest.raises(InputError, match="0x77 is not known"):
        SnpLaunch(read_ovmf(unknown), monitor="gce").measure()


def test_empty_sections_add_nothing_and_are_told_of() -> None:
    with_empty = SnpLaunch(read_ovmf(image([(0x800000, 0x1000, 1), (0, 0, 4)])), seed=bytes(48)).measure()
    without = SnpLaunch(read_ovmf(image([(0x800000, 0x1000, 1)])), seed=bytes(48)).measure()
    assert with_empty.digest == without.digest
    assert "SVSM_CAA" in with_empty.notes[0]
    assert not without.notes


def test_an_image_that_is_no_svsm_is_refused_as_one() -> None:
    firmware = read_ovmf(image())
    with pytest.raises(InputError, match="no SVSM"):
        SvsmLaunch(firmware, read_ovmf(image(), end=firmware.address)).measure()


@pytest.mark.parametrize("vcpus", [0, -1, MOST_VCPUS + 1])
def test_numbers_that_no_guest_has_are_refused(vcpus: int) -> None:
    ovmf = read_ovmf(image())
    with pytest.raises(InputError, match="vCPUs"):
        SnpLaunch(ovmf, vcpus)
    with pytest.raises(InputError, match="signature"):
        SnpLaunch(ovmf, signature=1 << 32)
    with pytest.raises(InputError, match="features"):
        SnpLaunch(ovmf, features=1 << 64)
    with pytest.raises(InputError, match="48 bytes"):
        SnpLaunch(ovmf, seed=bytes(32))


WHOLE = image(size=0x1000)
TABLE = len(WHOLE) - 0x20 - 18


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_mutated_image_is_measured_or_refused_in_one_line(data: st.DataObject) -> None:
    mutated = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(len(WHOLE) - 400, len(WHOLE) - 1))
        mutated[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from((0, 0, 0, 1, 0x800, 0xF00)))
    said = fault(bytes(mutated[cut:]))
    assert said is None or (said.where == "bad.fd" and "\n" not in str(said))


def test_a_table_that_claims_more_than_the_image_is_refused() -> None:
    lying = bytearray(WHOLE)
    lying[TABLE : TABLE + 2] = struct.pack("<H", 0xFFFF)
    refused(bytes(lying), "claims 65535 bytes")


def test_metadata_outside_the_image_is_refused() -> None:
    refused(_with_distance(0xFFFFFF00), "outside the image")


def _with_distance(distance: int) -> bytes:
    made = bytearray(image())
    at = made.index(struct.pack("<I", RESET)) + 4 + 18
    made[at : at + 4] = struct.pack("<I", distance)
    return bytes(made)


def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path) -> None:
    huge = tmp_path / "huge.fd"
    with huge.open("wb") as file:
        file.truncate(LARGEST_IMAGE + 1)
    for path, what in (
        (tmp_path / "absent.fd", "cannot be read"),
        (tmp_path, "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (huge, "too large"),
    ):
        with pytest.raises(InputError, match=what) as error:
            read_image(str(path))
        assert error.value.where == str(path)


def test_kernels_that_never_end_are_refused(tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "absent"), "nul\0byte"):
        with pytest.raises(InputError) as error:
            file_digest(path)
        assert error.value.where == path


def test_a_firmware_digest_of_a_page_is_not_that_of_the_page_twice() -> None:
    one = read_ovmf(image(fill=b"\xff", size=0x2000))
    two = read_ovmf(image(fill=b"\xff", size=0x3000))
    assert image_digest(one) != image_digest(two)
