"""Whole Secure Execution images: kernel, initrd and command line, encrypted for hosts, behind IBM's loader.

Layout of the file, which is that of memory too (s390-tools rust/pvimg README, "Memory Layout", and src/se_img.rs)::

    0x00000  short PSW: start at 0x11000         0x14000  header, 1 or 2 pages (or behind a longer stage3a)
    0x0c000  metadata (`sequester.measure.se_image`)     then, each on a page: kernel, initrd, command line, stage3b,
    0x10000  stage3a                                     encrypted; and the IPL block

A component's tweak begins with 16 bits that say what it is, then 48 random ones (src/se_img_comps.rs). The flags are
those that pvimg sets: the guest may wrap DEA, AES and ECC keys, its host may not dump it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from sequester.errors import InputError
from sequester.measure.files import in_parts
from sequester.measure.se_boot_code import ENTRY, LOAD_AT, BootCode, Place
from sequester.measure.se_build import Contents, Secrets, build_header, encrypt, header_size
from sequester.measure.se_image import (
    CMDLINE,
    INITRD,
    KERNEL,
    LOADER,
    PAGE,
    Component,
    SeImage,
    ipl_block,
    metadata,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

USUAL_FLAGS = 0xE0
"""PCKMO with DEA and TDEA, AES, ECC."""
DUMPS_ALLOWED = 1 << 63 - 34
_MASK = 0x180000000
"""PSW: extended and basic addressing, which is 64-bit mode."""
_BIT_12 = 1 << 63 - 12
"""Marks a PSW as a short one."""
_KERNEL_ENTRY = 0x10000
_HEADER_AT = 0x14000
"""The first place where tools before pvimg look for it."""
_MAGIC_AT, _MAGIC = 0x10008, b"S390EP"
_CMDLINE_SIZE_AT, _CMDLINE_SIZE = 0x10430, 896
"""Where a kernel says how long a command line it takes (Linux arch/s390/boot/head.S), and what older ones take."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a guest boots: paths of kernel and initrd, '' for none, and a command line."""

    kernel: str
    initrd: str = ""
    append: bytes = b""


def write_image(
    file: BinaryIO,
    parts: Parts,
    code: BootCode,
    hosts: Sequence[EllipticCurvePublicKey],
    secrets: Secrets,
    flags: int = USUAL_FLAGS,
    draw: Callable[[int], bytes] = os.urandom,
) -> None:
    """Write an image that these host keys open into an empty file, which can be read too.

    `draw` gives random bytes. Raises InputError for parts that the loader or the ultravisor would not take.
    """
    check_parts(parts)
    header_at = max(_aligned(LOAD_AT + len(code.first)), _HEADER_AT)
    at = _aligned(header_at + header_size(len(hosts)))
    places: dict[int, Place] = {}
    components: list[Component] = []

    def append(kind: int, data: Iterable[bytes]) -> None:
        nonlocal at
        tweak = int.from_bytes(kind.to_bytes(2, "big") + draw(6), "big")
        counted = _Counted(data)
        file.seek(at)
        for page in encrypt(counted, secrets.components, tweak):
            file.write(page)
        places[kind] = Place(at, counted.bytes)
        components.append(Component(at, _aligned(counted.bytes), tweak))
        at += components[-1].length

    for kind, data in _contents(parts):
        append(kind, data)
    kernel, cmdline, initrd = (places.get(kind, Place()) for kind in (KERNEL, CMDLINE, INITRD))
    append(LOADER, _pages(code.second_part(kernel, cmdline, initrd, _MASK, _KERNEL_ENTRY)))

    *_, (_component, digests) = SeImage(file, "image").digests(tuple(components))
    pages = sum(component.length for component in components) // PAGE
    contents = Contents(pages, digests, _MASK, places[LOADER].address, flags)
    header = build_header(hosts, contents, secrets)
    for place, block in (
        (header_at, header),
        (at, ipl_block(components, header_at, len(header))),
        (LOAD_AT, code.first_part(Place(header_at, len(header)), at)),
        (0, struct.pack(">Q", _MASK | _BIT_12 | ENTRY)),
        metadata(header_at, at),
    ):
        file.seek(place)
        file.write(block)


def check_parts(parts: Parts) -> None:
    """Raise InputError where a kernel is none of s390x, an initrd is empty, or a command line is too long."""
    head = b""
    for part in in_parts(parts.kernel, PAGE):
        head += part
        if len(head) > _CMDLINE_SIZE_AT + PAGE:
            break
    if head.startswith(b"\x7fELF"):
        raise _wrong_kernel(parts, "an ELF file", "give the image that is booted (bzImage, /boot/vmlinuz)")
    if head[_MAGIC_AT:].startswith(_MAGIC) and len(head) >= _CMDLINE_SIZE_AT + 8:
        most = int.from_bytes(head[_CMDLINE_SIZE_AT : _CMDLINE_SIZE_AT + 8], "big") or _CMDLINE_SIZE
    else:
        raise _wrong_kernel(parts, "no Linux kernel for s390x", "give one that was built for s390x")
    if b"\0" in parts.append:
        raise InputError("a command line has no zero bytes", code="image.cmdline")
    if len(parts.append) >= most:
        raise InputError(
            f"a command line of {len(parts.append)} bytes is longer than this kernel takes",
            code="image.cmdline",
            where=parts.kernel,
            remedy=f"at most {most - 1}",
        )
    if parts.initrd and not next(in_parts(parts.initrd, 1), b""):
        raise InputError("this initrd is empty", code="image.initrd", where=parts.initrd)


class _Counted:
    """Passes on parts of a component, and counts their bytes."""

    def __init__(self, data: Iterable[bytes]) -> None:
        self.bytes = 0
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        for part in self._data:
            self.bytes += len(part)
            yield part


def _contents(parts: Parts) -> Iterator[tuple[int, Iterable[bytes]]]:
    """Yield the components before the loader, in their order in the image."""
    yield KERNEL, in_parts(parts.kernel, PAGE)
    if parts.initrd:
        yield INITRD, in_parts(parts.initrd, PAGE)
    if parts.append:
        yield CMDLINE, _pages(parts.append + b"\0")


def _pages(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), PAGE):
        yield data[at : at + PAGE]


def _aligned(number: int) -> int:
    return -(-number // PAGE) * PAGE


def _wrong_kernel(parts: Parts, what: str, remedy: str) -> InputError:
    return InputError(f"this is {what}", code="image.kernel", where=parts.kernel, remedy=remedy)
