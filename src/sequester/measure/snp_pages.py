"""The SEV-SNP launch digest: a chain of SHA-384 digests, one link for each page that goes into the guest.

A link is the digest of a PAGE_INFO, 0x70 bytes, little-endian (SNP firmware ABI 1.58, 8.17.2, table 67)::

    0x00  DIGEST_CUR  the chain so far, 48 bytes, zero at first
    0x30  CONTENTS    SHA-384 of the page if it is normal or a VMSA, else zero, 48 bytes
    0x60  LENGTH 0x70, 16 bits; PAGE_TYPE, 8 bits; IMI_PAGE bit, 8 bits
    0x64  permissions of VMPL 3, 2 and 1, reserved, 8 bits each
    0x68  GPA of the page, 64 bits
"""

from __future__ import annotations

from hashlib import sha384

PAGE = 4096
NO_DIGEST = bytes(48)
"""Where a chain begins, and the CONTENTS of pages whose contents are not measured."""

NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = 1, 2, 3, 4, 5, 6
"""PAGE_TYPE (table 67)."""

TYPE_NAMES = {
    NORMAL: "normal",
    VMSA: "vmsa",
    ZERO: "zero",
    UNMEASURED: "unmeasured",
    SECRETS: "secrets",
    CPUID: "cpuid",
}

VMSA_ADDRESS = 0xFFFF_FFFF_F000
"""The GPA under which VMSAs are measured: Linux gives the firmware -1, of which 48 bits remain, page aligned."""


def _info(page_type: int) -> bytes:
    return bytes((0x70, 0, page_type, 0, 0, 0, 0, 0))


_NORMAL = _info(NORMAL)
_VMSA = _info(VMSA) + VMSA_ADDRESS.to_bytes(8, "little")


def add_contents(chain: bytes, address: int, contents: bytes) -> bytes:
    """Return the chain after normal pages with these contents from `address` on.

    `contents` is a whole number of pages. Pages like the one before are not hashed again: images are padded.
    """
    last = digest = b""
    for offset in range(0, len(contents), PAGE):
        page = contents[offset : offset + PAGE]
        if page != last:
            last, digest = page, sha384(page).digest()
        chain = sha384(chain + digest + _NORMAL + (address + offset).to_bytes(8, "little")).digest()
    return chain


def add_blank(chain: bytes, page_type: int, address: int, size: int) -> bytes:
    """Return the chain after `size` bytes of pages of a type whose contents are not measured."""
    info = NO_DIGEST + _info(page_type)
    for page in range(address, address + size, PAGE):
        chain = sha384(chain + info + page.to_bytes(8, "little")).digest()
    return chain


def add_vmsa(chain: bytes, contents: bytes) -> bytes:
    """Return the chain after a VMSA whose contents have this SHA-384."""
    return sha384(chain + contents + _VMSA).digest()
