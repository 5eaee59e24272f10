"""Devices of the host that are given to the guest.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildPCIHostdevDevProps` and its like); compared with what libvirt
12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt import storage
from sequester.formats.libvirt.reading import Props, Reading, first_children, options

MEDIATED = "/sys/bus/mdev/devices"


def host_address(reading: Reading, address: Element) -> str:
    """Return a PCI address of the host as QEMU writes it: ``0000:06:12.5``."""
    domain, bus, slot, function = (
        reading.number(address, name) for name in ("domain", "bus", "slot", "function")
    )
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def hostdev(reading: Reading, element: Element) -> None:
    """Add one passed-through device."""
    children = first_children(element)
    kind = element.get("type", "")
    source, address = children.get("source"), children.get("address")
    identity = reading.identity("hostdev", children.get("alias"))
    if element.get("mode", "subsystem") != "subsystem" or source is None:
        reading.leave_out(f"<hostdev mode='{element.get('mode')}'>", element)
        return
    if address is not None and address.get("type") == "unassigned":
        reading.leave_out(f"<hostdev> {identity}: it is not assigned to the guest", element)
        return
    properties: Props = {}
    driver = ""
    if kind == "pci":
        driver = _pci(reading, source, properties)
        named = children.get("driver")
        if named is not None and named.get("iommufd") == "yes":
            reading.leave_out(f"iommufd of {identity}: libvirt opens it", named)
    elif kind == "usb":
        driver = _usb(reading, source, properties)
    elif kind == "mdev":
        driver = _mediated(element, source, properties)
    elif kind == "scsi_host":
        driver = reading.virtio("vhost-scsi", element.get("model"), address)
        options(children.get("driver"), properties)
        properties["wwpn"] = source.get("wwpn", "")
    elif kind == "scsi":
        driver = "scsi-generic"
        if not _scsi(reading, element, source, identity, properties):
            return
    if not driver:
        reading.leave_out(f"<hostdev type='{kind}'>", element)
        return
    properties["id"] = identity
    boot = children.get("boot")
    if boot is not None:
        properties["bootindex"] = reading.number(boot, "order", 1)
    if kind == "scsi":
        _drive_address(reading, address, properties)
    else:
        _zpci(reading, address, identity)
        reading.place(address, properties)
    rom(children.get("rom"), properties)
    reading.device(driver, properties, element)


def rom(element: Element | None, properties: Props) -> None:
    """Add what ``<rom>`` says of a PCI device's option ROM."""
    if element is None:
        return
    if element.get("enabled") == "no":
        properties["romfile"] = ""
        return
    if element.get("bar"):
        properties["rombar"] = int(element.get("bar") == "on")
    if element.get("file"):
        properties["romfile"] = element.get("file")


def _pci(reading: Reading, source: Element, properties: Props) -> str:
    address = source.find("address")
    if address is None:
        return ""
    properties["host"] = host_address(reading, address)
    return "vfio-pci"


def _usb(reading: Reading, source: Element, properties: Props) -> str:
    address = source.find("address")
    if address is not None and address.get("device"):
        bus, device = reading.number(address, "bus"), reading.number(address, "device")
        properties["hostdevice"] = f"/dev/bus/usb/{bus:03d}/{device:03d}"
        return "usb-host"
    for tag, prop in (("vendor", "vendorid"), ("product", "productid")):
        named = source.find(tag)
        if named is None or not named.get("id"):
            return ""
        properties[prop] = reading.number(named, "id")
    return "usb-host"


def _mediated(element: Element, source: Element, properties: Props) -> str:
    address = source.find("address")
    properties["sysfsdev"] = f"{MEDIATED}/{address.get('uuid', '') if address is not None else ''}"
    if element.get("display"):
        properties["display"] = element.get("display")
    if element.get("ramfb") == "on":
        properties["ramfb"] = True
    return element.get("model", "vfio-pci")


def _scsi(reading: Reading, element: Element, source: Element, identity: str, properties: Props) -> bool:
    node = f"libvirt-{identity}-backend"
    if source.get("protocol") == "iscsi":
        found = storage.backend(reading, "network", source, identity)
        if found is None:
            return False
        driver, said = found
        said.update({"node-name": node, "read-only": element.find("readonly") is not None})
        reading.add("blockdev", driver, said, element, node)
        properties["drive"] = node
        return True
    adapter = source.find("adapter")
    name = adapter.get("name", "") if adapter is not None else ""
    reading.leave_out(f"SCSI device of {identity} on {name}: libvirt finds its /dev/sg node", element)
    return False


def _drive_address(reading: Reading, address: Element | None, properties: Props) -> None:
    if address is None:
        return
    properties["bus"] = f"scsi{reading.number(address, 'controller')}.0"
    properties["channel"] = reading.number(address, "bus")
    properties["scsi-id"] = reading.number(address, "target")
    properties["lun"] = reading.number(address, "unit")


def _zpci(reading: Reading, address: Element | None, identity: str) -> None:
    """On s390 a PCI device needs a zPCI one beside it."""
    zpci = address.find("zpci") if address is not None and reading.arch == "s390x" else None
    if zpci is not None and zpci.get("uid"):
        number = reading.number(zpci, "uid")
        properties: Props = {"uid": number}
        if zpci.get("fid"):
            properties["fid"] = reading.number(zpci, "fid")
        properties.update(target=identity, id=f"zpci{number}")
        reading.device("zpci", properties, zpci)
