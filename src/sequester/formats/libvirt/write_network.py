"""Writes network interfaces: cards and their backends, ``-nic`` and ``-net`` included."""

from __future__ import annotations

import re

from sequester.formats.libvirt.write_virtio import driver_options, settle_versions
from sequester.formats.libvirt.writing import Said, Writing
from sequester.formats.xml_splice import Node
from sequester.guest.part import Part
from sequester.guest.virtio import kind

CARDS = frozenset(
    {
        "e1000",
        "e1000-82544gc",
        "e1000-82545em",
        "e1000e",
        "igb",
        "rtl8139",
        "ne2k_pci",
        "pcnet",
        "i82550",
        "i82551",
        "i82557b",
        "i82559er",
        "vmxnet3",
        "spapr-vlan",
        "usb-net",
        "tulip",
    }
)
_OFFLOADS = (
    ("host", {"csum": "csum", "gso": "gso", "mrg_rxbuf": "mrg_rxbuf"}),
    ("host", {"host_tso4": "tso4", "host_tso6": "tso6", "host_ecn": "ecn", "host_ufo": "ufo"}),
    ("guest", {"guest_csum": "csum", "guest_tso4": "tso4", "guest_tso6": "tso6"}),
    ("guest", {"guest_ecn": "ecn", "guest_ufo": "ufo"}),
)
_MAC = re.compile(r"[a-fA-F0-9][02468aAcCeE](:[a-fA-F0-9]{2}){5}")
_NET = re.compile(r"(\d{1,2}|1\d\d|2[0-4]\d|25[0-5])(\.(\d{1,2}|1\d\d|2[0-4]\d|25[0-5])){3}/([12]?\d|3[0-2])")
_NAME = re.compile(r"[a-zA-Z0-9_\-]{1,15}")
_ADDRESS = re.compile(r"(\d{1,3}(\.\d{1,3}){3})?:\d{1,5}")
_SOCKETS = {"udp": "udp", "mcast": "mcast", "listen": "server", "connect": "client"}


def is_card(part: Part) -> bool:
    """Tell whether a device is a network card."""
    return part.type in CARDS or (kind(part) == "net" and part.type.startswith("virtio-"))


def interface(writing: Writing, part: Part) -> None:
    """Write a card that a device shows to the guest."""
    said = Said(part)
    node = writing.device("interface", type="user")
    backend = writing.referred(said, "netdev", "netdev")
    if part.implied:
        _implied(writing, said, node)
        return
    mac = said.take("mac")
    _mac(writing, said.part, node, mac)
    driver = Node("driver")
    if backend is not None:
        _backend(writing, backend, node, driver)
        writing.finish(backend)
    _card(writing, said, node, driver)
    writing.finish(said)


def loose_card(writing: Writing, part: Part) -> None:
    """Write a ``-nic`` or ``-net nic`` whose card is no virtio device."""
    said = Said(part)
    node = writing.device("interface", type="user")
    if part.type in ("none",):
        writing.devices.children.remove(node)
        writing.used.add(part.key)
        return
    _sugar(writing, said, node, Node("driver"))
    model = said.take("model")
    if model and _NAME.fullmatch(model):
        writing.element(node, "model", type=model)
    writing.finish(said)


def _implied(writing: Writing, said: Said, node: Node) -> None:
    """Write a card that ``-nic`` or ``-net nic`` makes, or that QEMU adds by itself."""
    spot = (said.part.line, said.part.spelled)
    found = writing.implying("nic").get(spot) or writing.implying("net").get(spot)
    source = found.pop(0) if found else None
    driver = Node("driver")
    if source is not None:
        sugar = Said(source)
        _sugar(writing, sugar, node, driver)
        sugar.drop("model")
        writing.finish(sugar)
    _card(writing, said, node, driver)
    writing.finish(said)


def _sugar(writing: Writing, said: Said, node: Node, driver: Node) -> None:
    mac = said.take("mac") or said.take("macaddr")
    _mac(writing, said.part, node, mac)
    if said.part.group == "nic" and said.part.type != "user":
        _backend(writing, said, node, driver)
    elif said.part.group == "net":
        other = next(
            (p for p in writing.guest.of("net") if p.type != "nic" and p.key not in writing.used), None
        )
        if other is not None:
            backend = Said(other)
            _backend(writing, backend, node, driver)
            writing.finish(backend)
    else:
        _user(writing, said)
    said.drop("id", "name")


def _mac(writing: Writing, part: Part, node: Node, mac: str | None) -> None:
    if mac and _MAC.fullmatch(mac):
        writing.element(node, "mac", address=mac)
    elif mac:
        writing.lose(f"mac={mac} of {part.label()}")


def _user(writing: Writing, said: Said) -> None:
    for name in [name for name in said.left if name in ("hostfwd", "guestfwd", "smb", "tftp")]:
        writing.lose(f"{name}={said.take(name)} of {said.part.label()}: libvirt's user network has none")


def _backend(writing: Writing, said: Said, node: Node, driver: Node) -> None:
    """Say what the card is connected to; what concerns both sides goes to ``<driver>``."""
    what = said.part.type
    if what == "user":
        _user(writing, said)
        network = said.take("net")
        if network and _NET.fullmatch(network):
            address, _, prefix = network.partition("/")
            writing.element(node, "ip", family="ipv4", address=address, prefix=prefix)
        elif network:
            writing.lose(f"net={network} of {said.part.label()}")
    elif what == "tap":
        _tap(writing, said, node, driver)
    elif what == "bridge":
        node.attributes["type"] = "bridge"
        writing.element(node, "source", bridge=_device(writing, said, "br") or "br0")
        said.drop("helper")
    elif what == "vhost-user":
        _vhost_user(writing, said, node, driver)
    elif what == "vhost-vdpa":
        node.attributes["type"] = "vdpa"
        writing.element(node, "source", dev=writing.path(said.take("vhostdev") or "", "the vDPA device"))
    elif what == "socket":
        _socket(writing, said, node)
    else:
        writing.lose(f"{said.part.label()}: a user network stands in its place")
        said.left.clear()


def _device(writing: Writing, said: Said, prop: str) -> str | None:
    """Return the name of a network device of the host."""
    name = said.take(prop)
    if name and not _NAME.fullmatch(name):
        writing.lose(f"{prop}={name} of {said.part.label()}")
        return None
    return name


def _tap(writing: Writing, said: Said, node: Node, driver: Node) -> None:
    bridge = _device(writing, said, "br")
    if bridge:
        node.attributes["type"] = "bridge"
        writing.element(node, "source", bridge=bridge)
        said.drop("helper")
    else:
        node.attributes["type"] = "ethernet"
        name = _device(writing, said, "ifname")
        if name:
            writing.element(node, "target", dev=name, managed="no")
    for script in ("script", "downscript"):
        if said.left.get(script) in ("no", ""):
            said.drop(script)
    vhost = said.flag("vhost")
    if vhost is not None:
        driver.attributes["name"] = "vhost" if vhost == "on" else "qemu"
    queues = said.number("queues")
    if queues and queues != "1":
        driver.attributes["queues"] = queues
    for name in ("fd", "fds", "vhostfd", "vhostfds"):
        if name in said.left:
            writing.lose(f"{name} of {said.part.label()}: libvirt opens the tap itself")
            said.drop(name)


def _vhost_user(writing: Writing, said: Said, node: Node, driver: Node) -> None:
    character = writing.referred(said, "chardev", "chardev")
    if character is None:
        writing.lose(f"{said.part.label()} without a socket: a user network stands in its place")
    else:
        node.attributes["type"] = "vhostuser"
        mode = "server" if character.flag("server") == "on" else "client"
        path = writing.path(character.take("path") or "", "the socket of an interface")
        writing.element(node, "source", type="unix", path=path, mode=mode)
        character.drop("wait", "reconnect", "reconnect-ms")
        writing.finish(character)
    queues = said.number("queues")
    if queues and queues != "1":
        driver.attributes["queues"] = queues
    said.drop("vhostforce")


def _socket(writing: Writing, said: Said, node: Node) -> None:
    for prop, kind_ in _SOCKETS.items():
        where = said.take(prop)
        if where and _ADDRESS.fullmatch(where):
            address, _, port = where.rpartition(":")
            node.attributes["type"] = kind_
            source = writing.element(node, "source", address=address or "127.0.0.1", port=port)
            local = said.take("localaddr")
            if local and _ADDRESS.fullmatch(local):
                address, _, port = local.rpartition(":")
                writing.element(source, "local", address=address, port=port)
            return
    writing.lose(f"{said.part.label()}: a user network stands in its place")


def _card(writing: Writing, said: Said, node: Node, driver: Node) -> None:
    virtio = said.part.type.startswith("virtio-net")
    model = (settle_versions(said) or "virtio") if virtio else said.part.type
    writing.element(node, "model", type=model)
    if virtio:
        _virtio(writing, said, driver, node)
    else:
        driver.attributes.clear()  # queues and vhost are virtio's
    said.drop("mq", "vectors")
    if driver.attributes or driver.children:
        node.children.append(driver)
    rom = rom_of(said)
    if rom is not None:
        node.children.append(rom)
    index = said.number("acpi-index")
    if index:
        writing.element(node, "acpi", index=index)
    writing.boot(said, node)


def _virtio(writing: Writing, said: Said, driver: Node, node: Node) -> None:
    driver_options(said, driver)
    if said.left.get("tx") == "bh":
        said.drop("tx")
        driver.attributes["txmode"] = "iothread"
    for name, attribute in (
        ("ioeventfd", "ioeventfd"),
        ("event_idx", "event_idx"),
        ("rss", "rss"),
        ("hash", "rss_hash_report"),
    ):
        state = said.flag(name)
        if state is not None:
            driver.attributes[attribute] = state
    for name in ("rx_queue_size", "tx_queue_size"):
        value = said.number(name)
        if value:
            driver.attributes[name] = value
    for tag, offloads in _OFFLOADS:
        found = {
            attribute: state for prop, attribute in offloads.items() if (state := said.flag(prop)) is not None
        }
        if found:
            child = next((c for c in driver.children if c.tag == tag), None)
            if child is None:
                driver.children.append(Node(tag, found))
            else:
                child.attributes.update(found)
    mtu = said.number("host_mtu")
    if mtu:
        writing.element(node, "mtu", size=mtu)


def rom_of(said: Said) -> Node | None:
    """Return the ``<rom>`` of a PCI device, or None where nothing is said of its option ROM."""
    rom = Node("rom")
    file = said.take("romfile")
    if file == "":
        rom.attributes["enabled"] = "no"
        said.drop("rombar")
        return rom
    bar = said.take("rombar")
    if bar is not None:
        rom.attributes["bar"] = "off" if bar in ("0", "off") else "on"
    if file:
        rom.attributes["file"] = file if file.startswith("/") else f"/{file}"
    return rom if rom.attributes else None
