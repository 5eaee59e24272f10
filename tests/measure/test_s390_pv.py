"""Secure Execution images: their headers, and pages that are, or are not, what the headers say."""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path

import pytest
from measure_data import DATA

from sequester.errors import InputError
from sequester.measure.methods import s390_pv
from sequester.measure.pieces import Pieces
from sequester.measure.se_image import read_header
from sequester.platforms.registry import named

PAGE = 4096
HEADER_AT, FIRST = 0x14000, 0x16000
SIZES = (5, 1, 3, 2)


def header(
    pages: int, pld: bytes, ald: bytes, tld: bytes, keys: int = 2, flags: int = 0, version: int = 0x100
) -> bytes:
    encrypted = b"e" * 0x80
    slots = b"".join(bytes([number]) * 32 + b"w" * 48 for number in range(1, keys + 1))
    size = 0x1A0 + len(slots) + len(encrypted) + 16
    head = struct.pack(">8sII12s4xQQQQ", b"IBMSecEx", version, size, b"i" * 12, keys, 0x80, pages, flags)
    return head + b"k" * 160 + pld + ald + tld + slots + encrypted + b"T" * 16


def image(metadata: bool = True, **changes: int) -> bytes:
    """An image of four components, as pvimg lays it out; the digests by the description, a page at a time."""
    chance = random.Random(1)
    contents, addresses, tweaks, blocks = b"", b"", b"", b""
    at = FIRST
    for pages in SIZES:
        tweak = chance.getrandbits(64)
        blocks += struct.pack(">QQQ", tweak, at, pages * PAGE)
        for number in range(pages):
            contents += chance.randbytes(PAGE)
            addresses += struct.pack(">Q", at + number * PAGE)
            tweaks += struct.pack(">QQ", tweak, number * PAGE)
        at += pages * PAGE
    digests = (hashlib.sha512(each).digest() for each in (contents, addresses, tweaks))
    made = bytearray(FIRST)
    if metadata:
        made[0xC000:0xC01C] = struct.pack(">8sQIQ", b"SeImgLnx", HEADER_AT, 1, at)
    head = header(sum(SIZES), *digests, **changes)
    made[HEADER_AT : HEADER_AT + len(head)] = head
    ipl = struct.pack(">IBHB", 136 + len(blocks), 0, 0, 1)
    ipl += struct.pack(">IB3x8s84x3xB4xIQQ", 128 + len(blocks), 5, b"", 0, len(SIZES), HEADER_AT, len(head))
    return bytes(made) + contents + ipl + blocks


def values(path: Path) -> dict[str, bytes | None]:
    launch = s390_pv.launch(Pieces("s390-pv", kernel=str(path)))
    return {register.name: register.value for register in launch.measure().registers}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "guest.img"
    path.write_bytes(image())
    return path


def test_a_real_header_is_read_as_its_makers_read_it() -> None:
    path = DATA / "s390" / "secure_guest.hdr"
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/s390)")
    data = path.read_bytes()
    found = read_header(data)
    assert found.pages == 0xFC25
    assert len(found.host_keys) == 1
    assert found.host_keys[0] == data[0x1A0:0x1C0]
    assert (found.pld, found.ald, found.tld) == (data[0xE0:0x120], data[0x120:0x160], data[0x160:0x1A0])
    assert found.tag == data[-16:]
    assert found.flag_names == ()


def test_an_image_whose_pages_are_those_of_its_header_is_measured(whole: Path) -> None:
    found = values(whole)
    assert found["tag"] == b"T" * 16
    assert found["host-key-0"] == b"\1" * 32
    assert found["host-key-1"] == b"\2" * 32
    launch = s390_pv.launch(Pieces("s390-pv", kernel=str(whole)))
    steps = list(launch.contributions())
    assert [step.size // PAGE for step in steps] == list(SIZES)
    assert steps[-1].running == found["PLD"]
    assert not launch.measure().notes


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (FIRST, "contents (PLD)"),
        (FIRST + sum(SIZES) * PAGE - 1, "contents (PLD)"),
        (FIRST + sum(SIZES) * PAGE + 136 + 7, "tweaks (TLD)"),
        (HEADER_AT + 0xE0, "contents (PLD)"),
        (HEADER_AT + 0x120, "addresses (ALD)"),
        (HEADER_AT + 0x37, "number of pages"),
    ],
)
def test_one_changed_byte_is_found_and_named(whole: Path, at: int, said: str) -> None:
    damaged = bytearray(whole.read_bytes())
    damaged[at] ^= 1
    whole.write_bytes(damaged)
    with pytest.raises(InputError) as error:
        values(whole)
    assert said in error.value.what
    assert error.value.where == str(whole)


def test_an_image_that_does_not_say_where_its_components_are_is_measured_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "old.img"
    path.write_bytes(image(metadata=False))
    measurement = s390_pv.launch(Pieces("s390-pv", kernel=str(path))).measure()
    assert measurement.digest == b"T" * 16
    assert "not held against" in measurement.notes[0]


def test_what_the_host_may_do_with_the_guest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "dump.img"
    path.write_bytes(image(flags=1 << 63 - 34 | 1 << 63 - 57))
    notes = s390_pv.launch(Pieces("s390-pv", kernel=str(path), append="quiet")).measure().notes
    assert "not QEMU's" in notes[0]
    assert "dumps allowed, PCKMO with AES" in notes[1]


def test_a_seen_value_is_found_in_this_image_or_another(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(image(keys=1).replace(b"T" * 16, b"U" * 16))
    pieces = Pieces("s390-pv", kernel=str(whole))
    for digest, said in (
        (b"T" * 16, ()),
        (b"\2" * 32, ("it is host-key-1",)),
        (b"U" * 16, (f"image {other}",)),
    ):
        found = s390_pv.find(digest, pieces, (str(tmp_path / "absent"), str(other)))
        assert found is not None
        assert found.differences == said
    assert s390_pv.find(b"V" * 16, pieces, ()) is None


def ipl(data: bytes, offset: int, form: str, *fields: int) -> bytes:
    made = bytearray(data)
    struct.pack_into(form, made, FIRST + sum(SIZES) * PAGE + offset, *fields)
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no Secure Execution image"),
        (bytes(0x20000), "no Secure Execution image"),
        (image(version=0x200), "no Secure Execution header of version"),
        (ipl(image(), 8 + 4, ">B", 0), "of type 0"),
        (ipl(image(), 8 + 0x6C, ">I", 0), "claims 0 components"),
        (ipl(image(), 8 + 0x6C, ">I", 0xFFFFFFFF), "claims 4294967295"),
        (ipl(image(), 136 + 8, ">Q", 0x16001), "component 0 would be"),
        (ipl(image(), 136 + 16, ">Q", 1 << 62), "component 0 would be"),
        (ipl(image(), 136 + 32, ">Q", FIRST), "before the last one ends"),
        (image()[: -(len(SIZES) * 24 + 10)], "outside the image"),
    ],
)
def test_images_that_lie_are_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.img"
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        values(path)
    assert said in error.value.what
    assert error.value.where == str(path)


def test_a_header_whose_parts_do_not_add_up_is_refused() -> None:
    good = header(1, *(bytes(64),) * 3)
    for at, value in ((0x20, 1 << 60), (0x28, 1 << 60), (0x20, 3)):
        bad = bytearray(good)
        struct.pack_into(">Q", bad, at, value)
        with pytest.raises(InputError, match="cannot have"):
            read_header(bytes(bad))
    with pytest.raises(InputError, match="cannot have"):
        read_header(good[:-1])
    with pytest.raises(InputError, match="at least"):
        read_header(good[:100])


def test_trustee_has_a_name_for_every_register_that_it_checks(whole: Path) -> None:
    assert {s390_pv.TRUSTEE_NAMES.get(name) for name in values(whole)} == {"se.tag", "se.image_phkh", None}
    assert named("s390-pv").measurement == s390_pv.__name__


def test_what_is_no_image_file_is_refused() -> None:
    for path, said in (
        ("", "no Secure Execution image is named"),
        ("/absent", "cannot be read"),
        ("/dev/zero", "no regular"),
    ):
        with pytest.raises(InputError, match=said):
            s390_pv.launch(Pieces("s390-pv", kernel=path))
