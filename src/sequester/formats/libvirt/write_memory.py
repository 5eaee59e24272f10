"""Writes guest memory: size, NUMA cells, and what backs them."""

from __future__ import annotations

from sequester.formats.libvirt.writing import Said, Writing

_SIZES = {"": 20, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_HUGE = ("/dev/hugepages", "/mnt/huge", "/hugepages")


def size(text: str) -> int | None:
    """Return the bytes that QEMU reads from a size (MiB where it has no unit), None when it is none."""
    number = text.strip().lower().removesuffix("ib")
    unit = number[-1:] if number[-1:].isalpha() else ""
    digits = number.removesuffix(unit)
    try:
        return int(float(digits) * (1 << _SIZES[unit])) if len(digits) < 20 else None
    except (KeyError, ValueError, OverflowError):
        return None


def main_memory(writing: Writing) -> None:
    """Write how much memory there is, and what backs it."""
    guest = writing.guest
    said = Said(guest.memory)
    amount = size(guest.memory.type or said.take("size") or "128M")
    if amount is None:
        writing.lose(f"memory size '{guest.memory.type}'")
        amount = 128 << 20
    most = said.take("maxmem")
    slots = said.number("slots")
    cells = guest.of("numa")
    if most is not None and slots is not None and cells and (limit := size(most)) is not None:
        node = writing.child("maxMemory", unit="KiB", slots=slots)
        node.text = str(limit >> 10)
    elif most is not None:
        writing.lose(f"maxmem={most}: libvirt wants NUMA cells for memory that is plugged in later")
    writing.child("memory", unit="KiB").text = str(amount >> 10)
    writing.finish(said)
    identity = guest.machine.text("memory-backend")
    backend = guest.by_id.get(identity) if identity and not cells else None
    for cell in cells:
        _cell(writing, Said(cell))
    if backend is not None and backend.group == "object":
        _backend(writing, Said(backend), amount)
    _whole_memory(writing)


def _cell(writing: Writing, said: Said) -> None:
    if said.part.type != "node":
        writing.lose(said.part.label())
        return
    backend = writing.referred(said, "memdev", "object")
    amount = backend.take("size") if backend is not None else said.take("mem")
    number = size(f"{amount}b" if amount and amount.isdecimal() and backend is not None else amount or "")
    if number is None:
        writing.lose(f"{said.part.label()}: the size of its memory is not known")
        return
    cpu = writing.child("cpu")
    numa = next((node for node in cpu.children if node.tag == "numa"), None)
    if numa is None:
        numa = writing.element(cpu, "numa")
    share = backend.flag("share") if backend is not None else None
    writing.element(
        numa,
        "cell",
        id=said.take("nodeid"),
        cpus=said.take("cpus"),
        memory=str(number >> 10),
        unit="KiB",
        memAccess=None if share is None else "shared" if share == "on" else "private",
    )
    if backend is not None:
        if backend.part.type == "memory-backend-memfd":
            _backing(writing, "source", type="memfd")
        elif backend.part.type == "memory-backend-file":
            if (backend.take("mem-path") or "").startswith(_HUGE):
                _backing(writing, "hugepages")
            else:
                _backing(writing, "source", type="file")
        backend.drop("x-use-canonical-path-for-ramblock-id", "prealloc", "discard-data", "prealloc-threads")
        writing.finish(backend)
    writing.finish(said)


def _whole_memory(writing: Writing) -> None:
    machine = writing.guest.machine
    if machine.flag("mem-merge") is False:
        _backing(writing, "nosharepages")
    for part in writing.guest.of("overcommit"):
        said = Said(part)
        if said.flag("mem-lock") == "on":
            _backing(writing, "locked")
        said.drop("mem-lock")
        writing.finish(said)
    if writing.guest.has("mem-prealloc"):
        _backing(writing, "allocation", mode="immediate")


def _backing(writing: Writing, tag: str, **attributes: str) -> None:
    backing = writing.child("memoryBacking")
    found = next((node for node in backing.children if node.tag == tag), None)
    if found is None:
        writing.element(backing, tag, **attributes)
    else:
        found.attributes.update(attributes)


def _backend(writing: Writing, said: Said, amount: int) -> None:
    kind = said.part.type.removeprefix("memory-backend-")
    share = said.flag("share")
    if kind == "memfd":
        _backing(writing, "source", type="memfd")
    elif kind == "file":
        path = said.take("mem-path") or ""
        if path.startswith(_HUGE):
            _backing(writing, "hugepages")
        else:
            _backing(writing, "source", type="file")
            writing.lose(f"mem-path={path} of {said.part.label()}: libvirt chooses the file")
    elif kind != "ram":
        writing.lose(said.part.label())
        writing.used.add(said.part.key)
        return
    if said.flag("hugetlb") == "on":
        _backing(writing, "hugepages")
    if share is not None:
        _backing(writing, "access", mode="shared" if share == "on" else "private")
    if said.flag("prealloc") == "on":
        threads = said.number("prealloc-threads")
        _backing(writing, "allocation", mode="immediate", **({"threads": threads} if threads else {}))
    if said.flag("discard-data") == "on":
        _backing(writing, "discard")
    if said.flag("merge") == "off":
        _backing(writing, "nosharepages")
    given = said.take("size")
    if given is not None and size(given if not given.isdecimal() else f"{given}b") != amount:
        writing.lose(f"size={given} of {said.part.label()}: it is not the guest's memory")
    said.drop("x-use-canonical-path-for-ramblock-id", "merge", "dump", "prealloc-threads")
    writing.finish(said)
