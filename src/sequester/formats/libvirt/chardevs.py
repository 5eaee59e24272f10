"""Character devices: serial ports, consoles, channels, and the backends behind them.

Source: libvirt src/qemu/qemu_chardev.c, src/qemu/qemu_command.c (`qemuBuildSerialChrDeviceProps`,
`qemuBuildVirtioSerialPortDevProps`); compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading, first_children

CHANNELS = "/run/libvirt/qemu/channel"
"""Where libvirt listens for a channel that names no path."""

_NAMED = {"com.redhat.spice.0": "vdagent"}

SERIAL_MODELS = {
    "x86_64": "isa-serial",
    "i386": "isa-serial",
    "ppc64": "spapr-vty",
    "s390x": "sclpconsole",
}
"""The serial port of each architecture that is a device of its own; elsewhere it is part of the machine."""

_PART_OF_MACHINE = frozenset({"pl011", "16550a", "system-serial"})


def source(reading: Reading, element: Element, identity: str, name: str = "") -> Element | None:
    """Add the backend of a character device; return the element of its ``<source>``.

    `name` is the target's name, which some backends show to SPICE.
    """
    kind = element.get("type", "pty")
    children = [child for child in element if child.tag == "source"]
    first = children[0] if children else None
    properties: Props = {"id": identity}
    driver = kind
    said: Mapping[str, str] = first.attrib if first is not None else {}
    get = said.get
    if kind in ("file", "pipe"):
        properties["path"] = get("path", "")
        if get("append"):
            properties["append"] = get("append")
    elif kind == "dev":
        driver = "serial"
        properties["path"] = get("path", "")
    elif kind == "unix":
        driver = "socket"
        properties["path"] = get("path") or f"{CHANNELS}/{reading.name}/{name or identity}"
        _listen(properties, listens=get("mode", "bind") == "bind")
        _reconnect(reading, first, properties)
    elif kind == "tcp":
        driver = "socket"
        properties["host"] = get("host", "")
        properties["port"] = get("service", "")
        protocol = element.find("protocol")
        if protocol is not None and protocol.get("type") == "telnet":
            properties["telnet"] = "on"
        _listen(properties, listens=get("mode") == "bind")
        _reconnect(reading, first, properties)
        if get("tls") == "yes" and first is not None:
            reading.leave_out(
                "TLS of a character device: libvirt's configuration names the certificates", first
            )
    elif kind == "udp":
        for child in children:
            if child.get("mode") == "bind":
                properties["localaddr"] = child.get("host", "")
                properties["localport"] = child.get("service", "")
            else:
                properties["host"] = child.get("host", "")
                properties["port"] = child.get("service", "")
    elif kind == "spicevmc":
        properties["name"] = _NAMED.get(name, name or "vdagent")
    elif kind in ("spiceport", "dbus"):
        properties["name"] = get("channel", "")
    elif kind == "qemu-vdagent":
        properties["name"] = "vdagent"
        if first is not None:
            clipboard, mouse = first.find("clipboard"), first.find("mouse")
            if clipboard is not None:
                properties["clipboard"] = "on" if clipboard.get("copypaste") == "yes" else "off"
            if mouse is not None:
                properties["mouse"] = "on" if mouse.get("mode") == "client" else "off"
    elif kind not in ("pty", "null", "vc", "stdio"):
        reading.leave_out(f"<{element.tag} type='{kind}'>", element)
        driver = "null"
    log = element.find("log")
    if log is not None and log.get("file"):
        properties["logfile"] = log.get("file")
        if log.get("append"):
            properties["logappend"] = log.get("append")
    reading.add("chardev", driver, properties, element, identity)
    return first


def _listen(properties: Props, *, listens: bool) -> None:
    if listens:
        properties["server"] = "on"
        properties["wait"] = "off"


def _reconnect(reading: Reading, first: Element | None, properties: Props) -> None:
    reconnect = first.find("reconnect") if first is not None else None
    if reconnect is not None and reconnect.get("enabled") == "yes":
        properties["reconnect-ms"] = str(1000 * reading.number(reconnect, "timeout"))


def serials(reading: Reading, found: list[Element]) -> None:
    """Add serial ports."""
    for element in found:
        _serial(reading, element)


def consoles(reading: Reading, found: list[Element], *, alone: bool) -> None:
    """Add consoles. The first one, without a target of its own kind, is the serial port: made here if it is `alone`."""
    for position, element in enumerate(found):
        target = element.find("target")
        kind = target.get("type", "serial") if target is not None else "serial"
        if kind != "serial":
            _console(reading, element, kind, position)
        elif alone and position == 0:
            _serial(reading, element)


def _serial(reading: Reading, element: Element) -> None:
    children = first_children(element)
    identity = reading.identity("serial", children.get("alias"))
    source(reading, element, f"char{identity}")
    target = children.get("target")
    model = target.find("model") if target is not None else None
    named = model.get("name") if model is not None else target.get("type") if target is not None else None
    driver = named or SERIAL_MODELS.get(reading.arch, "")
    if driver in ("serial", "sclp-serial", "spapr-vio-serial"):
        driver = SERIAL_MODELS.get(reading.arch, "")
    if not driver or driver in _PART_OF_MACHINE or (element.tag == "console" and reading.arch == "aarch64"):
        reading.add("serial", f"chardev:char{identity}", {}, element)
        return
    properties: Props = {"chardev": f"char{identity}", "id": identity}
    if driver == "isa-serial" and target is not None and target.get("port"):
        properties["index"] = reading.number(target, "port")
    elif driver == "isa-serial":
        properties["index"] = reading.counters["serial"] - 1
    reading.place(children.get("address"), properties)
    reading.device(driver, properties, element)


def _console(reading: Reading, element: Element, kind: str, position: int) -> None:
    children = first_children(element)
    alias = children.get("alias")
    identity = (alias.get("name") if alias is not None else None) or f"console{position}"
    driver = {"virtio": "virtconsole", "sclp": "sclpconsole", "sclplm": "sclplmconsole"}.get(kind)
    if driver is None:
        reading.leave_out(f"<console><target type='{kind}'>", element)
        return
    source(reading, element, f"char{identity}")
    properties: Props = {"chardev": f"char{identity}", "id": identity}
    reading.place(children.get("address"), properties)
    reading.device(driver, properties, element)


def parallel(reading: Reading, element: Element) -> None:
    """Add a parallel port."""
    identity = reading.identity("parallel", element.find("alias"))
    source(reading, element, f"char{identity}")
    reading.device("isa-parallel", {"chardev": f"char{identity}", "id": identity}, element)


def channels(reading: Reading, found: list[Element]) -> None:
    """Add channels: named ports of a virtio serial controller, numbered from 1 where they have no address."""
    ports: dict[str, int] = {}
    for element in found:
        children = first_children(element)
        target = children.get("target")
        kind = target.get("type", "") if target is not None else ""
        identity = reading.identity("channel", children.get("alias"))
        if target is None or kind != "virtio":
            reading.leave_out(f"<channel><target type='{kind}'>", element)
            continue
        name = target.get("name", "")
        source(reading, element, f"char{identity}", name or "com.redhat.spice.0")
        properties: Props = {}
        address = children.get("address")
        if address is not None and address.get("port"):
            reading.place(address, properties)
        else:
            bus = "virtio-serial0.0"
            if address is not None:
                bus = f"virtio-serial{reading.number(address, 'controller')}.0"
            ports[bus] = ports.get(bus, 0) + 1
            properties.update(bus=bus, nr=ports[bus])
        properties["chardev"] = f"char{identity}"
        properties["id"] = identity
        if name or element.get("type") == "spicevmc":
            properties["name"] = name or "com.redhat.spice.0"
        reading.device("virtserialport", properties, element)


def serial_controllers(channels_: list[Element], consoles: list[Element]) -> set[int]:
    """Return the indices of the virtio serial controllers that channels and consoles need."""
    needed = set()
    for element in (*channels_, *consoles):
        target = element.find("target")
        if target is not None and target.get("type") == "virtio":
            address = element.find("address")
            text = address.get("controller", "0") if address is not None else "0"
            needed.add(int(text) if text.isdecimal() and len(text) < 6 else 0)
    return needed
