"""``<qemu:commandline>`` and ``<qemu:override>``: what a domain tells QEMU past libvirt.

Source: libvirt docs/drvqemu.rst "Pass-through of arbitrary QEMU commands", "Overriding properties of QEMU devices".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from sequester.formats.argv_read import Argv, read_argv
from sequester.formats.libvirt.carried import QEMU_NAMESPACE
from sequester.formats.libvirt.reading import Reading
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.part import Part, Value

ARGUMENT = f"{{{QEMU_NAMESPACE}}}arg"

_MERGED = frozenset({"machine", "m", "smp", "boot", "overcommit", "name"})
"""Options whose repetitions QEMU adds to one another."""


@dataclass(frozen=True)
class QemuArguments:
    """The arguments of ``<qemu:commandline>``, read as the command line they are part of.

    `document` is that command line, a made-up emulator before it and ``-nodefaults`` behind; `elements` are the
    ``<qemu:arg>`` in order. `keys` maps the key of a part to the one it has in `document`; `merged` maps
    (key, property) of one of libvirt's parts to the key in `document` of the option that has the last word.
    """

    document: Argv
    elements: tuple[Element, ...]
    keys: dict[int, int]
    merged: dict[tuple[int, str], int] = field(default_factory=dict)
    limits: bool = False


def qemu_arguments(reading: Reading, element: Element) -> QemuArguments | None:
    """Add the parts that a domain's ``<qemu:arg>`` declare. Raises InputError as for any command line."""
    found = tuple(child for child in element if child.tag == ARGUMENT)
    if not found:
        return None
    words = [child.get("value", "") for child in found]
    where = f"{reading.tree.where(element)} <qemu:commandline>"
    document = read_argv([f"qemu-system-{reading.arch}", *words, "-nodefaults"], where)
    arguments = QemuArguments(document, found, {})
    limits = False
    for part in document.guest.parts:
        if part.group == "nodefaults" or (part.implied and not part.type and part.group != "limitation"):
            continue
        if part.group == "limitation":
            limits = True
            if part.implied:
                continue
            part = replace(part, group="object")
        if part.group in _MERGED and _merge(reading, part, arguments):
            limits = limits or any(name in part.properties for name in LIMITATION_PROPERTIES)
            continue
        _adopt(reading, part, arguments)
    return replace(arguments, limits=limits)


def _adopt(reading: Reading, part: Part, arguments: QemuArguments) -> None:
    key = len(reading.parts)
    words = arguments.document.words_of.get(part.key)
    element = arguments.elements[min(words[0] - 1, len(arguments.elements) - 1)] if words else None
    line = reading.tree.line(element) if element is not None else 0
    reading.parts.append(replace(part, key=key, line=line))
    arguments.keys[key] = part.key


def _merge(reading: Reading, part: Part, arguments: QemuArguments) -> bool:
    """Let an option have the last word over libvirt's own of the same kind."""
    own = next((own for own in reading.parts if own.group == part.group), None)
    if own is None or part.key not in arguments.document.words_of:
        return False
    assert isinstance(own.properties, dict)
    own.properties.update(part.properties)
    if part.type:
        reading.parts[own.key] = replace(own, type=part.type)
        arguments.merged[own.key, ""] = part.key
    for name in part.properties:
        arguments.merged[own.key, name] = part.key
    return True


def overrides(reading: Reading, element: Element) -> dict[tuple[int, str], Element]:
    """Apply ``<qemu:override>``; return the element that gives each (key, property)."""
    given: dict[tuple[int, str], Element] = {}
    by_id = {part.id: part for part in reading.parts if part.group == "device" and part.id}
    for device in element:
        part = by_id.get(device.get("alias", ""))
        for frontend in device:
            for said in frontend:
                name = said.get("name", "")
                if part is None:
                    reading.leave_out(
                        f"<qemu:override> of '{device.get('alias')}', which does not exist", said
                    )
                    continue
                assert isinstance(part.properties, dict)
                if said.get("type") == "remove":
                    part.properties.pop(name, None)
                else:
                    part.properties[name] = _typed(said)
                given[part.key, name] = said
    return given


def _typed(said: Element) -> Value:
    value, kind = said.get("value", ""), said.get("type")
    if kind == "bool":
        return value == "true"
    if kind in ("signed", "unsigned") and value.lstrip("-").isdecimal() and len(value) < 24:
        return int(value)
    return value
