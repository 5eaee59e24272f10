"""MRTD, the measurement of a TDX guest's initial memory: one SHA-384 over what is added and extended, in order.

A page that is added is a block of 128 bytes; a page that is measured too is extended by 16 chunks of 256 bytes, each
behind a block of its own (Intel TDX module 1.5 base specification, 348549, "TD Measurement"; ABI specification,
348551, TDH.MEM.PAGE.ADD, TDH.MR.EXTEND)::

    0   MEM.PAGE.ADD or MR.EXTEND in ASCII, zeros to 16
    16  guest physical address, 64 bits, little-endian; zeros to 128

KVM adds a page and extends it before the next one (Linux arch/x86/kvm/vmx/tdx.c, `tdx_gmem_post_populate`, 6.16 to
7.2). Other launchers add all pages of a section before they extend any.
"""

from __future__ import annotations

from hashlib import sha384

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

PAGE = 4096
_CHUNK = 256
_PER_PAGE = range(0, PAGE, _CHUNK)
_ADD = b"MEM.PAGE.ADD".ljust(16, b"\0")
_EXTEND = b"MR.EXTEND".ljust(16, b"\0")
_REST = bytes(128 - 16 - 8)


def start() -> _Hash:
    """Return the hash before anything was added."""
    return sha384()


def add(digest: _Hash, address: int, size: int) -> None:
    """Add `size` bytes of pages from `address`, not measured."""
    for page in range(address, address + size, PAGE):
        digest.update(_ADD + page.to_bytes(8, "little") + _REST)


def extend(digest: _Hash, address: int, contents: bytes) -> None:
    """Measure pages with these contents that were added from `address` on."""
    for offset in range(0, len(contents), PAGE):
        digest.update(_extended(address, contents, offset))


def add_and_extend(digest: _Hash, address: int, contents: bytes) -> None:
    """Add pages with these contents from `address` on, each measured before the next is added."""
    for offset in range(0, len(contents), PAGE):
        added = _ADD + (address + offset).to_bytes(8, "little") + _REST
        digest.update(added + _extended(address, contents, offset))


def _extended(address: int, contents: bytes, offset: int) -> bytes:
    pieces: list[bytes] = []
    for at in _PER_PAGE:
        place = offset + at
        pieces += (
            _EXTEND,
            (address + place).to_bytes(8, "little"),
            _REST,
            contents[place : place + _CHUNK],
        )
    return b"".join(pieces)
