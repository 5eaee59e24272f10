"""Network interfaces: the backend on the host and the card in the guest.

libvirt opens taps, bridges and macvtaps itself and hands QEMU open files, which no command line can say: such
a backend becomes the nearest one that QEMU opens by itself, and what differs is named.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildHostNetProps`, `qemuBuildNicDevProps`); compared with the
command lines with which libvirt 12.8 starts guests.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from sequester.formats.libvirt.chardevs import CHANNELS
from sequester.formats.libvirt.hostdevs import host_address, rom
from sequester.formats.libvirt.reading import (
    SWITCH,
    VIRTIO_MODELS,
    Props,
    Reading,
    first_children,
    options,
)

DEFAULT_MODELS = {"x86_64": "rtl8139", "i386": "rtl8139", "ppc64": "rtl8139"}
"""The card where ``<model>`` names none; virtio elsewhere (`qemuDomainDefaultNetModel`)."""

_HOST_OFFLOADS = (
    ("csum", "csum"),
    ("gso", "gso"),
    ("tso4", "host_tso4"),
    ("tso6", "host_tso6"),
    ("ecn", "host_ecn"),
    ("ufo", "host_ufo"),
    ("mrg_rxbuf", "mrg_rxbuf"),
)
_GUEST_OFFLOADS = (
    ("csum", "guest_csum"),
    ("tso4", "guest_tso4"),
    ("tso6", "guest_tso6"),
    ("ecn", "guest_ecn"),
    ("ufo", "guest_ufo"),
)
_SWITCHES = (
    ("ioeventfd", "ioeventfd"),
    ("event_idx", "event_idx"),
    ("rss", "rss"),
    ("rss_hash_report", "hash"),
)
_QUEUE_SIZES = ("rx_queue_size", "tx_queue_size")


def interface(reading: Reading, element: Element, order: dict[str, int]) -> None:
    """Add one interface. `order` is the boot order by kind."""
    children = first_children(element)
    kind = element.get("type", "")
    if kind == "hostdev":
        _passed_through(reading, element, children)
        return
    number = reading.count("net")
    alias = children.get("alias")
    identity = (alias.get("name") if alias is not None else None) or f"net{number}"
    host = f"host{identity}"
    _backend(reading, element, kind, children, identity, host)
    model = children.get("model")
    name = (model.get("type") if model is not None else None) or (
        "virtio" if kind == "vdpa" else DEFAULT_MODELS.get(reading.arch, "virtio")
    )
    properties: Props = {}
    driver = children.get("driver")
    address = children.get("address")
    if name == "virtio" or name in VIRTIO_MODELS:
        kind = reading.virtio("virtio-net", name, address)
        options(driver, properties)
        if driver is not None:
            _tuning(driver, properties, "vectors" if kind.startswith("virtio-net-pci") else "")
        mtu = children.get("mtu")
        if mtu is not None and mtu.get("size"):
            properties["host_mtu"] = reading.number(mtu, "size")
        if "teaming" in children and children["teaming"].get("type") == "persistent":
            properties["failover"] = True
    else:
        kind = name
    properties["netdev"] = host
    properties["id"] = identity
    mac = children.get("mac")
    if mac is not None and mac.get("address"):
        properties["mac"] = mac.get("address")
    boot = children.get("boot")
    if boot is not None:
        properties["bootindex"] = reading.number(boot, "order", 1)
    elif order:
        place = order.pop("network", None)
        if place is not None:
            properties["bootindex"] = place
    reading.place(address, properties)
    rom(children.get("rom"), properties)
    acpi = children.get("acpi")
    if acpi is not None and acpi.get("index"):
        properties["acpi-index"] = reading.number(acpi, "index")
    reading.device(kind, properties, element)
    _beside(reading, children, identity)


def _backend(
    reading: Reading, element: Element, kind: str, children: dict[str, Element], identity: str, host: str
) -> None:
    driver = children.get("driver")
    source = children.get("source")
    backend = children.get("backend")
    if backend is not None and backend.get("type") == "passt":
        _passt(reading, element, kind, identity, host)
        return
    attributes: Mapping[str, str] = source.attrib if source is not None else {}
    get = attributes.get
    properties: Props = {}
    if kind == "user":
        what = "user"
        for child in element:
            if child.tag == "ip" and child.get("address"):
                if child.get("family") == "ipv6":
                    properties["ipv6-prefix"] = child.get("address")
                    if child.get("prefix"):
                        properties["ipv6-prefixlen"] = reading.number(child, "prefix")
                else:
                    length = f"/{child.get('prefix')}" if child.get("prefix") else ""
                    properties["net"] = f"{child.get('address')}{length}"
    elif kind == "ethernet":
        what = "tap"
        target = children.get("target")
        if target is not None and target.get("dev"):
            properties["ifname"] = target.get("dev")
        properties.update(script="no", downscript="no")
    elif kind == "bridge" or (kind == "network" and get("bridge")):
        what = "bridge"
        properties["br"] = get("bridge", "")
    elif kind == "vhostuser":
        what = "vhost-user"
        said: Props = {"id": f"char{identity}", "path": get("path", "")}
        if get("mode") == "server":
            said["server"] = "on"
        reconnect = source.find("reconnect") if source is not None else None
        if reconnect is not None and reconnect.get("enabled") == "yes":
            said["reconnect-ms"] = str(1000 * reading.number(reconnect, "timeout"))
        reading.add("chardev", "socket", said, element, f"char{identity}")
        properties["chardev"] = f"char{identity}"
        if driver is not None and driver.get("queues"):
            properties["queues"] = reading.number(driver, "queues")
    elif kind == "vdpa":
        what = "vhost-vdpa"
        properties["vhostdev"] = get("dev", "")
    elif kind in ("udp", "mcast", "server", "client"):
        what = "socket"
        _socket(kind, source, properties)
    else:
        what = "user"
        named = get("network") or get("dev") or ""
        reading.leave_out(
            f"the {kind} connection of {identity} ({named}): a user-mode network stands in its place", element
        )
    if what == "tap" and driver is not None and driver.get("name") in ("vhost", "qemu"):
        properties["vhost"] = driver.get("name") == "vhost"
    elif what == "bridge" and driver is not None and driver.get("name") == "vhost":
        reading.leave_out(f"vhost of {identity}: QEMU's bridge backend has none", driver)
    properties["id"] = host
    reading.add("netdev", what, properties, element, host)


def _socket(kind: str, source: Element | None, properties: Props) -> None:
    if source is None:
        return
    at = f"{source.get('address', '')}:{source.get('port', '')}"
    properties[{"udp": "udp", "mcast": "mcast", "server": "listen", "client": "connect"}[kind]] = at
    local = source.find("local")
    if local is not None:
        properties["localaddr"] = f"{local.get('address', '')}:{local.get('port', '')}"


def _passt(reading: Reading, element: Element, kind: str, identity: str, host: str) -> None:
    """libvirt starts passt itself; QEMU only meets its socket."""
    path = f"{CHANNELS}/{reading.name}/{identity}-passt.sock"
    reading.leave_out(f"the passt process of {identity}: start one that listens on {path}", element)
    if kind == "vhostuser":
        said: Props = {"id": f"char{identity}", "path": path, "reconnect-ms": "5000"}
        reading.add("chardev", "socket", said, element, f"char{identity}")
        properties: Props = {"chardev": f"char{identity}", "id": host}
        reading.add("netdev", "vhost-user", properties, element, host)
        return
    properties = {"addr": {"type": "unix", "path": path}, "server": False, "reconnect-ms": 5000, "id": host}
    reading.add("netdev", "stream", properties, element, host)


def _tuning(driver: Element, properties: Props, vectors: str) -> None:
    attributes = driver.attrib
    if attributes.get("txmode"):
        properties["tx"] = "bh" if attributes["txmode"] == "iothread" else attributes["txmode"]
    for name, prop in _SWITCHES[:2]:
        if name in attributes:
            properties[prop] = SWITCH.get(attributes[name], attributes[name])
    for child in driver:
        for name, prop in (
            _HOST_OFFLOADS if child.tag == "host" else _GUEST_OFFLOADS if child.tag == "guest" else ()
        ):
            if child.get(name):
                properties[prop] = child.get(name) == "on"
    queues = attributes.get("queues", "")
    if queues.isdecimal() and int(queues) > 1:
        properties["mq"] = True
        if vectors:
            properties["vectors"] = 2 * int(queues) + 2
    for name in _QUEUE_SIZES:
        if attributes.get(name, "").isdecimal():
            properties[name] = int(attributes[name])
    for name, prop in _SWITCHES[2:]:
        if name in attributes:
            properties[prop] = SWITCH.get(attributes[name], attributes[name])


def _passed_through(reading: Reading, element: Element, children: dict[str, Element]) -> None:
    """Add a virtual function of a network card that is passed through."""
    identity = reading.identity("hostdev", children.get("alias"))
    source = children.get("source")
    address = source.find("address") if source is not None else None
    if address is None:
        reading.leave_out("an <interface type='hostdev'> without an address", element)
        return
    properties: Props = {"host": host_address(reading, address), "id": identity}
    boot = children.get("boot")
    if boot is not None:
        properties["bootindex"] = reading.number(boot, "order", 1)
    reading.place(children.get("address"), properties)
    rom(children.get("rom"), properties)
    reading.device("vfio-pci", properties, element)


def _beside(reading: Reading, children: dict[str, Element], identity: str) -> None:
    """Name what surrounds an interface and is not QEMU's to do."""
    for tag in ("bandwidth", "filterref", "vlan", "virtualport"):
        if tag in children:
            reading.leave_out(f"<{tag}> of {identity}", children[tag])
    link = children.get("link")
    if link is not None and link.get("state") == "down":
        reading.leave_out(f"<link state='down'> of {identity}", link)
    tune = children.get("tune")
    if tune is not None:
        reading.leave_out(f"<tune> of {identity}", tune)
