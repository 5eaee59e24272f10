"""Controllers: PCI bridges and ports, SCSI, USB, serial ports over virtio, and those that libvirt adds by itself.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildControllerDevProps`), src/qemu/qemu_domain.c (default models);
compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import (
    VIRTIO_MODELS,
    Props,
    Reading,
    first_children,
    is_pc,
    options,
)

USB_MODELS = {
    "piix3-uhci": "piix3-usb-uhci",
    "piix4-uhci": "piix4-usb-uhci",
    "ehci": "usb-ehci",
    "ich9-ehci1": "ich9-usb-ehci1",
    "ich9-uhci1": "ich9-usb-uhci1",
    "ich9-uhci2": "ich9-usb-uhci2",
    "ich9-uhci3": "ich9-usb-uhci3",
    "vt82c686b-uhci": "vt82c686b-usb-uhci",
    "pci-ohci": "pci-ohci",
    "nec-xhci": "nec-usb-xhci",
    "qemu-xhci": "qemu-xhci",
}

SCSI_MODELS = {
    "lsilogic": "lsi",
    "lsisas1068": "mptsas1068",
    "lsisas1078": "megasas",
    "ibmvscsi": "spapr-vscsi",
    "vmpvscsi": "pvscsi",
    "am53c974": "am53c974",
    "dc390": "dc-390",
}

PCI_MODELS = {
    "pci-bridge": "pci-bridge",
    "dmi-to-pci-bridge": "i82801b11-bridge",
    "pcie-to-pci-bridge": "pcie-pci-bridge",
    "pcie-root-port": "pcie-root-port",
    "pcie-switch-upstream-port": "x3130-upstream",
    "pcie-switch-downstream-port": "xio3130-downstream",
    "pci-expander-bus": "pxb",
    "pcie-expander-bus": "pxb-pcie",
    "pci-root": "spapr-pci-host-bridge",
}
"""``<controller type='pci' model=...>`` and its driver, where ``<model name=...>`` names none."""

DEFAULT_SCSI = {"x86_64": "lsilogic", "i386": "lsilogic", "ppc64": "ibmvscsi"}
"""The model of a SCSI controller that names none; virtio-scsi elsewhere."""

_TARGETS = {
    "port": "port",
    "chassis": "chassis",
    "chassisNr": "chassis_nr",
    "busNr": "bus_nr",
    "index": "index",
}
_ORDER = {"pci": 0, "usb": 1, "ide": 2, "scsi": 3, "sata": 4, "virtio-serial": 5, "ccid": 6, "nvme": 7}
"""libvirt's order of kinds on the command line; the buses come before what hangs on them."""


class Controllers:
    """The controllers of a domain: elements by kind and index, and the model of each SCSI controller."""

    __slots__ = ("elements", "scsi", "usb_none")

    def __init__(self, reading: Reading, found: list[Element]) -> None:
        self.elements: list[tuple[str, int, Element]] = []
        self.scsi: dict[int, str] = {}
        self.usb_none = False
        used: dict[str, set[int]] = {}
        unnumbered: list[tuple[str, Element]] = []
        for element in found:
            kind = element.get("type", "")
            if element.get("index"):
                index = reading.number(element, "index")
                used.setdefault(kind, set()).add(index)
                self._note(reading, kind, index, element)
            elif kind == "usb" and element.find("master") is not None:
                self._note(reading, kind, 0, element)
            else:
                unnumbered.append((kind, element))
        lowest: dict[str, int] = {}
        for kind, element in unnumbered:
            if kind == "pci" and element.get("model") in ("pcie-root",):
                index = 0
            else:
                index = lowest.get(kind, 1 if kind == "pci" and element.get("model") != "pci-root" else 0)
                while index in used.get(kind, ()):
                    index += 1
                lowest[kind] = index + 1
            used.setdefault(kind, set()).add(index)
            self._note(reading, kind, index, element)
        self.elements.sort(key=_before)

    def _note(self, reading: Reading, kind: str, index: int, element: Element) -> None:
        model = element.get("model", "")
        self.elements.append((kind, index, element))
        if kind == "scsi":
            self.scsi[index] = scsi_model(reading, model)
        elif kind == "usb" and model == "none":
            self.usb_none = True
        elif kind == "pci" and index:
            name = element.find("alias")
            bus = (name.get("name") if name is not None else None) or f"pci.{index}"
            reading.buses[index] = f"{bus}.0" if model == "pci-root" else bus

    def has(self, kind: str, index: int | None = None) -> bool:
        """Tell whether the domain declares a controller of this kind (and index)."""
        return any(entry[0] == kind and index in (None, entry[1]) for entry in self.elements)


def _before(entry: tuple[str, int, Element]) -> tuple[int, int, bool]:
    """Order by kind and index, and a USB master before its companions, which hang on its bus."""
    kind, index, element = entry
    return _ORDER.get(kind, 9), index, element.find("master") is not None


def scsi_model(reading: Reading, model: str) -> str:
    """Return the model of a SCSI controller, libvirt's default for the architecture where it names none."""
    if model in ("", "auto"):
        return DEFAULT_SCSI.get(reading.arch, "virtio-scsi")
    return model


def controllers(reading: Reading, found: Controllers) -> None:
    """Add every controller that is a device of its own."""
    for kind, index, element in found.elements:
        model = element.get("model", "")
        if kind == "pci":
            _pci(reading, index, model, element)
        elif kind == "usb":
            _usb(reading, index, model, element)
        elif kind == "scsi":
            _scsi(reading, index, scsi_model(reading, model), element)
        elif kind == "virtio-serial":
            serial(reading, index, element)
        elif kind == "sata":
            if index or reading.root_bus != "pcie.0" or reading.arch not in ("x86_64", "i386"):
                _plain(reading, "ahci", f"sata{index}", element)
        elif kind == "ccid":
            _plain(reading, "usb-ccid", f"ccid{index}", element)
        elif kind == "nvme":
            properties: Props = {}
            name = element.find("serial")
            if name is not None:
                properties["serial"] = (name.text or "").strip()
            _plain(reading, "nvme", f"nvme{index}", element, properties)
        elif kind not in ("ide", "fdc", "isa"):
            reading.leave_out(f"<controller type='{kind}'>", element)


def _plain(
    reading: Reading, driver: str, identity: str, element: Element, properties: Props | None = None
) -> None:
    properties = {} if properties is None else properties
    alias = element.find("alias")
    properties["id"] = (alias.get("name") if alias is not None else None) or identity
    reading.place(element.find("address"), properties)
    reading.device(driver, properties, element)


def _pci(reading: Reading, index: int, model: str, element: Element) -> None:
    if model == "pcie-root" or (model == "pci-root" and index == 0):
        return
    if model not in PCI_MODELS:
        reading.leave_out(f"<controller type='pci' model='{model}'>", element)
        return
    children = first_children(element)
    name = children.get("model")
    driver = (name.get("name") if name is not None else None) or PCI_MODELS[model]
    properties: Props = {}
    target = children.get("target")
    if target is not None:
        for attribute in target.attrib:
            if attribute in _TARGETS:
                properties[_TARGETS[attribute]] = reading.number(target, attribute)
        if target.get("hotplug"):
            properties["hotplug"] = target.get("hotplug") == "on"
        node = target.find("node")
        if node is not None:
            properties["numa_node"] = reading.to_int(node, (node.text or "").strip(), "node")
    if model in ("pcie-root-port", "pcie-switch-downstream-port"):
        properties.setdefault("chassis", index)
    elif model == "pci-bridge":
        properties.setdefault("chassis_nr", index)
    elif model == "pci-root":
        properties.setdefault("index", index)
    alias = children.get("alias")
    properties["id"] = (alias.get("name") if alias is not None else None) or f"pci.{index}"
    reading.place(children.get("address"), properties)
    reading.device(driver, properties, element)


def _usb(reading: Reading, index: int, model: str, element: Element) -> None:
    if model == "none":
        return
    driver = USB_MODELS.get(model or default_usb(reading))
    if not driver:
        reading.leave_out(f"<controller type='usb' model='{model}'>", element)
        return
    properties: Props = {}
    master = element.find("master")
    if master is not None:
        properties["masterbus"] = f"usb{index or ''}.0"
        properties["firstport"] = reading.number(master, "startport")
        reading.place(element.find("address"), properties)
        reading.device(driver, properties, element)
        return
    if element.get("ports"):
        properties["p2"] = properties["p3"] = reading.number(element, "ports")
    _plain(reading, driver, f"usb{index or ''}", element, properties)


def _scsi(reading: Reading, index: int, model: str, element: Element | None) -> None:
    children = first_children(element) if element is not None else {}
    address = children.get("address")
    properties: Props = {}
    if model == "virtio-scsi" or model in VIRTIO_MODELS:
        driver = reading.virtio("virtio-scsi", model, address)
        said = children.get("driver")
        options(said, properties)
        if said is not None:
            if said.get("iothread"):
                properties["iothread"] = f"iothread{said.get('iothread')}"
            for attribute, prop in (
                ("queues", "num_queues"),
                ("cmd_per_lun", "cmd_per_lun"),
                ("max_sectors", "max_sectors"),
            ):
                if said.get(attribute):
                    properties[prop] = reading.number(said, attribute)
            if said.get("ioeventfd"):
                properties["ioeventfd"] = said.get("ioeventfd") == "on"
    else:
        driver = SCSI_MODELS.get(model, "")
        if not driver:
            if element is not None:
                reading.leave_out(f"<controller type='scsi' model='{model}'>", element)
            return
    alias = children.get("alias")
    properties["id"] = (alias.get("name") if alias is not None else None) or f"scsi{index}"
    reading.place(address, properties)
    reading.device(driver, properties, element)


def serial(reading: Reading, index: int, element: Element | None) -> None:
    """Add a virtio serial controller, libvirt's own where `element` is None."""
    children = first_children(element) if element is not None else {}
    address = children.get("address")
    properties: Props = {}
    options(children.get("driver"), properties)
    alias = children.get("alias")
    properties["id"] = (alias.get("name") if alias is not None else None) or f"virtio-serial{index}"
    if element is not None:
        for attribute, prop in (("ports", "max_ports"), ("vectors", "vectors")):
            if element.get(attribute):
                properties[prop] = reading.number(element, attribute)
    reading.place(address, properties)
    model = element.get("model") if element is not None else None
    reading.device(reading.virtio("virtio-serial", model, address), properties, element)


def missing(reading: Reading, found: Controllers, scsi: set[int], serials: set[int], *, usb: bool) -> None:
    """Add the controllers that libvirt adds: of disks' SCSI buses, serial ports, and USB devices."""
    if usb and not found.usb_none and not found.has("usb"):
        driver = USB_MODELS.get(default_usb(reading))
        if driver:
            properties: Props = {"id": "usb"}
            if is_pc(reading.arch, reading.machine):
                properties.update(bus="pci.0", addr="0x1.0x2")
            reading.device(driver, properties, None)
    for index in sorted(scsi - found.scsi.keys()):
        model = next(iter(found.scsi.values()), None) or scsi_model(reading, "")
        found.scsi[index] = model
        _scsi(reading, index, model, None)
    for index in sorted(serials):
        if not found.has("virtio-serial", index):
            serial(reading, index, None)


def default_usb(reading: Reading) -> str:
    """Return the model of a USB controller that names none."""
    if is_pc(reading.arch, reading.machine):
        return "piix3-uhci"
    return "" if reading.arch == "s390x" else "qemu-xhci"
