"""What the kernel says of a QEMU, from a folder that looks like /proc."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from asked_qemu import qemu

from sequester.audit import process
from sequester.audit.auditing import audit
from sequester.guest.running import Merging

MARKED = "7f00-7f01 rw-p 00000000 00:00 0\nRss: 4 kB\nVmFlags: rd wr mr mw me ac mg \n"
PLAIN = MARKED.replace(" mg", "")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process 40 with a vCPU thread 77."""
    (tmp_path / "40" / "task" / "77").mkdir(parents=True)
    (tmp_path / "40" / "fd").mkdir()
    (tmp_path / "40" / "net").mkdir()
    return tmp_path


def write(proc: Path, name: str, text: str) -> None:
    (proc / "40" / name).write_text(text)


def test_a_kernel_that_tells_is_believed_without_walking_memory(proc: Path) -> None:
    write(proc, "ksm_stat", "ksm_merging_pages 3\nksm_merge_any: no\nksm_mergeable: yes\n")
    assert process.merging(40, proc) == Merging(True, 3)
    write(proc, "ksm_stat", "ksm_merging_pages 0\nksm_mergeable: no\n")
    assert process.merging(40, proc) == Merging(False, 0)


@pytest.mark.parametrize(("text", "marked"), [(MARKED, True), (PLAIN, False), (PLAIN * 50000 + MARKED, True)])
def test_an_older_kernel_tells_by_its_flags(proc: Path, text: str, marked: bool) -> None:
    write(proc, "ksm_merging_pages", "0\n")
    write(proc, "smaps", text)
    assert process.merging(40, proc) == Merging(marked, 0)


def test_a_map_that_takes_too_long_is_not_known(proc: Path) -> None:
    write(proc, "ksm_merging_pages", "2\n")
    write(proc, "smaps", PLAIN * 50000)
    seconds = itertools.count()
    assert process.merging(40, proc, lambda: next(seconds)) == Merging(None, 2)


def test_a_process_that_may_not_be_looked_at_is_not_known(proc: Path) -> None:
    assert process.merging(40, proc) is None
    assert process.listening(41, proc) is None


def test_a_process_is_a_guests_qemu_by_its_threads(proc: Path) -> None:
    assert process.is_qemu(40, [77], proc)
    assert not process.is_qemu(40, [78], proc)
    assert not process.is_qemu(40, [], proc)


def test_listening_sockets_are_those_the_process_has_open(proc: Path) -> None:
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    row = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0\n"
    write(
        proc,
        "net/tcp",
        head
        + row.format("0100007F:1F90", "0A", 11)
        + row.format("00000000:0050", "0A", 12)  # another process's
        + row.format("00000000:0051", "01", 13),  # a connection
    )
    write(proc, "net/tcp6", head + row.format("00000000000000000000000001000000:0016", "0A", 14))
    for number, inode in enumerate((11, 13, 14)):
        (proc / "40" / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    assert process.listening(40, proc) == ("127.0.0.1:8080", "[::1]:22")


def test_what_the_kernel_marks_counts_whatever_qemu_says(proc: Path) -> None:
    write(proc, "ksm_stat", "ksm_merging_pages 12\nksm_mergeable: yes\n")
    made = qemu()
    made.peer = 40
    found = {finding.code: finding.found for finding in audit(made, proc=proc).findings}
    assert set(found) == {"SQ201", "SQ951"}


def test_a_kernel_that_merges_nothing_clears_a_qemu_that_says_otherwise(proc: Path) -> None:
    write(proc, "ksm_stat", "ksm_merging_pages 0\nksm_mergeable: no\n")
    made = qemu()
    made.peer = 40
    made.machine(mem_merge=True)
    assert audit(made, proc=proc).findings == ()


def test_another_process_at_the_socket_is_not_taken_for_qemu(proc: Path) -> None:
    write(proc, "ksm_stat", "ksm_mergeable: yes\n")
    (proc / "40" / "task" / "77").rmdir()
    made = qemu()
    made.peer = 40
    assert audit(made, proc=proc).findings == ()


def test_a_port_that_nothing_explains_is_told(proc: Path) -> None:
    write(proc, "ksm_stat", "ksm_mergeable: no\n")
    row = "x\n 0: 00000000:{:04X} 0:0 0A 0:0 0:0 0 0 0 {} 1\n"
    write(proc, "net/tcp", row.format(10809, 11))
    (proc / "40" / "fd" / "3").symlink_to("socket:[11]")
    made = qemu()
    made.peer = 40
    (finding,) = audit(made, proc=proc).findings
    assert finding.code == "SQ955"
    assert "0.0.0.0:10809" in finding.found
