"""An s390 Secure Execution image: its header, the components that the ultravisor opens, and their three digests.

Layouts, big-endian (s390-tools rust/pvimg README and src/pv_utils/se_hdr, rust/pv/src/brcb.rs; Linux
arch/s390/include/uapi/asm/ipl.h, `ipl_pb0_pv`)::

    header     0x000  IBMSecEx; version, size 32 bits        0x040  customer's public key, 160 bytes
               0x010  IV, 12 bytes; reserved, 32 bits        0x0e0  PLD, ALD, TLD, 64 bytes each
               0x020  key slots, encrypted bytes, pages,     0x1a0  key slots of 80 bytes, each with the hash of a
                      control flags, 64 bits each                   host key first; encrypted part; tag, 16 bytes
    metadata   0xc000 SeImgLnx, offset of the header 64, version 32, offset of the IPL block 64 bits
    IPL block  length 32, flags 8, 16 bits, version 8; then from 8 on: length 32, type 5, 8 bits ... 0x6c number of
               components 32, header's address and length 64 bits; per component tweak, address, length, 64 bits each

PLD is the SHA-512 of the components' pages, encrypted as they are; ALD that of their addresses, 64 bits each; TLD that
of their tweaks: a component's, then the offset of the page in it, 64 bits each.
"""

from __future__ import annotations

import os
import struct
from hashlib import sha512

from sequester.errors import InputError
from sequester.firmware.secure_execution import find_header
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

PAGE = 4096
VERSION = 0x100
_HEADER = struct.Struct(">8sII12s4xQQQQ160s64s64s64s")
_SLOT, _HASH, _TAG = 80, 32, 16
_LARGEST_HEADER = 2 * PAGE
_METADATA_AT = 0xC000
_METADATA = struct.Struct(">8sQIQ")
_MAGIC = b"SeImgLnx"
_IPL = struct.Struct(">IBHB I B 3x 8s 84x 3x B 4x IQQ")
_IPL_HEAD = 8
_COMPONENT = struct.Struct(">QQQ")
_PROTECTED = 5
_MOST_COMPONENTS = 64
"""pvimg makes four: kernel, parameters, initrd, loader."""
_AT_ONCE = 1 << 20

KERNEL, INITRD, CMDLINE, LOADER = 40, 50, 60, 70
KINDS = {KERNEL: "kernel", INITRD: "initrd", CMDLINE: "command line", LOADER: "boot loader"}
"""What pvimg's components are, by the first 16 bits of their tweaks (rust/pvimg/src/se_img_comps.rs)."""

FLAGS = {
    34: "dumps allowed",
    35: "components not encrypted",
    56: "PCKMO with DEA and TDEA",
    57: "PCKMO with AES",
    58: "PCKMO with ECC",
    59: "PCKMO with HMAC",
    62: "backup target keys",
}
"""Plaintext control flags, counted from the highest bit (s390-tools, flags.rs)."""


@record
class Header:
    """A header: hashes of the host keys that open it, pages, flags, the three digests, and its own tag."""

    host_keys: tuple[bytes, ...]
    pages: int
    flags: int
    pld: bytes
    ald: bytes
    tld: bytes
    tag: bytes

    @property
    def flag_names(self) -> tuple[str, ...]:
        """What the image lets its host do, and what else the flags say."""
        return tuple(name for bit, name in FLAGS.items() if self.flags >> 63 - bit & 1)


@record
class Component:
    """A part of the image that the ultravisor opens: `length` bytes at `address`, with the first tweak."""

    address: int
    length: int
    tweak: int

    @property
    def kind(self) -> str:
        """What it is, if pvimg or this tool made it; else ''."""
        return KINDS.get(self.tweak >> 48, "")


@record
class Digests:
    """The three digests of components, in the order in which the ultravisor opens them."""

    pld: bytes
    ald: bytes
    tld: bytes


class SeImage:
    """An image in a file: read a piece at a time, however large it is."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end."""
        self._file.seek(offset)
        return self._file.read(length)

    def header(self) -> Header:
        """Return the header. Raises InputError where there is none, or a wrong one."""
        return self.raw_header()[1]

    def raw_header(self) -> tuple[bytes, Header]:
        """Return the bytes from the header's first on, and what they say. Raises InputError as `header` does."""
        at = find_header(self)
        if at is None:
            raise self._fault(
                "this is no Secure Execution image", "make one with `pvimg create`", lacking=True
            )
        data = self.read(at, _LARGEST_HEADER)
        return data, read_header(data, self.name)

    def components(self) -> tuple[Component, ...]:
        """Return the components; () for an image of tools before 2.37, which does not say where they are.

        Raises InputError where they cannot be where the image says.
        """
        raw = self.read(_METADATA_AT, _METADATA.size)
        if len(raw) < _METADATA.size or not raw.startswith(_MAGIC):
            return ()
        _magic, _header, _version, at = _METADATA.unpack(raw)
        raw = self.read(at, _IPL.size) if at + _IPL.size <= self.size else b""
        if len(raw) < _IPL.size:
            raise self._fault(f"the IPL block would be at {at:#x}, outside the image")
        fields = _IPL.unpack(raw)
        kind, count = fields[5], fields[8]
        if kind != _PROTECTED or not 0 < count <= _MOST_COMPONENTS:
            raise self._fault(f"the IPL block is of type {kind} and claims {count} components")
        found = []
        end = 0
        for number in range(count):
            raw = self.read(at + _IPL.size + _COMPONENT.size * number, _COMPONENT.size)
            tweak, address, length = _COMPONENT.unpack(raw.ljust(_COMPONENT.size, b"\0"))
            if address % PAGE or length % PAGE or not length or address + length > self.size:
                raise self._fault(f"component {number} would be {length:#x} bytes at {address:#x}")
            if address < end:
                raise self._fault(f"component {number} begins at {address:#x}, before the last one ends")
            end = address + length
            found.append(Component(address, length, tweak))
        return tuple(found)

    def digests(self, components: tuple[Component, ...]) -> Iterator[tuple[Component, Digests]]:
        """Yield each component and the digests up to its end."""
        contents, addresses, tweaks = sha512(), sha512(), sha512()
        for each in components:
            for offset in range(0, each.length, _AT_ONCE):
                contents.update(self.read(each.address + offset, min(_AT_ONCE, each.length - offset)))
            for offset in range(0, each.length, PAGE):
                addresses.update((each.address + offset).to_bytes(8, "big"))
                tweaks.update(each.tweak.to_bytes(8, "big") + offset.to_bytes(8, "big"))
            yield each, Digests(contents.digest(), addresses.digest(), tweaks.digest())

    def _fault(self, what: str, remedy: str = "make the image again", lacking: bool = False) -> InputError:
        code = "image.lacking" if lacking else "image.malformed"
        return InputError(what, code=code, where=self.name, remedy=remedy)


def metadata(header_at: int, ipl_block_at: int) -> tuple[int, bytes]:
    """Return where an image says where its header and its IPL block are, and the bytes there."""
    return _METADATA_AT, _METADATA.pack(_MAGIC, header_at, 1, ipl_block_at)


def ipl_block(components: Sequence[Component], header_at: int, header_size: int) -> bytes:
    """Return the IPL block that hands these components and the header to the ultravisor."""
    entries = b"".join(_COMPONENT.pack(each.tweak, each.address, each.length) for each in components)
    size = _IPL.size + len(entries)
    place = (len(components), header_at, header_size)
    return _IPL.pack(size, 0, 0, 1, size - _IPL_HEAD, _PROTECTED, b"", 1, *place) + entries


def read_header(data: bytes, name: str = "header") -> Header:
    """Read a header from its first byte on. Raises InputError where it is wrong or of another version."""

    def fault(what: str) -> InputError:
        return InputError(what, code="image.malformed", where=name, remedy="make the image again")

    if len(data) < _HEADER.size:
        raise fault(f"a Secure Execution header has at least {_HEADER.size} bytes, not {len(data)}")
    magic, version, size, _iv, slots, encrypted, pages, flags, _key, pld, ald, tld = _HEADER.unpack_from(data)
    if magic != b"IBMSecEx" or version != VERSION:
        raise fault(f"this is no Secure Execution header of version {VERSION:#x}")
    if size > len(data) or _HEADER.size + slots * _SLOT + encrypted + _TAG != size:
        raise fault(f"a header of {size} bytes cannot have {slots} key slots and {encrypted} encrypted bytes")
    starts = range(_HEADER.size, _HEADER.size + slots * _SLOT, _SLOT)
    keys = tuple(data[start : start + _HASH] for start in starts)
    return Header(keys, pages, flags, pld, ald, tld, data[size - _TAG : size])
