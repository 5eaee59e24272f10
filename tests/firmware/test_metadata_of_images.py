"""The parsers of image metadata, on images made here: right ones, truncated ones, lying ones, mutated ones."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.firmware import (
    Area,
    ImageBytes,
    find_header,
    footer,
    read_footer,
    read_platforms,
    read_sev_metadata,
    read_tdvf,
    read_volumes,
    sev,
    tdvf,
)
from sequester.host.firmware import examine


def entry(guid: str, data: bytes) -> bytes:
    return data + struct.pack("<H", len(data) + 18) + uuid.UUID(guid).bytes_le


def table(*entries: bytes) -> bytes:
    """A GUID table with its footer and the reset code behind it."""
    body = b"".join(entries)
    return body + struct.pack("<H", len(body) + 18) + uuid.UUID(footer.FOOTER).bytes_le + bytes(0x20)


def sev_metadata(*sections: tuple[int, int, int]) -> bytes:
    body = b"".join(struct.pack("<III", *section) for section in sections)
    return b"ASEV" + struct.pack("<III", 16 + len(body), 1, len(sections)) + body


def tdx_metadata(*sections: tuple[int, int, int, int, int, int]) -> bytes:
    body = b"".join(struct.pack("<IIQQII", *section) for section in sections)
    return b"TDVF" + struct.pack("<III", 16 + len(body), 1, len(sections)) + body


def volume(guid: str, size: int) -> bytes:
    head = bytearray(
        struct.pack("<16s16sQ4sIHHHBB", b"", uuid.UUID(guid).bytes_le, size, b"_FVH", 0, 56, 0, 0, 0, 2)
    )
    total = sum(struct.unpack("<28H", head)) & 0xFFFF
    head[50:52] = struct.pack("<H", -total & 0xFFFF)
    return bytes(head) + bytes(size - len(head))


CODE = "8c8ce578-8a3d-4f1c-9935-896185c32dd3"
VARIABLES = "fff12b8d-7696-4c8b-a985-2747075b4f50"
SNP_SECTIONS = ((0x800000, 0x9000, 1), (0x80D000, 0x1000, 2), (0x80E000, 0x1000, 3), (0x810000, 0x1000, 0x10))
TDX_SECTIONS = ((0x1000, 0x2000, 0xFFFE0000, 0x2000, 0, 1), (0, 0, 0x809000, 0x2000, 2, 0))


def ovmf(snp: bytes = b"", tdx: bytes = b"", variables: bool = True) -> bytes:
    """An image laid out as OVMF's: a store of variables, code, then metadata and the GUID table."""
    snp = snp or sev_metadata(*SNP_SECTIONS)
    tdx = tdx or tdx_metadata(*TDX_SECTIONS)

    def tail(snp_distance: int, tdx_distance: int) -> bytes:
        return table(
            entry(footer.TDX_METADATA, struct.pack("<I", tdx_distance)),
            entry(footer.SEV_METADATA, struct.pack("<I", snp_distance)),
            entry(footer.SEV_HASHES, struct.pack("<II", 0x810C00, 0x400)),
            entry(footer.SEV_SECRET, struct.pack("<II", 0x810000, 0xC00)),
            entry(footer.SEV_ES_RESET, struct.pack("<I", 0x80B004)),
        )

    after = len(tail(0, 0))
    end = snp + tdx + tail(after + len(tdx) + len(snp), after + len(tdx))
    start = (volume(VARIABLES, 0x1000) if variables else b"") + volume(CODE, 0x1000)
    return start + bytes(0x1000 - len(end)) + end


def test_the_table_of_an_image_is_read_with_every_entry_in_its_place() -> None:
    data = ovmf()
    found = read_footer(ImageBytes(data))
    assert found is not None
    assert found.fault == ""
    assert [each.name for each in found.entries] == [
        "SEV-ES reset block",
        "SEV secret block",
        "SEV hash table block",
        "SEV metadata offset",
        "TDX metadata offset",
    ]
    assert found.secret == Area(0x810000, 0xC00)
    assert found.hashes == Area(0x810C00, 0x400)
    assert found.sev_es_reset == 0x80B004
    for each in found.entries:
        assert data[each.offset : each.offset + len(each.data)] == each.data


def test_metadata_is_found_by_its_distance_from_the_end() -> None:
    image = ImageBytes(ovmf())
    found = read_footer(image)
    assert found is not None
    assert found.sev_metadata is not None
    assert found.tdx_metadata is not None
    snp = read_sev_metadata(image, found.sev_metadata)
    assert [section.name for section in snp.sections] == [
        "SNP_SEC_MEM",
        "SNP_SECRETS",
        "CPUID",
        "SNP_KERNEL_HASHES",
    ]
    assert snp.has(sev.CPUID)
    layout = read_tdvf(image, found.tdx_metadata)
    assert [(section.name, section.measured) for section in layout.sections] == [
        ("BFV", True),
        ("TD_HOB", False),
    ]
    assert layout.outside(image.size) == ()
    assert layout.outside(0x2FFF) == layout.sections[:1]


def test_of_two_entries_with_one_guid_the_one_nearest_the_end_counts() -> None:
    data = table(entry(footer.SEV_ES_RESET, bytes(4)), entry(footer.SEV_ES_RESET, b"\1\0\0\0"))
    found = read_footer(ImageBytes(data))
    assert found is not None
    assert found.sev_es_reset == 1


@pytest.mark.parametrize("data", [b"", b"\xff" * 48, bytes(0x1000), b"\0" * 49])
def test_an_image_without_a_table_has_none(data: bytes) -> None:
    assert read_footer(ImageBytes(data)) is None


@pytest.mark.parametrize("length", [0, 17, 0xFFFF])
def test_a_table_of_impossible_length_is_an_error(length: int) -> None:
    data = bytearray(bytes(100) + table())
    data[-0x32:-0x30] = struct.pack("<H", length)
    with pytest.raises(InputError, match=f"claims {length} bytes"):
        read_footer(ImageBytes(bytes(data)))


@pytest.mark.parametrize("length", [0, 17, 23, 0xFFFF])
def test_entries_before_a_wrong_one_count_and_it_is_named(length: int) -> None:
    wrong = bytearray(entry(footer.TDX_METADATA, bytes(4)))
    wrong[4:6] = struct.pack("<H", length)
    found = read_footer(ImageBytes(table(bytes(wrong), entry(footer.SEV_ES_RESET, bytes(4)))))
    assert found is not None
    assert [each.guid for each in found.entries] == [footer.SEV_ES_RESET]
    assert f"({footer.TDX_METADATA}) claims {length} bytes of 22" in found.fault


def test_stray_bytes_in_the_table_are_a_fault() -> None:
    found = read_footer(ImageBytes(table(b"abc", entry(footer.SEV_ES_RESET, bytes(4)))))
    assert found is not None
    assert found.sev_es_reset == 0
    assert found.fault == "3 stray bytes before the first entry of the GUID table"


def test_an_entry_that_is_too_short_for_its_meaning_is_an_error() -> None:
    found = read_footer(ImageBytes(table(entry(footer.SEV_SECRET, bytes(7)))))
    assert found is not None
    with pytest.raises(InputError, match="SEV secret block has 7 bytes of data, 8 are needed"):
        _ = found.secret


@pytest.mark.parametrize(
    ("data", "distance", "message"),
    [
        (sev_metadata(), 17, "outside the image"),
        (sev_metadata(), 15, "outside the image"),
        (sev_metadata(), 1 << 32, "outside the image"),
        (b"XSEV" + sev_metadata()[4:], 16, "there is no SEV metadata"),
        (b"ASEV" + struct.pack("<III", 17, 1, 0), 16, "claims 17 bytes"),
        (b"ASEV" + struct.pack("<III", 15, 1, 0), 16, "claims 15 bytes"),
        (b"ASEV" + struct.pack("<III", 16, 1, 1), 16, "claims 1 sections in 16 bytes"),
        (b"ASEV" + struct.pack("<III", 16, 1, 0xFFFFFFFF), 16, "claims 4294967295 sections"),
    ],
)
def test_wrong_sev_metadata_is_an_error_that_says_what(data: bytes, distance: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sev_metadata(ImageBytes(data), distance)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ((0, 0x2000, 0, 0x1000, 0, 0), "0x2000 bytes for 0x1000 of memory"),
        ((0, 1, 1, 0x1000, 0, 0), "not page aligned"),
        ((0, 1, 0, 0x1001, 0, 0), "not page aligned"),
        ((0, 0, 0, 0x1000, 1, 0), r"\(CFV\) of the TDX metadata has no contents"),
        ((0, 1, 0, 0x1000, 3, 0), "may have none"),
        ((0, 0, 0, 0x1000, 4, 0), r"section 1 \(PermMem\) .* does not take"),
        ((0, 0, 0, 0x1000, 99, 0), r"section 1 \(99\) .* does not take"),
    ],
)
def test_a_tdx_section_that_qemu_refuses_is_an_error(
    section: tuple[int, int, int, int, int, int], message: str
) -> None:
    data = tdx_metadata(TDX_SECTIONS[0], section)
    with pytest.raises(InputError, match=message):
        read_tdvf(ImageBytes(data), len(data))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (struct.pack("<III", 80, 2, 2), "version 2, not 1"),
        (struct.pack("<III", 48, 1, 1), "claims 1 sections"),
        (struct.pack("<III", 81, 1, 2), "claims 2 sections in 81 bytes"),
        (struct.pack("<III", 0xFFFFFFF0, 1, 0x7FFFFFF), "outside the image"),
        (struct.pack("<III", 16 + 32 * 0xFFFF, 1, 0xFFFF), "outside the image"),
    ],
)
def test_a_tdx_head_that_cannot_be_is_an_error(head: bytes, message: str) -> None:
    data = b"TDVF" + head + bytes(64)
    with pytest.raises(InputError, match=message):
        read_tdvf(ImageBytes(data), len(data))


def test_volumes_follow_each_other_and_what_is_not_one_ends_them() -> None:
    found = read_volumes(ImageBytes(volume(VARIABLES, 0x400) + volume(CODE, 0x800) + b"\xff" * 100))
    assert [(each.offset, each.size, each.variables, each.code) for each in found] == [
        (0, 0x400, True, False),
        (0x400, 0x800, False, True),
    ]


def test_a_volume_larger_than_its_image_is_an_error() -> None:
    with pytest.raises(InputError, match="claims 0x400 bytes, the image ends at 0x200"):
        read_volumes(ImageBytes(volume(CODE, 0x400)[:0x200]))


def test_a_header_whose_checksum_is_wrong_is_no_volume() -> None:
    data = bytearray(volume(CODE, 0x400))
    data[44] ^= 1
    assert read_volumes(ImageBytes(bytes(data))) == ()


@pytest.mark.parametrize("place", [0, 0x14000])
def test_a_secure_execution_header_is_found_at_the_start_of_a_page(place: int) -> None:
    data = bytes(place) + b"IBMSecEx" + struct.pack(">II", 0x100, 0x280) + bytes(0x280)
    assert find_header(ImageBytes(data)) == place
    assert find_header(ImageBytes(b"\0" + data)) is None
    assert find_header(ImageBytes(data[:-0x20])) is None


def test_a_secure_execution_header_is_found_where_the_image_metadata_says() -> None:
    header = b"IBMSecEx" + struct.pack(">II", 0x100, 0x280) + bytes(0x270)
    start = bytearray(0x20000)
    start[0xC000:0xC014] = b"SeImgLnx" + struct.pack(">QI", 0x20000, 1)
    assert find_header(ImageBytes(bytes(start) + header)) == 0x20000
    start[0xC008:0xC010] = b"\xff" * 8
    assert find_header(ImageBytes(bytes(start) + header)) is None


def igvm(*headers: bytes) -> bytes:
    body = b"".join(headers)
    return struct.pack("<4sIIIII", b"IGVM", 1, 24, len(body), 24 + len(body), 0) + body


def platform(number: int) -> bytes:
    return struct.pack("<IIIBBHQ", 1, 16, 1, 0, number, 1, 0)


def test_an_igvm_file_names_its_platforms() -> None:
    data = igvm(platform(0), platform(2), platform(77), struct.pack("<II", 0x101, 0), platform(3))
    assert read_platforms(ImageBytes(data)) == {"native", "sev-snp", "77"}


@pytest.mark.parametrize(
    "data", [b"IGVM", igvm()[:4] + bytes(20), igvm(platform(1)[:-1]), igvm(struct.pack("<II", 1, 0xFFFFFFFF))]
)
def test_a_broken_igvm_file_is_an_error(data: bytes) -> None:
    with pytest.raises(InputError):
        read_platforms(ImageBytes(data))


@dataclass
class Counting:
    """An image that counts what is read of it."""

    data: bytes
    reads: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length <= 1 << 20
        self.reads.append(length)
        return self.data[offset : offset + length]


WHOLE = ovmf()
IGVM_FILE = igvm(platform(2), struct.pack("<II", 0x101, 0))


def test_an_image_with_everything_bears_out_everything_but_is_hardly_read() -> None:
    image = Counting(WHOLE)
    features, faults = examine(image)
    assert faults == ()
    assert features == {
        "code",
        "variables",
        "sev-es",
        "sev-secret",
        "sev-hashes",
        "sev-snp",
        "snp-hashes",
        "tdx",
    }
    assert sum(image.reads) < 1500


def test_the_code_half_of_an_image_is_no_tdvf_and_nothing_is_wrong_with_it() -> None:
    features, faults = examine(ImageBytes(ovmf(variables=False)))
    assert "variables" not in features
    assert "tdx" not in features
    assert faults == ()


def test_areas_of_size_zero_do_not_count() -> None:
    empty = struct.pack("<II", 0, 0)
    data = table(entry(footer.SEV_SECRET, empty), entry(footer.SEV_HASHES, empty))
    assert examine(ImageBytes(data)) == (frozenset(), ())
    small = struct.pack("<II", 0x1000, footer.HASH_TABLE_SIZE - 1)
    assert examine(ImageBytes(table(entry(footer.SEV_HASHES, small)))) == (frozenset(), ())


def test_one_wrong_structure_leaves_the_others_standing() -> None:
    features, faults = examine(ImageBytes(ovmf(tdx=b"TDVG" + tdx_metadata(*TDX_SECTIONS)[4:])))
    assert "sev-snp" in features
    assert "tdx" not in features
    assert len(faults) == 1
    assert "TDX metadata" in faults[0]


mutations = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12)


@given(st.sampled_from([WHOLE, WHOLE[-0x200:], IGVM_FILE]), mutations, st.integers(0, 0x300))
def test_no_mutation_of_an_image_does_more_than_cost_it_features(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    mutated = bytearray(data[: len(data) - cut] if cut < len(data) else b"")
    for place, value in changes:
        if mutated:
            mutated[-1 - place % len(mutated)] = value
    image = Counting(bytes(mutated))
    _features, faults = examine(image)
    assert all(fault and "\n" not in fault and len(fault) < 200 for fault in faults)
    assert len(image.reads) < 200
    assert sum(image.reads) < 300_000


@given(st.data())
def test_a_mutated_metadata_area_is_read_within_bounds(data: st.DataObject) -> None:
    start = WHOLE.rindex(b"ASEV")
    tail = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        tail[data.draw(st.integers(start, len(tail) - 1))] = data.draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])
        )
    image = Counting(bytes(tail))
    features, _faults = examine(image)
    assert {"code", "variables"} <= features
    assert sum(image.reads) < 300_000


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_never_taken_for_metadata(data: bytes) -> None:
    features, _faults = examine(ImageBytes(data))
    assert not features & {"sev-es", "sev-snp", "tdx", "code", "variables"}


def test_the_types_that_qemu_takes_are_those_with_names() -> None:
    assert set(tdvf.SECTION_TYPES) >= tdvf.KNOWN_TO_QEMU >= tdvf.COPIED
