"""What backs a guest's memory.

Source: QEMU qapi/qom.json (`MemoryBackendProperties`), system/vl.c (``-m``, ``-mem-path``, ``-mem-prealloc``),
util/cutils.c (`qemu_strtosz`).
"""

from __future__ import annotations

from collections.abc import Iterator

from sequester.guest.guest import Guest
from sequester.guest.part import Part

MIB = 1 << 20
_DEFAULT_BYTES = 128 * MIB
"""Without ``-m`` (MachineClass.default_ram_size of all machines but a few)."""
_UNITS = {"b": 1, "k": 1 << 10, "m": MIB, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}


def ram_bytes(guest: Guest) -> int | None:
    """Return the size of main memory (``-m``) in bytes; None where it cannot be made out."""
    text = guest.memory.type or guest.memory.text("size") or ""
    return byte_size(text, default_unit=MIB) if text else _DEFAULT_BYTES


def byte_size(text: str, default_unit: int = 1) -> int | None:
    """Read a size as QEMU does (``4G``, ``1.5g``, ``512``); None where it is none."""
    stem, unit = text.strip(), default_unit
    if stem and stem[-1].lower() in _UNITS:
        stem, unit = stem[:-1], _UNITS[stem[-1].lower()]
    if len(stem) > 20 or not stem.replace(".", "", 1).isdecimal():
        return None
    return int(float(stem) * unit) if "." in stem else int(stem) * unit


def huge_pages(part: Part) -> str:
    """Say by what a memory backend or ``-mem-path`` takes huge pages, '' where nothing says that it does.

    A file lies on hugetlbfs when a folder in its path is named after it (``/dev/hugepages``, ``/mnt/huge``).
    """
    if part.flag("hugetlb"):
        return "hugetlb=on"
    path = part.type if part.group == "mem-path" else part.text("mem-path") or ""
    return path if any(folder.startswith("huge") for folder in path.split("/")) else ""


def in_file(part: Part) -> str:
    """Return the file on a disk that a memory backend keeps guest memory in, '' where there is none.

    That is a file that is shared, so that what the guest writes gets there, and on no file system in memory.
    """
    path = part.text("mem-path") or ""
    if not path or part.flag("share") is not True or huge_pages(part):
        return ""
    return "" if path.startswith(("/dev/", "/run/", "/proc/")) or path.endswith("/") else path


def taken_at_once(guest: Guest) -> Iterator[tuple[Part, str]]:
    """Yield what makes QEMU take all memory when it starts: the part, and what it says."""
    for part in guest.memory_backends:
        if part.flag("prealloc"):
            yield part, f"prealloc={part.text('prealloc')}"
    for part in guest.of("mem-prealloc"):
        yield part, "-mem-prealloc"
    lock = guest.one("overcommit")
    if lock is not None and lock.flag("mem-lock"):
        yield lock, f"mem-lock={lock.text('mem-lock')}"
