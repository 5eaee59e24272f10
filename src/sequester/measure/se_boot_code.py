"""The loader of a Secure Execution image: IBM's machine code, taken from where s390-tools is installed.

It has two parts, each with its arguments as its last bytes, big-endian (s390-tools rust/pvimg/boot/stage3a.h and
stage3b.h; src/se_img_comps/bootloader.rs)::

    stage3a.bin        in clear, at 0x10000; asks the ultravisor to open the image. Arguments, 64 bits each: the
                       header's distance from them, its size, the distance of the IPL block
    stage3b_reloc.bin  encrypted, the last component; puts kernel and initrd in place and starts. Arguments: address
                       and size of kernel, command line and initrd, then the PSW: mask and address, 64 bits each
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from sequester.errors import InputError
from sequester.measure.files import read_image

FOLDERS = ("/usr/share/s390-tools/pvimg", "/usr/share/s390-tools/genprotimg")
"""Where s390-tools puts its loader: from 2.36 on, and before."""
LOAD_AT = 0x10000
ENTRY = 0x11000
"""Where stage3a starts; between the two lies what zipl overwrites of it (pvimg README, "Boot Loader")."""
_FIRST, _SECOND = "stage3a.bin", "stage3b_reloc.bin"
_FIRST_ARGUMENTS = struct.Struct(">QQQ")
_SECOND_ARGUMENTS = struct.Struct(">6Q QQ")
_UNUSED = slice(0x400, 0x800)
"""What zipl overwrites of a kernel, and stage3a therefore leaves zero."""
_LARGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of the image is in memory and how long it is before encryption, in bytes."""

    address: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class BootCode:
    """The loader's two parts as they are installed, their arguments zero."""

    first: bytes
    second: bytes

    def first_part(self, header: Place, ipl_block: int) -> bytes:
        """Return stage3a with its arguments; both places are behind it."""
        own = LOAD_AT + len(self.first) - _FIRST_ARGUMENTS.size
        arguments = _FIRST_ARGUMENTS.pack(header.address - own, header.size, ipl_block - own)
        return self.first[: -len(arguments)] + arguments

    def second_part(self, kernel: Place, cmdline: Place, initrd: Place, mask: int, address: int) -> bytes:
        """Return stage3b with its arguments; `mask` and `address` are the kernel's PSW."""
        places = (kernel.address, kernel.size, cmdline.address, cmdline.size, initrd.address, initrd.size)
        arguments = _SECOND_ARGUMENTS.pack(*places, mask, address)
        return self.second[: -len(arguments)] + arguments


def read_boot_code(folder: str | None = None) -> BootCode:
    """Read the loader from `folder`, or where s390-tools puts it.

    Raises InputError where it is not there, or is no loader.
    """
    if folder is None:
        folder = next((each for each in FOLDERS if os.path.exists(os.path.join(each, _FIRST))), None)
        if folder is None:
            raise InputError(
                "IBM's boot loader for protected guests is not installed here",
                code="image.boot-code",
                why=f"neither {' nor '.join(FOLDERS)} has it",
                remedy="install s390-tools, or unpack its s390x package anywhere and name the folder with --boot-code",
            )
    found = BootCode(*(read_image(os.path.join(folder, name), _LARGEST) for name in (_FIRST, _SECOND)))
    first, second = found.first, found.second
    for name, code, arguments, least in (
        (_FIRST, first, _FIRST_ARGUMENTS.size, ENTRY - LOAD_AT),
        (_SECOND, second, _SECOND_ARGUMENTS.size, 0),
    ):
        if len(code) <= least + arguments or any(code[-arguments:]):
            raise _not_a_loader(folder, name)
    if any(first[_UNUSED]):
        raise _not_a_loader(folder, _FIRST)
    return found


def _not_a_loader(folder: str, name: str) -> InputError:
    return InputError(
        "this is not the boot loader of s390-tools, or was filled in already",
        code="image.boot-code",
        where=os.path.join(folder, name),
        remedy="take it from the package again",
    )
