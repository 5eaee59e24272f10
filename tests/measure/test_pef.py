"""PEF: the five values that the ultravisor compares, from a kernel as it will lie in memory."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_data import CHECKOUT

from sequester.errors import InputError
from sequester.measure import elf
from sequester.measure.methods import method, pef
from sequester.measure.pieces import Pieces

OBJCOPY = shutil.which("powerpc64le-linux-gnu-objcopy") or shutil.which("objcopy")
KERNELS = sorted((CHECKOUT / ".cache" / "sequester" / "guest" / "ppc64").glob("*/kernel"))
RTAS = "189698638580422ea58a0968ecce2436daeb2c91a339c14b0ab2bc623c1649fe"
"""The beginning of what svm-tools has for the run-time services (svm_tool/esm_digest/rtas_sha512.py)."""


def vmlinux(sections: list[tuple[int, bytes]], order: str = "<", base: int = 0) -> bytes:
    """Return an ELF file with one segment; sections are at an offset in it, with contents, and a .bss behind them."""
    contents = bytearray(max((at + len(data) for at, data in sections), default=0))
    for at, data in sections:
        contents[at : at + len(data)] = data
    start = 0x1000
    rows = [(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    rows += [(0, 1, 2, base + at, start + at, len(data), 0, 0, 1, 0) for at, data in sections]
    rows += [(0, 8, 2, base + len(contents), start + len(contents), 0x500, 0, 0, 1, 0)]
    rows += [(0, 1, 0, 0, start + len(contents), 5, 0, 0, 1, 0)]
    sections_at = start + len(contents) + 8
    head = b"\x7fELF" + bytes((2, 1 if order == "<" else 2, 1)) + bytes(9)
    head += struct.pack(
        order + "HHIQQQIHHHHHH", 2, 21, 1, base, 64, sections_at, 2, 64, 56, 1, 64, len(rows), 0
    )
    size = len(contents)
    head += struct.pack(order + "IIQQQQQQ", 1, 7, start, 0xC << 60, base, size, size + 0x500, 0x1000)
    table = b"".join(struct.pack(order + "IIQQQQIIQQ", *row) for row in rows)
    return head.ljust(start, b"\0") + bytes(contents) + b"note\0\0\0\0" + table


def memory(data: bytes) -> bytes:
    return b"".join(elf.memory_image(io.BytesIO(data), "vmlinux"))


def sha(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_kernel_lies_in_memory_without_its_headers_its_bss_and_with_zeros_between(order: str) -> None:
    data = vmlinux([(0, b"head"), (0x100, b"text" * 9), (0x400, b"data")], order, 0x4000)
    wanted = b"head".ljust(0x100, b"\0") + (b"text" * 9).ljust(0x300, b"\0") + b"data"
    assert memory(data) == wanted


@pytest.mark.skipif(not KERNELS or OBJCOPY is None, reason="no ppc64el kernel or objcopy here")
def test_a_real_kernel_is_what_objcopy_makes_of_it(tmp_path: Path) -> None:
    made = tmp_path / "vmlinux.bin"
    command = [str(OBJCOPY), "-I", "elf64-little", "-O", "binary", "-S", str(KERNELS[0]), str(made)]
    subprocess.run(command, check=True)
    launch = pef.launch(Pieces("pef", kernel=str(KERNELS[0])))
    assert launch.kernel == sha(made.read_bytes())
    assert launch.kernel_size == made.stat().st_size


def test_the_five_values_are_those_that_the_blob_has(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(vmlinux([(0, b"kernel")]))
    (tmp_path / "initrd").write_bytes(b"initrd")
    pieces = Pieces("pef", kernel=str(tmp_path / "vmlinux"), initrd=str(tmp_path / "initrd"), append="quiet")
    launch = method("pef").launch(pieces)
    found = {register.name: register.value for register in launch.measure().registers}
    assert found.pop("rtas", b"").hex().startswith(RTAS)
    assert found == {
        "kernel": sha(b"kernel"),
        "kernel-size": bytes((0, 0, 0, 6)),
        "initrd": sha(b"initrd"),
        "bootargs": sha(b"quiet"),
    }
    assert [step.register for step in launch.contributions()] == [
        "rtas",
        "kernel",
        "kernel-size",
        "initrd",
        "bootargs",
    ]


def test_a_raw_kernel_is_taken_as_it_is_and_a_missing_initrd_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"raw kernel")
    launch = pef.launch(Pieces("pef", kernel=str(tmp_path / "raw")))
    assert (launch.kernel, launch.kernel_size, launch.initrd) == (sha(b"raw kernel"), 10, sha(b""))
    (tmp_path / "raw").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        pef.launch(Pieces("pef", kernel=str(tmp_path / "raw")))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (sha(b"kernel"), ("it is kernel",)),
        (sha(b""), ("it is initrd, with no initrd",)),
        (sha(b"quiet\0"), ("it is bootargs", "the zero byte at its end hashed too")),
        (sha(b"quiet "), ("it is bootargs", "a space more at the end of the command line")),
    ],
)
def test_what_makes_a_value_another_is_found(tmp_path: Path, seen: bytes, said: tuple[str, ...]) -> None:
    (tmp_path / "vmlinux").write_bytes(vmlinux([(0, b"kernel")]))
    (tmp_path / "initrd").write_bytes(b"initrd")
    pieces = Pieces("pef", kernel=str(tmp_path / "vmlinux"), initrd=str(tmp_path / "initrd"), append="quiet")
    match = method("pef").find(seen, pieces, ())
    assert match is not None
    assert match.differences == said
    assert method("pef").find(sha(b"another"), pieces, ()) is None


def test_another_kernel_in_the_folder_is_found(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).write_bytes(vmlinux([(0, name.encode())]))
    pieces = Pieces("pef", kernel=str(tmp_path / "ours"))
    match = method("pef").find(sha(b"theirs"), pieces, (str(tmp_path / "theirs"),))
    assert match is not None
    assert "theirs instead of" in match.differences[1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 0x2000), st.integers(1, 255))
def test_a_changed_kernel_is_measured_or_refused_but_never_a_traceback(seed: int, at: int, flip: int) -> None:
    data = bytearray(vmlinux([(0, b"head"), (0x40, random.Random(seed).randbytes(50))]))
    data[at % len(data)] ^= flip
    try:
        found = memory(bytes(data))
    except InputError:
        return
    assert len(found) < 1 << 20


@pytest.mark.parametrize("size", [4, 63, 64, 0x1000, 0x1040, -1])
def test_a_truncated_kernel_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="cannot be measured"):
        memory(vmlinux([(0, b"k" * 100)])[:size])


def test_sections_that_overlap_or_lie_far_apart_are_refused() -> None:
    for sections in ([(0, b"k" * 8), (4, b"k" * 8)], []):
        with pytest.raises(InputError, match="cannot be measured"):
            memory(vmlinux(sections))
