"""Writes what is the same for every virtio device: its model and the options of its ``<driver>``."""

from __future__ import annotations

from sequester.formats.libvirt.reading import VIRTIO_OPTIONS
from sequester.formats.libvirt.writing import Said
from sequester.formats.xml_splice import Node
from sequester.guest.part import Part, truth


def driver_options(said: Said, driver: Node) -> None:
    """Set ``iommu``, ``ats``, ``packed`` and ``page_per_vq`` on a ``<driver>``."""
    for attribute, prop in VIRTIO_OPTIONS:
        state = said.flag(prop)
        if state is not None:
            driver.attributes[attribute] = state


def with_driver(said: Said, node: Node) -> None:
    """Add a ``<driver>`` with a virtio device's options, when it has any."""
    driver = Node("driver")
    driver_options(said, driver)
    if driver.attributes:
        node.children.append(driver)


def model_of(part: Part) -> str | None:
    """Return ``virtio-transitional`` or ``virtio-non-transitional`` for a virtio PCI device that is one."""
    for variant in ("non-transitional", "transitional"):
        if part.type.endswith(f"-{variant}"):
            return f"virtio-{variant}"
    return None


def settle_versions(said: Said) -> str | None:
    """Return the model that a device's versions of virtio mean, those ticked off; None where any will do."""
    named = model_of(said.part)
    legacy = said.left.get("disable-legacy")
    modern = truth(said.left.get("disable-modern"))
    if named is not None:
        said.drop("disable-legacy", "disable-modern")
        return named
    if modern is not True:
        said.drop("disable-modern")
        if truth(legacy) is True:
            said.drop("disable-legacy")
            return "virtio-non-transitional"
        if legacy in (None, "auto"):
            said.drop("disable-legacy")
    return None
