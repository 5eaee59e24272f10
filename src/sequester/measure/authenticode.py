"""The digest by which UEFI firmware measures an executable: SHA-384 of a PE image without its signatures.

What is hashed (Microsoft "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image
Hash"; edk2 OvmfPkg/Tcg/TdTcg2Dxe/MeasureBootPeCoff.c): the headers without the checksum and the directory entry of the
certificate table, the sections by place, and what follows them except for the certificate table.
"""

from __future__ import annotations

import struct
from hashlib import sha384

from sequester.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

_PE_OFFSET = 0x3C
_SECTION = struct.Struct("<8sIIIIIIHHI")
_MOST_SECTIONS = 96
"""More than Windows loads (PE format, `NumberOfSections`)."""
_CERTIFICATES = 4
"""Number of the certificate table's directory entry."""


def image_digest(image: bytes, name: str = "kernel", algorithm: Callable[[], _Hash] = sha384) -> bytes:
    """Return the digest of a PE image. Raises InputError, naming it, where it is none."""
    try:
        return _digest(image, algorithm)
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(
            "this is no executable that UEFI firmware starts",
            code="measure.kernel",
            where=name,
            why=str(error),
            remedy="a kernel needs CONFIG_EFI_STUB",
        ) from None


def _digest(image: bytes, algorithm: Callable[[], _Hash]) -> bytes:
    if image[:2] != b"MZ":
        raise ValueError("it does not begin with MZ")
    (pe,) = struct.unpack_from("<I", image, _PE_OFFSET)
    if image[pe : pe + 4] != b"PE\0\0":
        raise ValueError(f"there is no PE header at {pe:#x}")
    sections, size_of_optional = struct.unpack_from("<H12xH", image, pe + 6)
    optional = pe + 24
    (magic,) = struct.unpack_from("<H", image, optional)
    if magic not in (0x10B, 0x20B):
        raise ValueError(f"its optional header has the magic {magic:#x}")
    if sections > _MOST_SECTIONS:
        raise ValueError(f"it claims {sections} sections")
    (size_of_headers,) = struct.unpack_from("<I", image, optional + 60)
    directories = optional + (112 if magic == 0x20B else 96)
    (count,) = struct.unpack_from("<I", image, directories - 4)
    digest = algorithm()
    view = memoryview(image)
    checksum, entry = optional + 64, directories + 8 * _CERTIFICATES
    if not entry + 8 <= size_of_headers <= len(image):
        raise ValueError(f"it claims {size_of_headers:#x} bytes of headers")
    digest.update(view[:checksum])
    certificates = 0
    if count > _CERTIFICATES:
        (certificates,) = struct.unpack_from("<I", image, entry + 4)
        digest.update(view[checksum + 4 : entry])
        digest.update(view[entry + 8 : size_of_headers])
    else:
        digest.update(view[checksum + 4 : size_of_headers])
    hashed = size_of_headers
    for start, size in _sections(image, optional + size_of_optional, sections):
        if start + size > len(image):
            raise ValueError(f"it claims a section up to {start + size:#x}, and ends at {len(image):#x}")
        digest.update(view[start : start + size])
        hashed += size
    if hashed + certificates > len(image):
        raise ValueError("its sections and signatures are longer than it is")
    digest.update(view[hashed : len(image) - certificates])
    return digest.digest()


def _sections(image: bytes, at: int, count: int) -> list[tuple[int, int]]:
    """Return place and size of the sections that have contents, by place."""
    found = []
    for number in range(count):
        fields = _SECTION.unpack_from(image, at + _SECTION.size * number)
        size, start = fields[3], fields[4]
        if size:
            found.append((start, size))
    return sorted(found)
