"""The list of hand-off blocks (TD HOB) in which QEMU tells a TDX guest's firmware what memory there is.

Layouts, little-endian (UEFI PI 1.8, volume 3, 5; QEMU hw/i386/tdvf-hob.c)::

    handoff, type 1: type and length 16 bits, reserved 32; version 9, boot mode 0, 32 bits; four addresses, zero,
                     and that of the end of the list, 64 bits
    resource, type 3: type and length 16 bits, reserved 32; owner, 16 zero bytes; type of resource and attributes,
                     32 bits; start and length, 64 bits
    end, type 0xffff: type and length 16 bits, reserved 32

The firmware measures the list without its end block (edk2 OvmfPkg, `PlatformTdx...MeasureTdHob`).
"""

from __future__ import annotations

import struct

from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HANDOFF = struct.Struct("<HHI II QQQQ Q")
_RESOURCE = struct.Struct("<HHI 16x II QQ")
_END = struct.Struct("<HHI")
_SYSTEM_MEMORY, _UNACCEPTED = 0, 7
_ATTRIBUTES = 0x7
"""Present, initialised, tested (`EFI_RESOURCE_ATTRIBUTE_TDVF_PRIVATE` and `_UNACCEPTED`)."""

FOUR_GIB = 1 << 32
_MUCH, _LOW_OF_MUCH, _LOW = 0xB000_0000, 0x8000_0000, 0xB000_0000
"""From 2.75 GiB on, q35 has 2 GiB below 4 GiB, else all of it (QEMU hw/i386/pc_q35.c)."""


@record
class Range:
    """Guest memory from `start`, `length` bytes; `added` if it was there before the guest started."""

    start: int
    length: int
    added: bool = False


def ram(memory: int) -> tuple[Range, ...]:
    """Return where a q35 guest's `memory` bytes lie."""
    low = min(memory, _LOW_OF_MUCH if memory >= _MUCH else _LOW)
    above = memory - low
    return (Range(0, low), Range(FOUR_GIB, above)) if above else (Range(0, low),)


def split(memory: Iterable[Range], added: Iterable[Range]) -> Iterator[Range]:
    """Yield memory in order, cut where ranges of it were added. ValueError for a range that is not in memory."""
    left = sorted(added, key=lambda each: each.start)
    for bank in memory:
        at, end = bank.start, bank.start + bank.length
        while left and at <= left[0].start and left[0].start + left[0].length <= end:
            each = left.pop(0)
            if each.start > at:
                yield Range(at, each.start - at)
            yield Range(each.start, each.length, True)
            at = each.start + each.length
        if at < end:
            yield Range(at, end - at)
    if left:
        raise ValueError(f"{left[0].start:#x}")


def hob_list(address: int, ranges: Iterable[Range]) -> bytes:
    """Return the list that lies at `address`, with its end block."""
    resources = b"".join(
        _RESOURCE.pack(
            *(3, _RESOURCE.size, 0),
            *(_SYSTEM_MEMORY if each.added else _UNACCEPTED, _ATTRIBUTES),
            *(each.start, each.length),
        )
        for each in ranges
    )
    end = address + _HANDOFF.size + len(resources) + _END.size
    handoff = _HANDOFF.pack(1, _HANDOFF.size, 0, 9, 0, 0, 0, 0, 0, end)
    return handoff + resources + _END.pack(0xFFFF, _END.size, 0)


def measured(hobs: bytes) -> bytes:
    """Return what of a list the firmware measures."""
    return hobs[: -_END.size]
