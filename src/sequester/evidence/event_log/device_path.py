"""UEFI device paths in words, as its specification writes them (UEFI 2.10, 10.3 and 10.6).

Layout, little-endian: nodes of type 8, subtype 8, length 16 with these 4 bytes, and data; type 0x7f ends it.
"""

from __future__ import annotations

import struct
from uuid import UUID

_END, _END_ALL = 0x7F, 0xFF
_MOST_NODES = 256
_MOST_HEX = 64
_PCI_ROOTS = {0x0A03: "PciRoot", 0x0A08: "PcieRoot"}
_PNP = 0x41D0
_SIGNATURES = {1: "MBR", 2: "GPT"}


def path_text(data: bytes) -> str:
    """Return a path as text, its nodes with / between them. Raises ValueError for what is none."""
    nodes: list[str] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data) or len(nodes) == _MOST_NODES:
            raise ValueError("the device path is malformed")
        kind, subtype, length = struct.unpack_from("<BBH", data, at)
        if length < 4 or at + length > len(data):
            raise ValueError("the device path is malformed")
        if kind == _END:
            if subtype == _END_ALL:
                return "/".join(nodes)
            nodes.append(",")
        else:
            nodes.append(_node(kind, subtype, data[at + 4 : at + length]))
        at += length
    raise ValueError("the device path has no end")


def guid_text(data: bytes) -> str:
    """Return a GUID of 16 bytes as text."""
    return str(UUID(bytes_le=data)).upper()


def utf16_text(data: bytes) -> str:
    """Return UTF-16 up to a zero, or the end."""
    return data.decode("utf-16-le", "replace").split("\0", 1)[0]


def _node(kind: int, subtype: int, data: bytes) -> str:
    try:
        read = _NODES.get((kind, subtype))
        if read is not None:
            return read(data)
    except (struct.error, ValueError):
        pass  # shorter than its type has it: its bytes are shown, as those of an unknown type
    return f"Path({kind},{subtype},{data[:_MOST_HEX].hex()})"


def _pci(data: bytes) -> str:
    function, device = struct.unpack("<BB", data)
    return f"Pci({device:#x},{function:#x})"


def _acpi(data: bytes) -> str:
    hid, uid = struct.unpack_from("<II", data)
    if hid & 0xFFFF != _PNP:
        return f"Acpi({hid:#010x},{uid:#x})"
    number = hid >> 16
    name = _PCI_ROOTS.get(number)
    return f"{name}({uid:#x})" if name is not None else f"Acpi(PNP{number:04X},{uid:#x})"


def _drive(data: bytes) -> str:
    number, start, size, signature, _, kind = struct.unpack("<IQQ16sBB", data)
    if kind == 1:
        told = f"{int.from_bytes(signature[:4], 'little'):#010x}"
    else:
        told = guid_text(signature)
    return f"HD({number},{_SIGNATURES.get(kind, kind)},{told},{start:#x},{size:#x})"


def _vendor(name: str, data: bytes) -> str:
    more = f",{data[16:][:_MOST_HEX].hex()}" if data[16:] else ""
    return f"{name}({guid_text(data[:16])}{more})"


def _file(data: bytes) -> str:
    # The specification writes the name alone; with brackets what is in it cannot be taken for another node.
    return f"File({utf16_text(data)})"


def _usb(data: bytes) -> str:
    return "USB({:#x},{:#x})".format(*struct.unpack("<BB", data))


def _scsi(data: bytes) -> str:
    return "Scsi({:#x},{:#x})".format(*struct.unpack("<HH", data))


def _sata(data: bytes) -> str:
    return "Sata({:#x},{:#x},{:#x})".format(*struct.unpack("<HHH", data))


def _nvme(data: bytes) -> str:
    namespace, identifier = struct.unpack("<I8s", data)
    return f"NVMe({namespace:#x},{identifier[::-1].hex('-').upper()})"


def _network(data: bytes) -> str:
    address, kind = struct.unpack("<32sB", data)
    return f"MAC({address[:6].hex()},{kind:#x})"


def _offsets(data: bytes) -> str:
    return "Offset({:#x},{:#x})".format(*struct.unpack("<4xQQ", data))


def _memory(data: bytes) -> str:
    return "MemoryMapped({:#x},{:#x},{:#x})".format(*struct.unpack("<IQQ", data))


_NODES = {
    (1, 1): _pci,
    (1, 3): _memory,
    (1, 4): lambda data: _vendor("VenHw", data),
    (2, 1): _acpi,
    (3, 2): _scsi,
    (3, 5): _usb,
    (3, 10): lambda data: _vendor("VenMsg", data),
    (3, 11): _network,
    (3, 18): _sata,
    (3, 23): _nvme,
    (3, 24): lambda data: f"Uri({data.decode('ascii', 'replace')})",
    (4, 1): _drive,
    (4, 3): lambda data: _vendor("VenMedia", data),
    (4, 4): _file,
    (4, 6): lambda data: f"FvFile({guid_text(data)})",
    (4, 7): lambda data: f"Fv({guid_text(data)})",
    (4, 8): _offsets,
}
