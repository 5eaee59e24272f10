"""What is gathered while a domain is read: parts with the elements they come from, ids, and what is left out."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from xml.etree.ElementTree import Element

from sequester.errors import InputError
from sequester.formats.xml_tree import Tree
from sequester.guest.guest import NotCarried
from sequester.guest.part import Part, Value

Props = dict[str, Value]

VIRTIO_MODELS = {
    "virtio-transitional": "-transitional",
    "virtio-non-transitional": "-non-transitional",
}
_SUFFIX = {"pci": "-pci", "ccw": "-ccw", "virtio-mmio": "-device"}
_MMIO_MACHINES = ("virt", "vexpress-")

SWITCH = {"on": True, "yes": True, "off": False, "no": False}

VIRTIO_OPTIONS = (
    ("iommu", "iommu_platform"),
    ("ats", "ats"),
    ("packed", "packed"),
    ("page_per_vq", "page-per-vq"),
)
"""Attributes of any virtio device's ``<driver>`` and the QEMU properties they become."""


class Reading:
    """A domain that is being read.

    `elements` maps the key of a part to the element that declares it; parts that libvirt adds by itself have
    none. `bus` is how virtio devices without an address are attached: ``pci``, ``ccw`` or ``virtio-mmio``.
    """

    __slots__ = (
        "arch",
        "bus",
        "bus_names",
        "buses",
        "counters",
        "domain",
        "elements",
        "line_ends",
        "machine",
        "mmio",
        "name",
        "not_carried",
        "parts",
        "root_bus",
        "starts",
        "tree",
        "uses_kvm",
    )

    def __init__(self, tree: Tree, domain: Element, arch: str, machine: str) -> None:
        self.tree = tree
        self.starts = tree.starts
        self.line_ends = tree.line_ends
        self.domain = domain
        self.arch = arch
        self.machine = machine
        self.name = domain.findtext("name", "")
        self.uses_kvm = domain.get("type") == "kvm"
        self.parts: list[Part] = []
        self.elements: dict[int, Element] = {}
        self.not_carried: list[NotCarried] = []
        self.counters: dict[str, int] = {}
        self.buses: dict[int, str] = {}
        self.bus_names: dict[str, str] = {}
        self.root_bus = "pcie.0" if is_express(arch, machine) else "pci.0"
        self.mmio = False
        self.bus = "ccw" if arch == "s390x" else "pci"

    def add(
        self, group: str, kind: str, properties: Props, element: Element | None = None, identity: str = ""
    ) -> Part:
        """Add a part. With `element`, that is where the part stands in the source."""
        key = len(self.parts)
        if element is None:
            part = Part(group, kind, properties, key, identity)
        else:
            line = bisect_right(self.line_ends, self.starts[element]) + 1
            part = Part(group, kind, properties, key, identity, line, f"<{element.tag}>")
            self.elements[key] = element
        self.parts.append(part)
        return part

    def device(self, driver: str, properties: Props, element: Element | None) -> Part:
        """Add a device; its id is among the properties."""
        return self.add("device", driver, properties, element, properties.get("id", ""))

    def leave_out(self, what: str, element: Element) -> None:
        """Name something of the source that the model does not hold."""
        self.not_carried.append(NotCarried(one_line(what), self.tree.line(element)))

    def fail(self, element: Element, what: str, why: str = "", remedy: str = "") -> InputError:
        """Return the error for something in the source that cannot be used."""
        return InputError(what, code="input.domain", where=self.tree.where(element), why=why, remedy=remedy)

    def count(self, kind: str) -> int:
        """Return the number of the next device of a kind, from 0."""
        number = self.counters.get(kind, 0)
        self.counters[kind] = number + 1
        return number

    def identity(self, kind: str, alias: Element | None) -> str:
        """Return a device's id: the alias that the source gives, else the one that libvirt will give."""
        number = self.count(kind)
        named = alias.get("name") if alias is not None else None
        return named or f"{kind}{number}"

    def virtio(self, stem: str, model: str | None, address: Element | None) -> str:
        """Return the driver of a virtio device: ``virtio-net`` becomes ``virtio-net-pci-non-transitional``."""
        suffix = _SUFFIX.get(address.get("type", "")) if address is not None else None
        if suffix is None:
            suffix = _SUFFIX["virtio-mmio" if self.mmio else self.bus]
        if suffix == "-pci" and model in VIRTIO_MODELS:
            suffix += VIRTIO_MODELS[model]
        return stem + suffix

    def place(self, address: Element | None, properties: Props) -> None:
        """Add the properties that put a device where its ``<address>`` says."""
        if address is None:
            return
        given = address.attrib
        kind = given.get("type")
        if kind == "pci":
            if "slot" in given:
                properties["bus"] = self.bus_names.get(given.get("bus", "0")) or self._bus(address)
                if given.get("multifunction") == "on":
                    properties["multifunction"] = True
                try:
                    properties["addr"] = _pci(given["slot"], given.get("function", "0"))
                except ValueError:
                    raise self.fail(address, "this PCI address is not a number") from None
        elif kind == "usb":
            if given.get("port"):
                number = self.number(address, "bus")
                properties["bus"] = f"usb{number or ''}.0"
                properties["port"] = given["port"]
        elif kind == "ccw":
            if given.get("devno"):
                css, ss, device = (self.number(address, name) for name in ("cssid", "ssid", "devno"))
                properties["devno"] = f"{css:x}.{ss:x}.{device:04x}"
        elif kind == "virtio-serial":
            bus, port = self.number(address, "controller"), self.number(address, "port")
            properties["bus"] = f"virtio-serial{bus}.{self.number(address, 'bus')}"
            properties["nr"] = port
        elif kind == "ccid":
            properties["bus"] = f"ccid{self.number(address, 'controller')}.0"
        elif kind == "spapr-vio":
            if given.get("reg"):
                properties["reg"] = self.number(address, "reg")
        elif kind == "isa":
            for name in ("iobase", "irq"):
                if given.get(name):
                    properties[name] = self.number(address, name)

    def _bus(self, address: Element) -> str:
        """Return the name of an address's PCI bus, and keep it by the text that names it."""
        number = self.number(address, "bus")
        name = self.buses.get(number) or (self.root_bus if number == 0 else f"pci.{number}")
        self.bus_names[address.get("bus", "0")] = name
        return name

    def number(self, element: Element, name: str, default: int = 0) -> int:
        """Return an attribute as a number, in decimal, hex or octal as libvirt reads it."""
        text = element.get(name)
        if text is None:
            return default
        try:
            return integer(text)
        except ValueError:
            raise self._no_number(element, text, name) from None

    def to_int(self, element: Element, text: str, name: str) -> int:
        """Return text as a number. Raises InputError naming the place."""
        try:
            return integer(text)
        except ValueError:
            raise self._no_number(element, text, name) from None

    def _no_number(self, element: Element, text: str, name: str) -> InputError:
        return self.fail(element, f"{name}='{text[:40]}' of <{_local(element)}> is not a number")


@lru_cache(maxsize=1024)
def integer(text: str) -> int:
    """Read a number in decimal, hex or octal as C does. Raises ValueError."""
    if len(text) > 40 or not text.isascii() or "_" in text:
        raise ValueError(text)
    return int(text, 8) if text[:1] == "0" and text.isdigit() else int(text, 0)


@lru_cache(maxsize=1024)
def _pci(slot: str, function: str) -> str:
    number = integer(function)
    return f"{integer(slot):#x}.{number:#x}" if number else f"{integer(slot):#x}"


def one_line(text: str) -> str:
    """Return text that a person can be shown in a line: what cannot be printed becomes ``?``."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def options(driver: Element | None, properties: Props) -> None:
    """Add the properties that the ``<driver>`` of any virtio device can give."""
    if driver is not None:
        attributes = driver.attrib
        for name, prop in VIRTIO_OPTIONS:
            if name in attributes:
                properties[prop] = SWITCH.get(attributes[name], attributes[name])


def first_children(element: Element) -> dict[str, Element]:
    """Return an element's children by tag; of several with one tag the first, as libvirt takes them."""
    return {child.tag: child for child in element[::-1]}


def is_express(arch: str, machine: str) -> bool:
    """Tell whether the machine's root bus is PCI Express."""
    if arch in ("x86_64", "i386"):
        return "q35" in machine
    return machine.startswith("virt") and arch in ("aarch64", "arm", "riscv64", "riscv32", "loongarch64")


def is_pc(arch: str, machine: str) -> bool:
    """Tell whether the machine is an i440fx PC."""
    return arch in ("x86_64", "i386") and "q35" not in machine and machine.startswith(("pc", "rhel"))


def takes_mmio(machine: str) -> bool:
    """Tell whether one virtio-mmio device makes libvirt attach all others without an address the same way."""
    return machine.startswith(_MMIO_MACHINES)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
