"""Launches from IGVM files: each directive as SNP and TDX measure it, and files that lie."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from sequester.errors import InputError
from sequester.measure import mrtd, snp_pages, vmsa
from sequester.measure.igvm import MOST_BYTES, SNP, TDX, SnpIgvmLaunch, TdxIgvmLaunch, read_igvm
from sequester.measure.methods import method
from sequester.measure.pieces import Pieces
from sequester.record import replaced

DATA = [bytes([65 + number]) * 4096 for number in range(4)]
SNP_MASK, TDX_MASK = 1, 2
UNMEASURED, SHARED, LARGE = 2, 4, 1


class File:
    """Puts an IGVM file together."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.headers = b""
        self.data = b""
        self.wanted: list[tuple[int, bytes]] = []

    def add(self, kind: int, body: bytes) -> File:
        self.headers += struct.pack("<II", kind, len(body)) + body.ljust(-(-len(body) // 8) * 8, b"\0")
        return self

    def platform(self, kind: int, mask: int) -> File:
        return self.add(0x1, struct.pack("<IBBHQ", mask, 0, kind, 1, 0))

    def page(self, address: int, data: bytes = b"", mask: int = 3, flags: int = 0, kind: int = 0) -> File:
        offset = self._place(data)
        return self.add(0x302, struct.pack("<QIIIHH", address, mask, offset, flags, kind, 0))

    def area(self, size: int, number: int) -> File:
        return self.add(0x301, struct.pack("<QII", size, number, 0))

    def insert(self, address: int, number: int, mask: int = 3) -> File:
        return self.add(0x303, struct.pack("<QII", address, mask, number))

    def context(self, data: bytes, number: int = 0, mask: int = SNP_MASK) -> File:
        return self.add(0x304, struct.pack("<QIIHH", 0xFFFFFFFFF000, mask, self._place(data), number, 0))

    def _place(self, data: bytes) -> int:
        if not data:
            return 0
        self.data += data
        return 0x100000 + len(self.data) - len(data)

    def build(self) -> bytes:
        total = 0x100000 + len(self.data)
        head = struct.pack("<4sIIIII", b"IGVM", self.version, 24, len(self.headers), total, 0)
        return (head + self.headers).ljust(0x100000, b"\0") + self.data


def both() -> File:
    return File().platform(SNP, SNP_MASK).platform(TDX, TDX_MASK)


def snp(file: File, monitor: str = "qemu") -> bytes:
    return SnpIgvmLaunch(read_igvm(file.build(), SNP, "a.igvm"), monitor).measure().digest


def tdx(file: File) -> bytes:
    return TdxIgvmLaunch(read_igvm(file.build(), TDX, "a.igvm")).measure().digest


def test_every_kind_of_page_goes_into_the_chain_as_the_firmware_measures_it() -> None:
    file = both().area(0x1800, 7).page(0x1000, DATA[0]).page(0x5000, kind=1).page(0x6000, kind=2)
    file.page(0x7000, kind=3).page(0x8000, DATA[1], flags=UNMEASURED).page(0x9000).insert(0xA000, 7)
    file.page(0xF000, DATA[2], flags=SHARED).context(DATA[3])
    chain = snp_pages.add_contents(snp_pages.NO_DIGEST, 0x1000, DATA[0])
    for kind, address, size in (
        (snp_pages.SECRETS, 0x5000, 4096),
        (snp_pages.CPUID, 0x6000, 4096),
        (snp_pages.CPUID, 0x7000, 4096),
        (snp_pages.UNMEASURED, 0x8000, 4096),
        (snp_pages.ZERO, 0x9000, 4096),
        (snp_pages.UNMEASURED, 0xA000, 8192),
    ):
        chain = snp_pages.add_blank(chain, kind, address, size)
    chain = snp_pages.add_vmsa(chain, hashlib.sha384(DATA[3]).digest())
    assert snp(file) == chain


def test_zeros_are_hashed_where_the_monitor_has_no_zero_pages() -> None:
    file = both().page(0x1000)
    assert snp(file, "gce") == snp_pages.add_contents(snp_pages.NO_DIGEST, 0x1000, bytes(4096))
    assert snp(file) == snp_pages.add_blank(snp_pages.NO_DIGEST, snp_pages.ZERO, 0x1000, 4096)


def test_qemu_hashes_zeros_that_follow_data_without_a_gap() -> None:
    joined = both().page(0x1000, DATA[0]).page(0x2000).page(0x3000)
    assert snp(joined) == snp_pages.add_contents(snp_pages.NO_DIGEST, 0x1000, DATA[0] + bytes(8192))
    apart = both().page(0x1000, DATA[0]).page(0x3000)
    chain = snp_pages.add_contents(snp_pages.NO_DIGEST, 0x1000, DATA[0])
    assert snp(apart) == snp_pages.add_blank(chain, snp_pages.ZERO, 0x3000, 4096)


def test_qemu_adds_processors_last_and_other_monitors_where_the_file_has_them() -> None:
    first = both().context(DATA[3]).page(0x1000, DATA[0])
    last = both().page(0x1000, DATA[0]).context(DATA[3])
    assert snp(first) == snp(last) == snp(last, "gce") != snp(first, "gce")


def test_only_directives_of_the_platform_count() -> None:
    mixed = both().page(0x1000, DATA[0], mask=SNP_MASK).page(0x1000, DATA[1], mask=TDX_MASK)
    assert snp(mixed) == snp(both().page(0x1000, DATA[0]))
    assert tdx(mixed) == tdx(both().page(0x1000, DATA[1]))


def test_tdx_adds_every_page_and_measures_those_that_are_measured() -> None:
    file = both().area(0x1000, 0).page(0x1000, DATA[0]).page(0x9000).page(0x5000, DATA[1], flags=UNMEASURED)
    file.insert(0x6000, 0).page(0x7000, DATA[2], flags=SHARED).context(DATA[3], mask=TDX_MASK)
    digest = mrtd.start()
    mrtd.add_and_extend(digest, 0x1000, DATA[0])
    mrtd.add_and_extend(digest, 0x9000, bytes(4096))
    mrtd.add(digest, 0x5000, 4096)
    mrtd.add(digest, 0x6000, 4096)
    assert tdx(file) == digest.digest()


def test_a_large_page_is_512_small_ones() -> None:
    large = both().page(0x200000, bytes(range(256)) * 8192, flags=LARGE)
    assert snp(large) == snp_pages.add_contents(snp_pages.NO_DIGEST, 0x200000, bytes(range(256)) * 8192)


def test_the_method_of_each_platform_knows_an_igvm_file(tmp_path: Path) -> None:
    path = tmp_path / "svsm.igvm"
    file = both().page(0x1000, DATA[0]).context(DATA[3])
    path.write_bytes(file.build())
    assert method("sev-snp").launch(Pieces("sev-snp", str(path))).measure().digest == snp(file)
    assert method("tdx").launch(Pieces("tdx", str(path))).measure().digest == tdx(file)
    for platform in ("sev-snp", "tdx"):
        assert method(platform).find(bytes(48), Pieces(platform, str(path)), ()) is None


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (File().platform(TDX, 1).page(0x1000), "not made for this platform"),
        (File(version=9).platform(SNP, 1), "not of version"),
        (both().page(0x1001), "page at 0x1001"),
        (both().page(0x1000, kind=9), "of type 9"),
        (both().page(0x1000, flags=LARGE), "0x200000 bytes"),
        (both().insert(0x1000, 3), "parameter area 3"),
        (both().area(1 << 60, 3).insert(0x1000, 3), "more memory"),
        (both().add(0x302, b"short"), "malformed"),
        (both().add(0x302, struct.pack("<QIIIHH", 0x1000, 3, 0xFFFFFF00, 0, 0, 0)), "outside the file"),
    ],
)
def test_files_that_lie_are_refused_by_name(file: File, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_igvm(file.build(), SNP, "bad.igvm")
    assert error.value.where == "bad.igvm"


def test_a_small_file_cannot_fill_much_memory() -> None:
    file = both()
    for number in range(MOST_BYTES // (2 << 20) + 1):
        file.page(number * (2 << 20), flags=LARGE)
    with pytest.raises(InputError, match="more memory"):
        read_igvm(file.build(), SNP, "")


def test_a_file_that_puts_nothing_into_the_guest_has_no_measurement() -> None:
    for make in (snp, tdx):
        with pytest.raises(InputError, match="nothing into the guest"):
            make(both())


@pytest.mark.parametrize("size", [0, 4, 20, 24, 40])
def test_a_truncated_file_is_refused(size: int) -> None:
    with pytest.raises(InputError):
        read_igvm(both().page(0x1000, DATA[0]).build()[:size], SNP, "")


def vmsa_page(features: int = 1) -> bytes:
    return vmsa.page(vmsa.state(vmsa.RESET, 0xA00F11, features))


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A file with pages, zeros beside data, and two processors between the pages."""
    file = both().page(0x1000, DATA[0]).page(0x2000).context(DATA[2]).context(DATA[3], 1)
    (tmp_path / "guest.igvm").write_bytes(file.page(0x9000).build())
    return tmp_path / "guest.igvm"


def explained(guest: Path, digest: bytes, *others: Path, platform: str = "sev-snp") -> tuple[str, ...] | None:
    pieces = Pieces(platform, str(guest), signature=0xA00F11)
    match = method(platform).find(digest, pieces, tuple(map(str, others)))
    if match is None:
        return None
    assert match.launch.measure().digest == digest
    return match.differences


def launch_of(guest: Path, **changes: object) -> bytes:
    file = read_igvm(guest.read_bytes(), SNP, "guest.igvm")
    return replaced(SnpIgvmLaunch(file), **changes).measure().digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"monitor": "gce"}, ["processors where the file has them"]),
        ({"apart": True}, ["a zero page of its own"]),
        ({"processors": 1}, ["1 of the file's 2 processors"]),
        ({"features": 0x21}, ["guest features 0x21"]),
        ({"more": (DATA[3],) * 2}, ["2 processors more, like the file's last one"]),
        ({"more": (vmsa_page(),)}, ["1 processor more, as they are at reset"]),
        ({"apart": True, "features": 0x201}, ["a zero page of its own", "guest features 0x201"]),
        (
            {"processors": 1, "more": (vmsa_page(),) * 3},
            ["1 of the file's 2 processors", "3 processors more, as they are at reset"],
        ),
    ],
)
def test_what_a_launcher_does_otherwise_with_a_file_is_found(
    guest: Path, changes: dict[str, object], said: list[str]
) -> None:
    found = explained(guest, launch_of(guest, **changes))
    assert found is not None
    assert len(found) == len(said)
    assert all(part in what for part, what in zip(said, found, strict=True))


def test_another_file_in_the_folder_is_found_and_nothing_else_is_made_up(guest: Path, tmp_path: Path) -> None:
    other = both().page(0x1000, DATA[1]).context(DATA[3])
    (tmp_path / "other.igvm").write_bytes(other.build())
    (tmp_path / "torn.igvm").write_bytes(other.build()[:100])
    paths = (tmp_path / "torn.igvm", tmp_path / "other.igvm")
    (difference,) = explained(guest, snp(other), *paths) or ()
    assert "other.igvm instead of" in difference
    (difference,) = explained(guest, tdx(other), *paths, platform="tdx") or ()
    assert "other.igvm instead of" in difference
    for platform in ("sev-snp", "tdx"):
        assert explained(guest, hashlib.sha384(b"").digest(), *paths, platform=platform) is None


def test_the_order_of_adding_and_measuring_pages_is_found_on_tdx(guest: Path) -> None:
    file = read_igvm(guest.read_bytes(), TDX, "guest.igvm")
    seen = TdxIgvmLaunch(file, pages_first=True).measure().digest
    assert seen != TdxIgvmLaunch(file).measure().digest
    (difference,) = explained(guest, seen, platform="tdx") or ()
    assert "before they are measured" in difference
