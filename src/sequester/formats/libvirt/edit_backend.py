"""Changes to what stands behind devices: memory backends, network backends, and where displays listen."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.edit_device import behind_model
from sequester.formats.libvirt.edit_machine import machine
from sequester.formats.libvirt.editing import Editing
from sequester.guest.change import Remove, Retype, Set, Unset
from sequester.guest.part import Part, truth

Edit = Set | Unset | Retype | Remove

_TAPS = frozenset({"ethernet", "bridge", "network", "direct"})
"""Interfaces whose backend is a tap, with which the host's kernel can do the work (vhost)."""


def backend(editing: Editing, part: Part, change: Edit) -> bool:
    """Change a memory backend."""
    element = editing.document.elements.get(part.key)
    if not part.type.startswith("memory-backend-"):
        return _gone(editing, element, change)
    if isinstance(change, Remove):
        return _gone(editing, element, change)
    splice = editing.splice
    if isinstance(change, Retype):
        source = {
            "memory-backend-memfd": "memfd",
            "memory-backend-file": "file",
            "memory-backend-ram": "anonymous",
        }
        if change.type not in source:
            return False
        splice.set(splice.need(editing.top("memoryBacking"), "source"), "type", source[change.type])
        return True
    value = editing.text(change.value) if isinstance(change, Set) else None
    on = truth(value)
    if change.name in ("merge", "dump"):
        prop = "mem-merge" if change.name == "merge" else "dump-guest-core"
        whole = editing.document.guest.machine
        return machine(editing, whole, Set(whole.key, prop, "off" if on is False else "on"))
    cell = element is not None and element.tag == "cell"
    if element is None or not (cell or element.tag in ("memory", "memoryBacking")):
        return False
    if change.name == "share":
        return _share(editing, element, None if value is None else "shared" if on else "private")
    if change.name == "discard-data":
        if cell or element.get("model"):
            splice.set(element, "discard", None if value is None else "yes" if on else "no")
        elif on:
            splice.need(editing.top("memoryBacking"), "discard")
        else:
            editing.drop(editing.find("memoryBacking"), "discard")
        return True
    if change.name == "prealloc" and not element.get("model"):
        backing = editing.top("memoryBacking")
        splice.set(splice.need(backing, "allocation"), "mode", "immediate" if on else "ondemand")
        return True
    return False


def _share(editing: Editing, element: Element | None, mode: str | None) -> bool:
    splice = editing.splice
    if element is not None and element.tag == "cell":
        splice.set(element, "memAccess", mode)
    elif element is not None and element.get("model"):
        splice.set(element, "access", mode)
    elif mode is None:
        editing.drop(editing.find("memoryBacking"), "access")
    else:
        splice.set(splice.need(editing.top("memoryBacking"), "access"), "mode", mode)
    return True


def _gone(editing: Editing, element: Element | None, change: Edit) -> bool:
    """Tell whether a backend goes because the device that it stands behind went."""
    return isinstance(change, Remove) and element is not None and editing.splice.is_removed(element)


def network_backend(editing: Editing, part: Part, change: Edit) -> bool:
    """Change a network backend: whether the host's kernel does the work."""
    element = editing.document.elements.get(part.key)
    if element is None or isinstance(change, Remove):
        return _gone(editing, element, change)
    if isinstance(change, Retype) or change.name != "vhost" or element.get("type") not in _TAPS:
        return False
    splice = editing.splice
    on = truth(change.value) if isinstance(change, Set) else None
    driver = splice.child(element, "driver")
    if on is None:
        if driver is not None:
            splice.set(driver, "name", None)
        return True
    driver = splice.need(element, "driver", behind_model(element))
    splice.set(driver, "name", "vhost" if on else "qemu")
    return True


def display(editing: Editing, part: Part, change: Edit) -> bool:
    """Change the address on which a display listens."""
    element = editing.document.elements.get(part.key)
    if element is None:
        return False
    splice = editing.splice
    if isinstance(change, Remove):
        devices = editing.domain.find("devices")
        if devices is not None:
            splice.remove(devices, element)
        return devices is not None
    address = ""
    if part.group == "vnc" and isinstance(change, Retype):
        address, colon, number = change.type.rpartition(":")
        port = splice.get(element, "port")
        same = part.type.rpartition(":")[2] == number
        if not colon or change.type.startswith("unix:") or not number.isdecimal():
            return False
        if not same or (port or "-1") not in ("-1", str(int(number) + 5900)):
            splice.set(element, "port", str(int(number) + 5900))
            splice.set(element, "autoport", "no")
    elif part.group == "spice" and isinstance(change, Set) and change.name == "addr":
        address = editing.text(change.value)
    if not address:
        return False
    address = address.strip("[]")
    listen = splice.child(element, "listen")
    if splice.get(element, "listen") is not None or listen is None:
        splice.set(element, "listen", address)
    if listen is not None:
        splice.set(listen, "address", address)
    return True
