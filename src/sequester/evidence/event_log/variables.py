"""UEFI variables as events have them: which, what it holds, and what that means.

Layout, little-endian (TCG PC Client Platform Firmware Profile 1.06, 10.2.6; UEFI 2.10, 3.1.3 and 32.4.1)::

    event       GUID 16 bytes, length of the name 64 in characters, length of the data 64; name in UTF-16, data
    Boot####    attributes 32, length of the path 16, description in UTF-16 with a zero, device path, the program's own
    db and such lists: type GUID, sizes 32 of the list, its header, each entry; header; entries: owner GUID, data
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sequester.errors import InputError
from sequester.evidence.event_log.device_path import guid_text, path_text, utf16_text

_HEAD = struct.Struct("<16sQQ")
_LIST = struct.Struct("<16sIII")
_OPTION = struct.Struct("<IH")
_SWITCHES = ("SecureBoot", "SetupMode", "AuditMode", "DeployedMode", "MokSBState")
_SIGNATURE_LISTS = ("PK", "KEK", "db", "dbx", "dbt", "dbr", "MokList", "MokListX")
_BOOT = re.compile(r"(?:Boot|Driver|SysPrep)[0-9A-F]{4}")
_CERTIFICATE = "A5C059A1-94E4-4AA7-87B5-AB155C2BF072"
_KINDS = {
    _CERTIFICATE: "certificate",
    "C1C41626-504C-4092-ACA9-41F936934328": "SHA-256",
    "FF3E5307-9FD0-48C9-85F1-8AD56C701E01": "SHA-384",
    "3C5766E8-269C-4E34-AA14-ED776E85B3B6": "RSA-2048 key",
}
_MOST_ENTRIES = 4096
_MOST_NAMED = 8
_ACTIVE = 1


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: whose it is (GUID), its name, its data."""

    owner: str
    name: str
    data: bytes


def read(data: bytes) -> Variable:
    """Read an event's data. Raises ValueError for what is malformed."""
    if len(data) < _HEAD.size:
        raise ValueError("the variable is cut off")
    owner, characters, size = _HEAD.unpack_from(data)
    if _HEAD.size + 2 * characters + size != len(data):
        raise ValueError("the variable's lengths are not those of the event")
    end = _HEAD.size + 2 * characters
    return Variable(
        guid_text(owner), data[_HEAD.size : end].decode("utf-16-le", "replace").rstrip("\0"), data[end:]
    )


def describe(variable: Variable, authority: bool) -> tuple[dict[str, Any], str]:
    """Return what a variable holds, fit for JSON, and in words. `authority`: what vouched for a program.

    Raises ValueError for what is malformed.
    """
    name, data = variable.name, variable.data
    if not data:
        return {}, f"{name} is not there"
    if name in _SWITCHES and len(data) == 1:
        return {"on": bool(data[0])}, f"{name} is {'on' if data[0] else 'off'}"
    if authority:
        return _authority(name, data)
    if name in ("BootOrder", "DriverOrder") and len(data) % 2 == 0:
        order = [f"{name[:-5]}{number:04X}" for (number,) in struct.iter_unpack("<H", data)]
        return {"order": order}, f"{name}: {', '.join(order)}"
    if _BOOT.fullmatch(name):
        return _option(name, data)
    if name in _SIGNATURE_LISTS:
        return _signatures(name, data)
    return {"data": data.hex()}, f"{name}: {len(data)} bytes"


def _option(name: str, data: bytes) -> tuple[dict[str, Any], str]:
    if len(data) < _OPTION.size:
        raise ValueError(f"{name} is cut off")
    attributes, size = _OPTION.unpack_from(data)
    at = _OPTION.size
    end = next((at for at in range(at, len(data) - 1, 2) if data[at : at + 2] == b"\0\0"), None)
    if end is None or end + 2 + size > len(data):
        raise ValueError(f"{name} is cut off")
    description, path = utf16_text(data[at:end]), path_text(data[end + 2 : end + 2 + size])
    own = data[end + 2 + size :]
    told: dict[str, Any] = {"description": description, "path": path, "active": bool(attributes & _ACTIVE)}
    if own:
        told["data"] = own.hex()
    return told, f"{name}: '{description}', {path}{'' if attributes & _ACTIVE else ', not active'}"


def _signatures(name: str, data: bytes) -> tuple[dict[str, Any], str]:
    found: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for kind, owner, entry in _entries(data):
        counts[kind] = counts.get(kind, 0) + 1
        told = {"type": kind, "owner": owner, "data": entry.hex()}
        if kind == "certificate" and (subject := _subject(entry)):
            told["subject"] = subject
        found.append(told)
    named = [each["subject"] for each in found if "subject" in each][:_MOST_NAMED]
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items())
    subjects = f" ({'; '.join(named)})" if named else ""
    return {"entries": found}, f"{name}: {said or 'empty'}{subjects}"


def _entries(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Yield type, owner and data of all entries of all lists."""
    at = count = 0
    while at < len(data):
        if at + _LIST.size > len(data):
            raise ValueError("a list of signatures is cut off")
        kind, size, head, each = _LIST.unpack_from(data, at)
        end, start = at + size, at + _LIST.size + head
        if each <= 16 or not start <= end <= len(data) or (end - start) % each:
            raise ValueError("a list of signatures is malformed")
        name = _KINDS.get(guid_text(kind), guid_text(kind))
        for begin in range(start, end, each):
            count += 1
            if count > _MOST_ENTRIES:
                raise ValueError("a list of signatures has too many entries")
            yield name, guid_text(data[begin : begin + 16]), data[begin + 16 : begin + each]
        at = end


def _authority(name: str, data: bytes) -> tuple[dict[str, Any], str]:
    """One entry of a list without its head, or a text: shim has its revocation level so."""
    subject = _subject(data[16:])
    if subject:
        told = {"signature-owner": guid_text(data[:16]), "subject": subject, "data": data[16:].hex()}
        return told, f"{name}: certificate of '{subject}'"
    if data.isascii() and all(byte >= 0x20 or byte in b"\t\r\n" for byte in data.rstrip(b"\0")):
        text = data.rstrip(b"\0").decode()
        return {"text": text}, f"{name}: {' '.join(text.split())}"
    return {"data": data.hex()}, f"{name}: {len(data)} bytes"


def _subject(data: bytes) -> str:
    """Return the subject of a certificate, '' where this is none that can be read."""
    from sequester.evidence.papers import describe_subject, read

    try:
        certificates = read(data).certificates if data[:1] == b"\x30" else ()
    except InputError:
        return ""
    return describe_subject(certificates[0]) if certificates else ""
