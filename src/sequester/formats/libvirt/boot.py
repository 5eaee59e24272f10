"""How the guest boots: firmware, kernel, boot order, SMBIOS.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildBootCommandLine`, `qemuBuildDomainLoaderCommandLine`),
src/qemu/qemu_block.c; compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading
from sequester.guest.part import Part

BOOTABLE = ("disk", "interface", "hostdev", "redirdev")
"""Elements that take ``<boot order>``."""

NVRAM = "/var/lib/libvirt/qemu/nvram"
"""Where libvirt keeps a guest's variables when the domain does not say."""

KERNEL = {"kernel": "kernel", "initrd": "initrd", "cmdline": "append", "dtb": "dtb", "shim": "shim"}
"""``<os>``'s elements and the QEMU options they become."""


def boot(reading: Reading, machine: Part, os_children: dict[str, Element]) -> None:
    """Add firmware, kernel and ``-boot``; name the pflash nodes on the machine."""
    _firmware(reading, machine, os_children)
    for tag, option in KERNEL.items():
        element = os_children.get(tag)
        if element is not None and (element.text or "").strip():
            text = element.text or ""
            reading.add(option, text if tag == "cmdline" else text.strip(), {}, element)
    properties: Props = {}
    menu = os_children.get("bootmenu")
    if menu is not None and menu.get("enable"):
        properties["menu"] = "on" if menu.get("enable") == "yes" else "off"
        if menu.get("timeout"):
            properties["splash-time"] = menu.get("timeout")
    bios = os_children.get("bios")
    if bios is not None and bios.get("rebootTimeout"):
        properties["reboot-timeout"] = bios.get("rebootTimeout")
    properties["strict"] = "on"
    reading.add("boot", "", properties, menu)
    if "acpi" in os_children:
        for table in os_children["acpi"]:
            reading.leave_out("<os><acpi><table>", table)


def _firmware(reading: Reading, machine: Part, os_children: dict[str, Element]) -> None:
    loader = os_children.get("loader")
    path = (loader.text or "").strip() if loader is not None else ""
    if loader is None or not path:
        _chosen_by_libvirt(reading, machine, os_children)
        return
    kind = loader.get("type", "rom")
    if kind == "rom":
        reading.add("bios", path, {}, loader)
        return
    if kind != "pflash":
        reading.leave_out(f"<loader type='{kind}'>", loader)
        return
    if loader.get("secure") == "yes":
        reading.add("global", "cfi.pflash01", {"secure": "on"}, loader)
    read_only = loader.get("readonly", "yes") == "yes"
    form = loader.get("format", "raw")
    node = _flash(reading, loader, "libvirt-pflash0", {"driver": "file", "filename": path}, form, read_only)
    _name(reading, machine, "pflash0", node)
    nvram = os_children.get("nvram")
    if loader.get("stateless") == "yes" or (nvram is None and not read_only):
        return
    node = _variables(reading, nvram, loader)
    if node:
        _name(reading, machine, "pflash1", node)


def _chosen_by_libvirt(reading: Reading, machine: Part, os_children: dict[str, Element]) -> None:
    element = reading.domain.find("os")
    firmware = element.get("firmware") if element is not None else None
    if element is None or not firmware:
        return
    wanted = os_children.get("firmware")
    features = [
        ("" if feature.get("enabled") == "yes" else "no ") + feature.get("name", "")
        for feature in (wanted if wanted is not None else ())
        if feature.tag == "feature"
    ]
    said = f" with {', '.join(features)}" if features else ""
    reading.leave_out(f"<os firmware='{firmware}'>{said}: libvirt chooses the image on the host", element)


def _variables(reading: Reading, nvram: Element | None, loader: Element) -> str:
    where = loader if nvram is None else nvram
    path = ""
    form = loader.get("format", "raw")
    storage: Props = {"driver": "file"}
    if nvram is not None:
        path = (nvram.text or "").strip()
        form = nvram.get("format", form)
        source = nvram.find("source")
        if source is not None:
            path = source.get("file") or source.get("dev") or ""
            if source.get("dev"):
                storage["driver"] = "host_device"
            elif not path:
                reading.leave_out("<nvram> on a network", nvram)
                return ""
    storage["filename"] = path or f"{NVRAM}/{reading.name}_VARS.{'qcow2' if form == 'qcow2' else 'fd'}"
    return _flash(reading, where, "libvirt-pflash1", storage, form, False)


def _flash(reading: Reading, element: Element, stem: str, storage: Props, form: str, read_only: bool) -> str:
    """Add the block nodes of one flash device; return the name of the topmost."""
    node = f"{stem}-storage"
    driver = storage.pop("driver")
    if not read_only and form == "raw":
        properties = {**storage, "node-name": node, "read-only": False}
        reading.add("blockdev", driver, properties, element, node)
        return node
    properties = {**storage, "node-name": node, "auto-read-only": True, "discard": "unmap"}
    reading.add("blockdev", driver, properties, element, node)
    top = f"{stem}-format"
    properties = {"node-name": top, "read-only": read_only, "file": node}
    reading.add("blockdev", form, properties, element, top)
    return top


def _name(reading: Reading, machine: Part, name: str, node: str) -> None:
    """Set a machine property; the machine's properties are still this reader's own."""
    assert isinstance(machine.properties, dict)
    machine.properties[name] = node


def boot_order(domain: Element, found: dict[str, list[Element]]) -> dict[str, int]:
    """Return the kinds to boot from (``hd``, ``cdrom`` ...) with their place; {} where devices have their own."""
    for kind in BOOTABLE:
        if any(element.find("boot") is not None for element in found.get(kind, ())):
            return {}
    os_element = domain.find("os")
    named = (
        [child.get("dev", "") for child in os_element if child.tag == "boot"]
        if os_element is not None
        else []
    )
    return {name: place for place, name in enumerate(named or ["hd"], 1)}
