"""What a firmware image or kernel file on this host says of itself. Reads a few hundred bytes of it, not all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sequester.errors import InputError
from sequester.findings.case import Firmware
from sequester.firmware import igvm, sev, tdvf, volume
from sequester.firmware.footer import HASH_TABLE_SIZE, FooterTable, read_footer
from sequester.firmware.image import Image
from sequester.firmware.secure_execution import find_header
from sequester.firmware.sev import read_sev_metadata
from sequester.firmware.tdvf import read_tdvf
from sequester.firmware.volume import is_aarch64, read_volumes

FEATURES = {
    "sev-es": "tells where further vCPUs of an SEV-ES or SNP guest start",
    "sev-secret": "has room for a launch secret",
    "sev-hashes": "has room for the hashes of -kernel, -initrd and -append",
    "sev-snp": "carries the metadata that an SNP launch needs",
    "snp-hashes": "has the kernel hashes in a page that an SNP launch measures",
    "tdx": "is a complete TDVF",
    "code": "holds firmware code",
    "variables": "holds a store of variables",
    "aarch64": "is for 64-bit Arm",
    "igvm": "is an IGVM file, for -machine igvm-cfg=, not for -bios or pflash",
    "qcow2": "is a qcow2 image, for pflash with format=qcow2; it cannot be a ROM",
    "secure-execution": "is an s390 Secure Execution image, for -kernel",
}
"""What `Firmware.features` may hold. An IGVM file has ``igvm-PLATFORM`` too for each platform it is made for."""

_QCOW2 = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that is an open file; what is read of it is read when it is asked for."""

    descriptor: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end of the file. OSError where it cannot be read."""
        return os.pread(self.descriptor, length, offset)


def inspect(path: str) -> Firmware:
    """Return what a firmware image, or a kernel for ``-kernel``, says of itself.

    Never raises: `Firmware.error` says why a file could not be read, or what in it is wrong; `features` (see
    `FEATURES`) are those that are borne out all the same.
    """
    try:
        with _opened(path) as image:
            features, faults = examine(image)
            return Firmware(path, image.size, features, "; ".join(faults))
    except OSError as error:
        return Firmware(path, error=error.strerror or str(error))
    except (InputError, ValueError) as error:
        return Firmware(path, error=str(error))


def examine(image: Image) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the features that an image bears out, and what is wrong in it, a line each."""
    found: set[str] = set()
    faults: list[str] = []
    magic = image.read(0, 4)
    if magic == _QCOW2:
        return frozenset({"qcow2"}), ("a qcow2 image cannot be a ROM, and its contents were not read",)
    if magic == igvm.MAGIC:
        found.add("igvm")
        with _collecting(faults):
            found.update(f"igvm-{name}" for name in igvm.read_platforms(image))
        return frozenset(found), tuple(faults)
    with _collecting(faults):
        volumes = read_volumes(image)
        found.update(_of_volumes(image, volumes))
    with _collecting(faults):
        table = read_footer(image)
        if table is not None:
            _of_table(image, table, found, faults)
    if not found and find_header(image) is not None:
        found.add("secure-execution")
    return frozenset(found), tuple(faults)


def _of_volumes(image: Image, volumes: tuple[volume.Volume, ...]) -> Iterator[str]:
    if any(each.code for each in volumes):
        yield "code"
    if any(each.variables for each in volumes):
        yield "variables"
    if is_aarch64(image, volumes):
        yield "aarch64"


def _of_table(image: Image, table: FooterTable, found: set[str], faults: list[str]) -> None:
    if table.fault:
        faults.append(table.fault)
    with _collecting(faults):
        if table.sev_es_reset:
            found.add("sev-es")
    with _collecting(faults):
        if (secret := table.secret) and secret.base and secret.size:
            found.add("sev-secret")
    with _collecting(faults):
        if (hashes := table.hashes) and hashes.base and hashes.size >= HASH_TABLE_SIZE:
            found.add("sev-hashes")
    with _collecting(faults):
        if (distance := table.sev_metadata) is not None:
            metadata = read_sev_metadata(image, distance)
            if metadata.has(sev.SECRETS) and metadata.has(sev.CPUID):
                found.add("sev-snp")
            if metadata.has(sev.KERNEL_HASHES) and "sev-hashes" in found:
                found.add("snp-hashes")
    with _collecting(faults):
        if (distance := table.tdx_metadata) is not None:
            layout = read_tdvf(image, distance)
            complete = layout.has(tdvf.BFV) and layout.has(tdvf.TD_HOB)
            if complete and not layout.outside(image.size):
                found.add("tdx")


@contextmanager
def _collecting(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        faults.append(error.what)


@contextmanager
def _opened(path: str) -> Iterator[ImageFile]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise InputError("not a regular file", code="firmware.unreadable")
        yield ImageFile(descriptor, about.st_size)
    finally:
        os.close(descriptor)
