"""Disks: the block nodes behind them, and the devices that the guest sees.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildDiskDeviceProps`), src/conf/domain_conf.c (order and addresses
of disks), src/qemu/qemu_alias.c; compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt import storage
from sequester.formats.libvirt.reading import SWITCH, Props, Reading, first_children, options

CACHE = {
    "none": ("on", True, False),
    "writethrough": ("off", False, False),
    "writeback": ("on", False, False),
    "directsync": ("off", True, False),
    "unsafe": ("on", False, True),
}
"""``cache=`` as (the device's write-cache, the node's cache.direct, the node's cache.no-flush)."""

PREFIXES = {"vd": "virtio", "sd": "scsi", "hd": "ide", "fd": "fdc", "xvd": "xen", "ubd": "uml"}
"""What a target's name says of its bus where the disk does not."""

_NARROW = frozenset({"lsilogic", "am53c974", "dc390"})
"""SCSI controllers without logical units: a disk has a SCSI id only."""

_MEDIA = {"disk": "hd", "cdrom": "cd", "floppy": "hd", "lun": "block"}
_BOOT_NAMES = {"disk": "hd", "lun": "hd", "cdrom": "cdrom", "floppy": "fd"}
_PER_CONTROLLER = {"scsi": 15, "ide": 4, "sata": 6, "fdc": 2}


class Disk:
    """A ``<disk>``: its element, children by tag, bus, target, index of the target's name and its medium."""

    __slots__ = ("bus", "children", "element", "index", "media", "target")

    def __init__(self, element: Element) -> None:
        self.element = element
        self.children = first_children(element)
        target = self.children.get("target")
        self.target = target.get("dev", "") if target is not None else ""
        prefix, self.index = _split(self.target)
        bus = target.get("bus") if target is not None else None
        self.bus = bus or PREFIXES.get(prefix, "")
        self.media = element.get("device", "disk")


def in_order(elements: list[Element]) -> list[Disk]:
    """Return the disks in the order in which libvirt keeps them: by bus as first met, then by name."""
    by_bus: dict[str, list[Disk]] = {}
    for element in elements:
        disk = Disk(element)
        by_bus.setdefault(disk.bus, []).append(disk)
    for found in by_bus.values():
        if len(found) > 1:
            found.sort(key=lambda disk: disk.index)
    return [disk for found in by_bus.values() for disk in found]


def disks(reading: Reading, found: list[Disk], order: dict[str, int], scsi: dict[int, str]) -> None:
    """Add all disks. `order` is the boot order by kind, `scsi` the model of each SCSI controller by index."""
    left = dict(order)
    chains = [_chain(disk) for disk in found]
    node = sum(map(len, chains))
    for disk, chain in zip(found, chains, strict=True):
        first = node - len(chain) + 1
        node -= len(chain)
        if disk.element.get("type") == "vhostuser":
            _vhost_user(reading, disk, left)
            continue
        drive = _nodes(reading, disk, chain, first)
        _device(reading, disk, drive, left, scsi)


def _chain(disk: Disk) -> list[Element]:
    """Return the disk's element and those of its backing files, topmost first."""
    chain = [disk.element]
    store = disk.children.get("backingStore")
    while store is not None and store.get("type"):
        chain.append(store)
        store = store.find("backingStore")
    return chain


def _nodes(reading: Reading, disk: Disk, chain: list[Element], first: int) -> str:
    """Add the block nodes of a disk, the innermost first; return the name of the topmost, '' without a medium."""
    below = ""
    for at in range(len(chain) - 1, -1, -1):
        below = _layer(reading, disk, chain[at], f"libvirt-{first + at}", below, top=at == 0)
        if not below and at == 0:
            return ""
    driver = disk.children.get("driver")
    if driver is not None and driver.get("copy_on_read") == "on":
        node = f"libvirt-CoR-{disk.target}"
        said: Props = {"node-name": node, "file": below}
        if driver.get("discard"):
            said["discard"] = driver.get("discard")
        reading.add("blockdev", "copy-on-read", said, disk.element, node)
        return node
    return below


def _layer(reading: Reading, disk: Disk, layer: Element, stem: str, below: str, *, top: bool) -> str:
    children = disk.children if top else first_children(layer)
    source = children.get("source")
    what = f"disk {disk.target}"
    found = storage.backend(reading, layer.get("type", "file"), source, what) if source is not None else None
    if found is None:
        return ""
    driver, properties = found
    options_of = disk.children.get("driver")
    if top:
        form = options_of.get("type", "raw") if options_of is not None else "raw"
    else:
        format_element = children.get("format")
        form = format_element.get("type", "raw") if format_element is not None else "raw"
    if driver == "vvfat":
        properties["floppy"] = disk.media == "floppy"
        form = "fat"
    read_only = not top or _read_only(disk)
    shared = _behaviour(disk) if top else {}
    if options_of is not None and top and options_of.get("io"):
        properties["aio"] = options_of.get("io")
    node = f"{stem}-storage"
    properties["node-name"] = node
    if form == "raw" and driver != "vvfat":
        properties["read-only"] = read_only
        properties.update(shared)
        if source is not None and len(source) and (piece := source.find("slices")) is not None:
            reading.leave_out(f"<slices> of {what}", piece)
        reading.add("blockdev", driver, properties, layer, node)
        return node
    properties["auto-read-only"] = True
    properties["discard"] = "unmap"
    if "cache" in shared:
        properties["cache"] = shared["cache"]
    reading.add("blockdev", driver, properties, layer, node)
    upper = f"{stem}-format"
    said: Props = {"node-name": upper, "read-only": read_only, **shared, "file": node}
    if below:
        said["backing"] = below
    reading.add("blockdev", "raw" if form == "fat" else form, said, layer, upper)
    return upper


def _read_only(disk: Disk) -> bool:
    return disk.media == "cdrom" or "readonly" in disk.children


def _behaviour(disk: Disk) -> Props:
    """Return what ``<driver>`` asks of the topmost node."""
    properties: Props = {}
    driver = disk.children.get("driver")
    if driver is not None:
        attributes = driver.attrib
        if "discard" in attributes:
            properties["discard"] = attributes["discard"]
        if "detect_zeroes" in attributes:
            properties["detect-zeroes"] = attributes["detect_zeroes"]
    cache = CACHE.get(_cache(disk))
    if cache:
        properties["cache"] = {"direct": cache[1], "no-flush": cache[2]}
    return properties


def _cache(disk: Disk) -> str:
    driver = disk.children.get("driver")
    said = driver.get("cache", "") if driver is not None else ""
    return said if said and said != "default" else "none" if "shareable" in disk.children else ""


def _device(reading: Reading, disk: Disk, drive: str, order: dict[str, int], scsi: dict[int, str]) -> None:
    children = disk.children
    driver, properties = _frontend(reading, disk, scsi)
    if not driver:
        reading.leave_out(f"disk {disk.target} on bus '{disk.bus}'", disk.element)
        return
    virtio = disk.bus == "virtio"
    options_of = children.get("driver")
    if virtio:
        options(options_of, properties)
    if options_of is not None:
        _tuning(options_of, properties, virtio=virtio)
    if "shareable" in children:
        properties["share-rw"] = True
    if drive:
        properties["drive"] = drive
    identity = _identity(reading, disk, scsi)
    if identity:
        properties["id"] = identity
    _boot(reading, disk, properties, order)
    cache = CACHE.get(_cache(disk))
    if cache and disk.media in ("disk", "lun") and driver != "scsi-block":
        properties["write-cache"] = cache[0]
    _named(reading, children, properties)
    if options_of is not None:
        for attribute, prop in (("error_policy", "werror"), ("rerror_policy", "rerror")):
            if options_of.get(attribute):
                policy = options_of.get(attribute)
                properties[prop] = "enospc" if policy == "enospace" else policy
    reading.device(driver, properties, disk.element)
    if "iotune" in children:
        reading.leave_out(f"<iotune> of disk {disk.target}", children["iotune"])


def _frontend(reading: Reading, disk: Disk, scsi: dict[int, str]) -> tuple[str, Props]:
    """Return the driver and the properties that say where the disk sits."""
    properties: Props = {}
    address = disk.children.get("address")
    bus = disk.bus
    if bus == "virtio":
        driver = reading.virtio("virtio-blk", disk.element.get("model"), address)
        reading.place(address, properties)
        return driver, properties
    if bus == "usb":
        reading.place(address, properties)
        return ("usb-bot" if disk.element.get("model") == "usb-bot" else "usb-storage"), properties
    controller, at, target, unit = place_of(reading, disk)
    if bus == "scsi":
        properties["bus"] = f"scsi{controller}.0"
        if scsi.get(controller) in _NARROW:
            properties["scsi-id"] = unit
            properties["device_id"] = f"drive-scsi{controller}-{at}-{unit}"
        else:
            properties.update(channel=at, lun=unit)
            properties["scsi-id"] = target
            if disk.media != "lun":
                properties["device_id"] = f"drive-scsi{controller}-{at}-{target}-{unit}"
        return f"scsi-{_MEDIA.get(disk.media, 'hd')}", properties
    if bus == "sata":
        built_in = controller == 0 and reading.root_bus == "pcie.0"
        properties["bus"] = f"ide.{unit}" if built_in else f"sata{controller}.{unit}"
        return f"ide-{_MEDIA.get(disk.media, 'hd')}", properties
    if bus == "ide":
        properties["bus"] = f"ide.{at}"
        properties["unit"] = unit
        return f"ide-{_MEDIA.get(disk.media, 'hd')}", properties
    if bus == "fdc":
        properties["unit"] = unit
        return "floppy", properties
    return "", properties


def place_of(reading: Reading, disk: Disk) -> tuple[int, int, int, int]:
    """Return controller, bus, target and unit of a disk, from its address or else its target's name."""
    address = disk.children.get("address")
    if address is not None and address.get("type", "drive") == "drive":
        number = reading.number
        return (
            number(address, "controller"),
            number(address, "bus"),
            number(address, "target"),
            number(address, "unit"),
        )
    controller, rest = divmod(disk.index, _PER_CONTROLLER.get(disk.bus, 1))
    if disk.bus == "scsi":
        return controller, 0, 0, rest + (rest >= 7)
    if disk.bus == "ide":
        return controller, rest // 2, 0, rest % 2
    return controller, 0, 0, rest


def _identity(reading: Reading, disk: Disk, scsi: dict[int, str]) -> str:
    alias = disk.children.get("alias")
    if alias is not None and alias.get("name"):
        return alias.get("name", "")
    if disk.bus in ("virtio", "usb"):
        return f"{disk.bus}-disk{disk.index}"
    controller, bus, target, unit = place_of(reading, disk)
    if disk.bus == "scsi" and scsi.get(controller) not in _NARROW:
        return f"scsi{controller}-{bus}-{target}-{unit}"
    return f"{disk.bus}{controller}-{bus}-{unit}"


def _tuning(driver: Element, properties: Props, *, virtio: bool) -> None:
    attributes = driver.attrib
    if "iothread" in attributes:
        properties["iothread"] = f"iothread{attributes['iothread']}"
    if not virtio:
        return
    for name in ("ioeventfd", "event_idx"):
        if name in attributes:
            properties[name] = SWITCH.get(attributes[name], attributes[name])
    for name, prop in (("queues", "num-queues"), ("queue_size", "queue-size")):
        value = attributes.get(name, "")
        if value.isdecimal():
            properties[prop] = int(value)


def _boot(reading: Reading, disk: Disk, properties: Props, order: dict[str, int]) -> None:
    """Give the device its place in the boot order: its own, or the first of its kind the kind's."""
    own = disk.children.get("boot")
    if own is not None:
        properties["bootindex"] = reading.number(own, "order", 1)
        if own.get("loadparm"):
            properties["loadparm"] = own.get("loadparm")
    elif order:
        place = order.pop(_BOOT_NAMES.get(disk.media, ""), None)
        if place is not None:
            properties["bootindex"] = place


def _named(reading: Reading, children: dict[str, Element], properties: Props) -> None:
    """Add what the guest sees of a disk's name and geometry."""
    if "serial" in children and (children["serial"].text or "").strip():
        properties["serial"] = (children["serial"].text or "").strip()
    if "wwn" in children:
        text = (children["wwn"].text or "").strip()
        properties["wwn"] = reading.to_int(children["wwn"], f"0x{text.removeprefix('0x')}", "wwn")
    for tag in ("vendor", "product"):
        if tag in children:
            properties[tag] = (children[tag].text or "").strip()
    target = children.get("target")
    if target is not None:
        if target.get("rotation_rate"):
            properties["rotation_rate"] = reading.number(target, "rotation_rate")
        if target.get("removable"):
            properties["removable"] = target.get("removable") == "on"
    blocks = children.get("blockio")
    if blocks is not None:
        for name in ("logical_block_size", "physical_block_size", "discard_granularity"):
            if blocks.get(name):
                properties[name] = reading.number(blocks, name)


def _vhost_user(reading: Reading, disk: Disk, order: dict[str, int]) -> None:
    """Add a disk that another process serves."""
    children = disk.children
    source = children.get("source")
    identity = _identity(reading, disk, {})
    character = f"chr-vu-{identity}"
    said: Props = {"id": character, "path": source.get("path", "") if source is not None else ""}
    reconnect = source.find("reconnect") if source is not None else None
    if reconnect is not None and reconnect.get("enabled") == "yes":
        said["reconnect-ms"] = str(1000 * reading.number(reconnect, "timeout"))
    reading.add("chardev", "socket", said, disk.element, character)
    properties: Props = {}
    driver = children.get("driver")
    options(driver, properties)
    if driver is not None:
        _tuning(driver, properties, virtio=True)
    address = children.get("address")
    reading.place(address, properties)
    properties["chardev"] = character
    properties["id"] = identity
    _boot(reading, disk, properties, order)
    kind = reading.virtio("vhost-user-blk", disk.element.get("model"), address)
    reading.device(kind, properties, disk.element)


def _split(name: str) -> tuple[str, int]:
    """Split a target's name: ``vdc`` into ``vd`` and 2 (letters count as spreadsheets count columns)."""
    prefix = name[:2]
    if prefix not in PREFIXES:
        prefix = name[:3] if name[:3] in PREFIXES else ""
    index = 0
    for letter in name[len(prefix) : len(prefix) + 6]:
        if not "a" <= letter <= "z":
            break
        index = index * 26 + ord(letter) - 96
    return prefix, max(index - 1, 0)
