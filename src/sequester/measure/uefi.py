"""UEFI data that firmware measures: variables, the store they begin in, boot options, command lines.

Layouts, little-endian: variable event (TCG PC Client Platform Firmware Profile 1.05, `UEFI_VARIABLE_DATA`): GUID,
number of characters and of bytes, 64 bits each, name in UTF-16, data. Store (edk2 MdeModulePkg/Include/Guid/
VariableFormat.h): volume header, then GUID, size 32 bits, format 0x5a, state 0xfe, 6 bytes; then variables, each at a
multiple of 4: 0x55aa 16 bits, state, reserved, attributes 32, 24 bytes of count and time, key index, size of the name
and of the data, 32 bits each, vendor GUID, name in UTF-16 with its zero, data. Boot option (UEFI 2.10, 3.1.3):
attributes 32 bits, length of the device path 16 bits, description in UTF-16 with its zero, device path.
"""

from __future__ import annotations

import struct
import uuid

from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
IMAGE_SECURITY = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SECURE_BOOT_ENABLE = uuid.UUID("f0a30bc7-af08-4556-99c4-001009c93a44")

_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792").bytes_le
_STORE_HEADER = struct.Struct("<16sIBB6x")
_FORMATTED, _HEALTHY = 0x5A, 0xFE
_VARIABLE = struct.Struct("<HBxI24xIII16s")
_START = 0x55AA
_ADDED = 0x3F
"""State of a variable that is there; others are being written or deleted."""
_MOST_VARIABLES = 4096
_VOLUME_HEADER_LENGTH = 48
"""Offset of the length of a volume's header (UEFI PI 1.8, volume 3, 3.2.1)."""

_PATH_IN_VOLUME, _PATH_FILE, _PATH_END = (4, 7, 20), (4, 6, 20), (0x7F, 0xFF, 4)
_NODE = struct.Struct("<BBH")


@record
class Variable:
    """A UEFI variable."""

    vendor: uuid.UUID
    name: str
    data: bytes = b""

    def event(self) -> bytes:
        """Return what is hashed when the variable is measured as configuration."""
        name = self.name.encode("utf-16-le")
        return self.vendor.bytes_le + struct.pack("<QQ", len(self.name), len(self.data)) + name + self.data


def read_store(volume: bytes) -> tuple[Variable, ...]:
    """Return the variables that a volume's authenticated store holds; () where it holds no such store."""
    return tuple(_variables(volume))


def _variables(volume: bytes) -> Iterator[Variable]:
    if len(volume) < _VOLUME_HEADER_LENGTH + 2:
        return
    (start,) = struct.unpack_from("<H", volume, _VOLUME_HEADER_LENGTH)
    if start + _STORE_HEADER.size > len(volume):
        return
    guid, size, formatted, healthy = _STORE_HEADER.unpack_from(volume, start)
    if (guid, formatted, healthy) != (_STORE, _FORMATTED, _HEALTHY):
        return
    end, at = min(start + size, len(volume)), start + _STORE_HEADER.size
    for _ in range(_MOST_VARIABLES):
        if at + _VARIABLE.size > end:
            return
        begin, state, _attributes, _key, of_name, of_data, vendor = _VARIABLE.unpack_from(volume, at)
        at += _VARIABLE.size
        if begin != _START or at + of_name + of_data > end:
            return
        if state == _ADDED:
            name = volume[at : at + of_name].decode("utf-16-le", "replace").rstrip("\0")
            yield Variable(uuid.UUID(bytes_le=vendor), name, volume[at + of_name : at + of_name + of_data])
        at += -(-(of_name + of_data) // 4) * 4


def boot_option(attributes: int, description: str, volume: uuid.UUID, file: uuid.UUID) -> bytes:
    """Return the boot option of an application in the firmware itself."""
    path = (
        (_NODE.pack(*_PATH_IN_VOLUME) + volume.bytes_le)
        + (_NODE.pack(*_PATH_FILE) + file.bytes_le)
        + _NODE.pack(*_PATH_END)
    )
    return struct.pack("<IH", attributes, len(path)) + _text(description) + path


def load_options(command_line: str) -> bytes:
    """Return a command line as an EFI application gets it."""
    return _text(command_line)


def _text(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"
