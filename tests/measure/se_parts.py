"""What Secure Execution images are made of, for tests: a kernel's likeness, a loader's, and IBM's own where it is."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest
from measure_data import CHECKOUT, REAL

from sequester.errors import HostError
from sequester.measure.se_boot_code import FOLDERS, BootCode

STAND_IN = BootCode(
    b"first".ljust(0x400) + bytes(0x400) + b"\xaa" * 0x2000 + bytes(24), b"second".ljust(0x1234) + bytes(64)
)
"""Has IBM's loader's shape and none of its code."""
_CACHE = CHECKOUT / ".cache" / "sequester" / "s390-tools"
_INSTALLED = "usr/share/s390-tools/pvimg"


def kernel(size: int = 0x12345, cmdline: int = 0, fill: bytes = b"k") -> bytes:
    """Return what looks like an s390x kernel that takes a command line of `cmdline` bytes (0: does not say)."""
    made = bytearray(fill * size)
    made[0x10008:0x1000E] = b"S390EP"
    made[0x10430:0x10438] = struct.pack(">Q", cmdline)
    return bytes(made)


def ibms_loader() -> Path:
    """Return the folder of IBM's loader: this machine's, or from Debian's package; skips where there is none."""
    for folder in (*map(Path, FOLDERS), REAL / "forky" / _INSTALLED, _CACHE / _INSTALLED):
        if (folder / "stage3a.bin").exists():
            return folder
    try:
        from sequester.run import debian

        archive = debian.machine_archive()
        state = debian.open_state(_CACHE / "apt", archive, ("forky",), "s390x", accept_expired=True)
        for package in debian.download_alone(state, ("s390-tools",)):
            debian.unpack(package, _CACHE)
        shutil.rmtree(_CACHE / "apt")
    except (HostError, OSError) as error:
        pytest.skip(f"no boot loader of s390-tools here: {error}")
    return _CACHE / _INSTALLED
