"""What an event says: in words, fit for JSON, and whether its digest is of what it says.

An event's data is the log's word alone. The digest is what was measured: only where it is that of the data, or of a
part of it, is the word good; else it tells where to look, and the digest must be known from elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha384
from typing import Any

from sequester.evidence.event_log import types, variables
from sequester.evidence.event_log.device_path import guid_text, path_text, utf16_text
from sequester.evidence.event_log.log import Event

_LOAD = struct.Struct("<QQQQ")
_RANGE = struct.Struct("<QQ")
_TABLE = struct.Struct("<16sQ")
_GPT_HEAD = struct.Struct("<8sIIIIQQQQ16sQIII")
_PARTITION = struct.Struct("<16s16sQQQ72s")
_MOST = 256
_LONGEST = 400
_PREFIXES = ("grub_cmd: ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd ", "grub_kernel_cmdline ")
"""GRUB's words before what it measures (grub-core/kern/verifiers.c, and patched versions of it)."""
_SHIM_NAME, _SHIM_DATA = 16, 20
"""td-shim's tables: a name of 16 bytes, a length of 32 bits, and what is measured."""
_MEANINGS = {
    "LOADED_IMAGE::LoadOptions": "the kernel's command line",
    "Linux initrd": "the initial RAM disk",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What an event says. `covered` names the part of its data that the digest is of, '' where it is of none."""

    value: Mapping[str, Any]
    words: str
    covered: str


def tell(event: Event) -> Told:
    """Return what an event says; of one that is malformed that it is."""
    read = _READERS.get(event.type, _plain)
    try:
        value, words = read(event)
    except (ValueError, struct.error) as error:
        value, words = {"malformed": str(error)}, f"malformed: {error}"
    return Told(value, words[:_LONGEST], _covered(event))


def _covered(event: Event) -> str:
    digest = event.sha384
    if digest is None or event.type == types.NO_ACTION:
        return ""
    return next((what for what, part in _parts(event) if sha384(part).digest() == digest), "")


def _parts(event: Event) -> Iterator[tuple[str, bytes]]:
    """Yield the parts of an event's data that firmware and boot loaders measure."""
    yield "data", event.data
    if event.type in _VARIABLES:
        try:
            yield "variable", variables.read(event.data).data
        except ValueError:
            return
    elif event.type == types.CONFIGURATION and len(event.data) > _SHIM_DATA:
        yield "table", event.data[_SHIM_DATA:]
    elif event.type in (types.IPL, types.TAG):
        text = event.data.split(b"\0", 1)[0]
        yield "text", text
        for prefix in _PREFIXES:
            if text.startswith(prefix.encode()):
                rest = text[len(prefix) :]
                yield "text", rest
                yield "text", rest + b"\0"


def _variable(event: Event) -> tuple[dict[str, Any], str]:
    variable = variables.read(event.data)
    told = {"owner": variable.owner, "name": variable.name, "size": len(variable.data)}
    try:
        more, words = variables.describe(variable, event.type == types.VARIABLE_AUTHORITY)
    except ValueError as error:
        more = {"data": variable.data.hex(), "malformed": str(error)}
        words = f"{variable.name}: malformed: {error}"
    return told | more, words


def _separator(event: Event) -> tuple[dict[str, Any], str]:
    (value,) = struct.unpack("<I", event.data)
    if value in (0, 0xFFFFFFFF):
        return {"value": value}, "what is measured from here on is not the firmware's own"
    return {"value": value}, f"the firmware reports an error, {value:#x}"


def _text(event: Event) -> tuple[dict[str, Any], str]:
    text = _string(event.data)
    return {"text": text}, f"'{' '.join(text.split())}'"


def _ipl(event: Event) -> tuple[dict[str, Any], str]:
    text = _string(event.data)
    for prefix in _PREFIXES:
        if text.startswith(prefix):
            what = "the kernel's command line" if "kernel" in prefix else "GRUB"
            return {"text": text}, f"{what}: {' '.join(text[len(prefix) :].split())}"
    if text.startswith("."):
        return {"text": text}, f"section {text} of the kernel image"
    return {"text": text}, " ".join(text.split())


def _tag(event: Event) -> tuple[dict[str, Any], str]:
    number, size = struct.unpack_from("<II", event.data)
    data = event.data[8:]
    if size != len(data):
        raise ValueError("the tagged event's length is not that of the event")
    text = _string(data)
    what = types.TAGS.get(number, _MEANINGS.get(text, f"tag {number:#x}"))
    return {"tag": number, "text": text}, f"{what}: '{text}'"


def _image(event: Event) -> tuple[dict[str, Any], str]:
    """UEFI_IMAGE_LOAD_EVENT (TCG EFI Platform Specification 1.22, 4.2.3)."""
    address, size, linked, length = _LOAD.unpack_from(event.data)
    path = event.data[_LOAD.size :]
    if length != len(path):
        raise ValueError("the device path's length is not that of the event")
    text = path_text(path) if path else ""
    told = {"address": address, "size": size, "link-address": linked, "path": text}
    return told, f"{text or 'a program from memory'}, {size} bytes"


def _firmware(event: Event) -> tuple[dict[str, Any], str]:
    name, rest = _named(event)
    base, size = _RANGE.unpack(rest)
    return {"name": name, "base": base, "size": size}, f"{name or 'firmware'}, {size} bytes at {base:#x}"


def _tables(event: Event) -> tuple[dict[str, Any], str]:
    name, rest = _named(event)
    (count,) = struct.unpack_from("<Q", rest)
    if count > _MOST or 8 + count * _TABLE.size != len(rest):
        raise ValueError("the number of tables is not that of the event")
    tables = [{"guid": guid_text(guid), "address": address} for guid, address in _TABLE.iter_unpack(rest[8:])]
    said = ", ".join(f"{each['guid']} at {each['address']:#x}" for each in tables)
    return {"name": name, "tables": tables}, f"{f'{name}: ' if name else ''}{said}"


def _named(event: Event) -> tuple[str, bytes]:
    """Return the name that the second forms begin with, '' in the first forms, and what follows it."""
    if event.type not in (types.FIRMWARE_2, types.TABLES_2):
        return "", event.data
    size = event.data[0] if event.data else 0
    name, rest = event.data[1 : 1 + size], event.data[1 + size :]
    if len(name) != size:
        raise ValueError("the name is cut off")
    return _string(name), rest


def _partitions(event: Event) -> tuple[dict[str, Any], str]:
    """UEFI_GPT_DATA: the table's header, 92 bytes, a number of partitions 64, and these (UEFI 2.10, 5.3)."""
    head = _GPT_HEAD.unpack_from(event.data)
    (count,) = struct.unpack_from("<Q", event.data, _GPT_HEAD.size)
    at, size = _GPT_HEAD.size + 8, head[12]
    if (
        head[0] != b"EFI PART"
        or size < _PARTITION.size
        or count > _MOST
        or at + count * size != len(event.data)
    ):
        raise ValueError("the partition table is malformed")
    found = []
    for begin in range(at, at + count * size, size):
        kind, own, first, last, attributes, name = _PARTITION.unpack_from(event.data, begin)
        told = {"name": utf16_text(name), "type": guid_text(kind), "id": guid_text(own)}
        found.append({**told, "first": first, "last": last, "attributes": attributes})
    names = ", ".join(f"'{each['name']}'" for each in found)
    return {"disk": guid_text(head[9]), "partitions": found}, f"disk {guid_text(head[9])}: {names}"


def _plain(event: Event) -> tuple[dict[str, Any], str]:
    data = event.data
    text = _string(data)
    what = types.TYPES.get(event.type, ("", ""))[1]
    if text and text.isprintable() and "\ufffd" not in text and len(text) >= len(data) // 2:
        return {"text": text}, f"{what}: '{text}'" if what else f"'{text}'"
    return {"data": data.hex()}, f"{what or 'data'}, {len(data)} bytes"


def _configuration(event: Event) -> tuple[dict[str, Any], str]:
    """A name; with what is behind it where td-shim says how long that is."""
    text = event.data.split(b"\0", 1)[0].decode("ascii", "replace")
    if len(event.data) > _SHIM_DATA and text.startswith("td_"):
        (size,) = struct.unpack_from("<I", event.data, _SHIM_NAME)
        data = event.data[_SHIM_DATA:]
        if size == len(data):
            said = _string(data)
            words = f"'{said}'" if said.isprintable() and said else f"{size} bytes"
            return {"text": text, "data": data.hex()}, f"{text}: {words}"
    return {"text": text}, f"'{text}'"


def _string(data: bytes) -> str:
    """Return text up to a zero: UTF-16 where every second byte is one, else UTF-8."""
    if len(data) >= 4 and len(data) % 2 == 0 and not any(data[1::2]):
        return utf16_text(data)
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


_VARIABLES = (
    *(types.VARIABLE_CONFIGURATION, types.VARIABLE_BOOT, types.VARIABLE_BOOT_2),
    types.VARIABLE_AUTHORITY,
)
_READERS: Mapping[int, Callable[[Event], tuple[dict[str, Any], str]]] = {
    **dict.fromkeys(_VARIABLES, _variable),
    **dict.fromkeys((types.APPLICATION, types.BOOT_DRIVER, types.RUNTIME_DRIVER), _image),
    **dict.fromkeys((types.FIRMWARE, types.FIRMWARE_2), _firmware),
    **dict.fromkeys((types.TABLES, types.TABLES_2), _tables),
    **dict.fromkeys((types.ACTION, types.EFI_ACTION, types.CRTM_VERSION), _text),
    types.SEPARATOR: _separator,
    types.CONFIGURATION: _configuration,
    types.IPL: _ipl,
    types.TAG: _tag,
    types.GPT: _partitions,
}
