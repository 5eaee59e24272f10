"""How an OVMF build starts a kernel that QEMU hands over: builds differ, and what they do is measured.

It is read from the build itself: its drivers are unpacked (a GUIDed section with LZMA data, UEFI PI 1.8, volume 3,
3.2.5.1), and a string or GUID in them tells the way. The ways were seen by booting Debian's builds 2022.11 and
2026.08, and in the event logs of Trustee's test data (deps/eventlog/test_data/CCEL_data_ovmf).
"""

from __future__ import annotations

import uuid

from sequester.measure.uefi import boot_option
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LZMA = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
_GUIDED = 0x02
_SECTION_HEADER = 4
_MOST_UNPACKED = 64 << 20
"""Debian's largest build unpacks to 16 MiB."""

_DRIVERS = uuid.UUID("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1")
"""The volume with OVMF's drivers and applications (OvmfPkg, DXEFV)."""
_UI = uuid.UUID("462caa21-7614-4503-836e-8ab6f4662331")
_MENU = uuid.UUID("eec25bdc-67f2-4d95-b1d5-f81b2039d11d")
_ACTIVE_HIDDEN, _ACTIVE = 0x109, 0x101


@record
class Ways:
    """What a build does.

    `kernel_as_is`: it takes the kernel as the file is, not with the header that QEMU has filled in. `initrd_first`:
    ``initrd=initrd`` comes before the command line, not after it. `secure_boot`: it can do Secure Boot. `options` are
    its boot options when a kernel is handed over, in boot order.
    """

    kernel_as_is: bool
    initrd_first: bool
    secure_boot: bool
    options: tuple[bytes, ...]

    def command_line(self, given: str, initrd: bool) -> str:
        """Return the command line that the kernel gets."""
        if not initrd:
            return given
        return f"initrd=initrd {given}" if self.initrd_first else f"{given} initrd=initrd"


def read_ways(image: bytes) -> Ways | None:
    """Return what a build does, or None where its drivers cannot be unpacked: they are packed in another way."""
    unpacked = tuple(_unpacked(image))
    if not any(b"initrd=initrd" in each for each in unpacked):
        return None

    def has(what: bytes) -> bool:
        return any(what in each for each in unpacked)

    menu = has(_MENU.bytes_le)
    options = (
        (
            boot_option(_ACTIVE_HIDDEN, "BootManagerMenuApp", _DRIVERS, _MENU),
            boot_option(_ACTIVE, "EFI Firmware Setup", _DRIVERS, _UI),
        )
        if menu
        else (boot_option(_ACTIVE_HIDDEN, "UiApp", _DRIVERS, _UI),)
    )
    secure_boot = has("SecureBootEnable".encode("utf-16-le"))
    return Ways(has(b"etc/boot/\0"), has(b"initrd=initrd "), secure_boot, options)


def _unpacked(image: bytes) -> Iterator[bytes]:
    import lzma

    left, at = _MOST_UNPACKED, image.find(_LZMA)
    while at >= _SECTION_HEADER and left > 0:
        start = at - _SECTION_HEADER
        size = int.from_bytes(image[start : start + 3], "little")
        offset = int.from_bytes(image[at + 16 : at + 18], "little")
        if image[start + 3] == _GUIDED and offset < size:
            unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=_MOST_UNPACKED * 2)
            try:
                data = unpacker.decompress(image[start + offset : start + size], left)
            except (lzma.LZMAError, MemoryError):
                data = b""
            left -= len(data)
            yield data
        at = image.find(_LZMA, at + 16)
