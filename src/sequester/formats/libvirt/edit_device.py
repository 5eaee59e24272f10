"""Changes to devices and what backs them."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.boot import BOOTABLE
from sequester.formats.libvirt.editing import Editing
from sequester.formats.libvirt.reading import VIRTIO_OPTIONS
from sequester.formats.xml_splice import Node, Place
from sequester.guest.change import Remove, Retype, Set, Unset
from sequester.guest.part import Part, truth
from sequester.guest.virtio import VARIANTS, transport

Edit = Set | Unset | Retype | Remove

_OPTIONS = {prop: attribute for attribute, prop in VIRTIO_OPTIONS}

WITH_DRIVER = frozenset(
    {
        "disk",
        "interface",
        "controller",
        "filesystem",
        "input",
        "video",
        "rng",
        "memballoon",
        "vsock",
        "crypto",
        "sound",
    }
)
"""Elements whose ``<driver>`` takes ``iommu``, ``ats``, ``packed`` and ``page_per_vq`` (schema `virtioOptions`)."""

WITH_MODEL = frozenset({"disk", "controller", "filesystem", "input", "rng", "memballoon", "vsock", "hostdev"})
"""Elements whose ``model`` attribute says transitional or non-transitional; an interface has ``<model type>``."""

_BALLOON = {"free-page-reporting": "freePageReporting", "deflate-on-oom": "autodeflate"}


def device(editing: Editing, part: Part, change: Edit) -> bool:
    """Change a property of a device, its driver, or take the device away."""
    element = _element(editing, part)
    if isinstance(change, Remove):
        said = _remove(editing, part, element)
    else:
        said = _changed(editing, part, element, change)
    made = editing.made.get(part.key)
    if made is not None and not said and made not in editing.kept:
        devices = editing.top("devices")
        editing.splice.remove(devices, made)
        if isinstance(devices, Node) and not devices.children:
            editing.splice.remove(editing.domain, devices)
        del editing.made[part.key]
    elif made is not None:
        editing.kept.append(made)
    return said


def _changed(editing: Editing, part: Part, element: Place | None, change: Set | Unset | Retype) -> bool:
    overriding = editing.document.overridden.get((part.key, getattr(change, "name", "")))
    if overriding is not None and not isinstance(change, Retype):
        return _override(editing, part, overriding, change)
    if element is None or (isinstance(element, Element) and editing.splice.is_removed(element)):
        return False
    if isinstance(change, Retype):
        return _retype(editing, part, element, change.type)
    name = change.name
    value = editing.text(change.value) if isinstance(change, Set) else None
    if name in _OPTIONS and element.tag in WITH_DRIVER and transport(part, editing.document.guest.arch):
        return _driver(editing, element, _OPTIONS[name], value)
    if name in ("disable-legacy", "disable-modern"):
        return _versions(editing, part, element, name, value)
    if name in _BALLOON and element.tag == "memballoon":
        editing.splice.set(element, _BALLOON[name], value)
        return True
    if name in ("romfile", "rombar") and element.tag in ("interface", "hostdev"):
        return _rom(editing, element, name, value)
    if name == "bootindex" and element.tag in BOOTABLE:
        return _boot(editing, element, value)
    if name == "guest-cid" and element.tag == "vsock" and value is not None:
        cid = editing.splice.need(element, "cid")
        editing.splice.set(cid, "auto", "no")
        editing.splice.set(cid, "address", value)
        return True
    return False


def _element(editing: Editing, part: Part) -> Place | None:
    """Return a device's element; one that libvirt adds by itself is written down to be changed."""
    element = editing.document.elements.get(part.key)
    if element is not None:
        return element
    if part.implied:
        return None
    made = editing.made.get(part.key)
    if made is not None:
        return made
    kind = part.type.removeprefix("virtio-")
    node = None
    if part.type.startswith("virtio-balloon"):
        node = Node("memballoon", {"model": "virtio"})
    elif part.type.startswith("virtio-serial"):
        node = Node("controller", {"type": "virtio-serial", "index": part.id.removeprefix("virtio-serial")})
    elif kind.startswith("scsi"):
        node = Node(
            "controller", {"type": "scsi", "index": part.id.removeprefix("scsi"), "model": "virtio-scsi"}
        )
    elif kind.startswith("gpu"):
        node = Node("video", {}, [Node("model", {"type": "virtio"})])
    if node is not None:
        editing.splice.add(editing.top("devices"), node)
        editing.made[part.key] = node
    return node


def _driver(editing: Editing, element: Place, attribute: str, value: str | None) -> bool:
    splice = editing.splice
    driver = splice.child(element, "driver")
    if value is None:
        if driver is not None:
            splice.set(driver, attribute, None)
            if splice.is_empty(driver):
                splice.remove(element, driver)
        return True
    said = truth(value)
    if said is None:
        return False
    if driver is None:
        driver = splice.add(element, Node("driver"), behind_model(element))
        if element.tag == "filesystem":
            splice.set(driver, "type", "path")
    splice.set(driver, attribute, "on" if said else "off")
    return True


def behind_model(element: Place) -> frozenset[str]:
    """Return what a ``<driver>`` stands before: in an interface it comes behind the model, elsewhere first."""
    last = {"address", "alias", "boot"}
    return frozenset(
        last | {"rom", "link", "mtu", "tune"} if element.tag == "interface" else last | {"source"}
    )


def _model_place(editing: Editing, element: Place) -> tuple[Place, str] | None:
    """Return where a device says its model: the place and the attribute."""
    if element.tag == "interface":
        return editing.splice.need(element, "model"), "type"
    if element.tag in WITH_MODEL:
        return element, "model"
    return None


def _variant(editing: Editing, part: Part, element: Place, variant: str) -> bool:
    """Make a virtio device transitional, non-transitional ('' for neither in particular)."""
    kind = editing.splice.get(element, "type")
    if transport(part, editing.document.guest.arch) != "pci" or part.type.startswith(
        ("virtio-vga", "virtio-gpu")
    ):
        return False
    if element.tag == "input" and kind != "passthrough":
        return False  # refused by libvirt for keyboards, mice and tablets
    place = _model_place(editing, element)
    if place is None:
        return False
    plain = "virtio-scsi" if element.tag == "controller" and kind == "scsi" else "virtio"
    value: str | None = f"virtio{variant}" if variant else plain
    if not variant and (element.tag in ("disk", "filesystem", "hostdev") or kind == "virtio-serial"):
        value = None
    editing.splice.set(*place, value)
    return True


def _versions(editing: Editing, part: Part, element: Place, name: str, value: str | None) -> bool:
    """Say by the model which versions of virtio a device speaks."""
    now = next((suffix for suffix in VARIANTS if part.type.endswith(suffix)), "")
    if name == "disable-legacy":
        if truth(value) is True:
            return now == VARIANTS[0] or _variant(editing, part, element, VARIANTS[0])
        return (
            value is None or (value == "auto" and not now) or (truth(value) is False and now == VARIANTS[1])
        )
    return value is None or truth(value) is False


def _retype(editing: Editing, part: Part, element: Place, driver: str) -> bool:
    old, variant = _split(part.type)
    new, wanted = _split(driver)
    if old == new:
        return wanted == variant or _variant(editing, part, element, wanted)
    if element.tag == "interface" and "virtio" not in new:
        editing.splice.set(editing.splice.need(element, "model"), "type", new)
        return True
    if element.tag == "interface" and new.startswith("virtio-net"):
        editing.splice.set(editing.splice.need(element, "model"), "type", f"virtio{wanted}")
        return True
    return False


def _split(driver: str) -> tuple[str, str]:
    for suffix in VARIANTS:
        if driver.endswith(suffix):
            return driver.removesuffix(suffix), suffix
    return driver, ""


def _rom(editing: Editing, element: Place, name: str, value: str | None) -> bool:
    splice = editing.splice
    if value is None:
        rom = splice.child(element, "rom")
        if rom is not None:
            for attribute in ("enabled", "file") if name == "romfile" else ("bar",):
                splice.set(rom, attribute, None)
            if splice.is_empty(rom):
                splice.remove(element, rom)
        return True
    rom = splice.need(element, "rom", frozenset({"address"}))
    if name == "rombar":
        splice.set(rom, "bar", "on" if value in ("1", "on") else "off")
    elif value:
        splice.set(rom, "enabled", None)
        splice.set(rom, "file", value)
    else:
        for attribute in ("bar", "file"):
            splice.set(rom, attribute, None)
        splice.set(rom, "enabled", "no")
    return True


def _boot(editing: Editing, element: Place, value: str | None) -> bool:
    splice = editing.splice
    boot = splice.child(element, "boot")
    if value is None:
        if boot is not None:
            splice.remove(element, boot)
        return boot is not None
    devices = editing.domain.find("devices")
    ordered = devices is not None and any(device.find("boot") is not None for device in devices)
    if boot is None and not ordered:
        return False  # a first <boot> would put an end to the order that <os> gives
    splice.set(splice.need(element, "boot", frozenset({"address"})), "order", value)
    return True


def _override(editing: Editing, part: Part, said: Element, change: Set | Unset) -> bool:
    """Change what ``<qemu:override>`` gives a device."""
    if isinstance(change, Unset):
        parent = next(p for p in editing.domain.iter() if said in list(p))
        editing.splice.remove(parent, said)
        return True
    value = change.value
    if isinstance(value, bool) or truth(value) is not None:
        editing.splice.set(said, "type", "bool")
        editing.splice.set(said, "value", "true" if truth(value) else "false")
    else:
        editing.splice.set(said, "value", editing.text(value))
    return True


def _remove(editing: Editing, part: Part, element: Place | None) -> bool:
    splice = editing.splice
    if part.type.startswith("virtio-balloon"):
        if element is None:
            return False
        for name in splice.names(element):
            splice.set(element, name, None)
        splice.set(element, "model", "none")
        splice.hollow(element)
        return True
    if not isinstance(element, Element):
        return False
    devices_ = editing.domain.find("devices")
    parent = devices_ if devices_ is not None and element in list(devices_) else None
    if parent is None:
        return False
    splice.remove(parent, element)
    return True
