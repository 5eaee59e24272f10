"""Writes disks: drives, block nodes, and the devices that show them to the guest."""

from __future__ import annotations

import re

from sequester.formats.libvirt.disks import CACHE
from sequester.formats.libvirt.write_virtio import driver_options, settle_versions
from sequester.formats.libvirt.writing import Said, Writing
from sequester.formats.xml_splice import Node
from sequester.guest.part import Part, Value
from sequester.guest.virtio import kind

_WEB = frozenset({"http", "https", "ftp", "ftps"})
_SHORT = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd", "fdc": "fd"}
_BY_DRIVER = {
    "scsi-hd": ("scsi", "disk"),
    "scsi-disk": ("scsi", "disk"),
    "scsi-cd": ("scsi", "cdrom"),
    "scsi-block": ("scsi", "lun"),
    "ide-hd": ("ide", "disk"),
    "ide-cd": ("ide", "cdrom"),
    "ide-drive": ("ide", "disk"),
    "usb-storage": ("usb", "disk"),
    "usb-bot": ("usb", "disk"),
    "floppy": ("fdc", "floppy"),
}
_BY_INTERFACE = {"ide": "ide", "scsi": "scsi", "floppy": "fdc", "virtio": "virtio"}
_DEPTH = 16
_SERIAL = re.compile(r"[A-Za-z0-9_.+\- ]+")

FORMATS = frozenset(
    {"raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhd", "vpc", "luks", "cow", "bochs", "dmg", "fat"}
)
"""Formats of images that libvirt's schema knows (`storageFormat`)."""


def is_disk(part: Part) -> bool:
    """Tell whether a device is a disk."""
    return part.type in _BY_DRIVER or (
        kind(part) == "blk" and part.type.startswith(("virtio-", "vhost-user-"))
    )


def disk(writing: Writing, part: Part) -> None:
    """Write a disk that a device shows to the guest."""
    said = Said(part)
    if part.type.startswith("vhost-user-"):
        _vhost_user(writing, said)
        return
    bus, media = ("virtio", "disk") if part.type.startswith("virtio-") else _BY_DRIVER[part.type]
    if bus == "ide" and "q35" in writing.guest.machine.type:
        bus = "sata"
    drive = writing.referred(said, "drive", "drive", "blockdev") if not part.implied else None
    if part.implied:
        drive = _implied_drive(writing, part)
        said.drop("drive")
    _write(writing, said, drive, bus, media)


def loose_drive(writing: Writing, part: Part) -> None:
    """Write a ``-drive`` that makes its device itself."""
    interface = part.text("if") or ("ide" if writing.arch in ("x86_64", "i386") else "virtio")
    bus = _BY_INTERFACE.get(interface)
    if bus is None:
        writing.lose(part.label() if part.type == "" else f"drive {part.type} (if={interface})")
        return
    if bus == "ide" and "q35" in writing.guest.machine.type:
        bus = "sata"
    media = "cdrom" if part.text("media") == "cdrom" else "floppy" if bus == "fdc" else "disk"
    writing.used.add(part.key)
    _write(writing, None, Said(part), bus, media)


def _implied_drive(writing: Writing, device: Part) -> Said | None:
    """Return the drive that an implied device shows: the first of its spelling that none has yet."""
    drives = writing.implying("drive").get((device.line, device.spelled))
    if not drives:
        return None
    drive = drives.pop(0)
    writing.used.add(drive.key)
    return Said(drive)


def _write(writing: Writing, said: Said | None, drive: Said | None, bus: str, media: str) -> None:
    node = writing.device("disk", type="file", device=media)
    if said is not None:
        model = settle_versions(said) if bus == "virtio" else None
        if model:
            node.attributes["model"] = model
    driver = writing.element(node, "driver", name="qemu", type="raw")
    if drive is not None:
        _medium(writing, drive, node, driver)
    if media not in ("cdrom", "floppy") and not any(child.tag == "source" for child in node.children):
        writing.devices.children.remove(node)
        shown_by = said.part if said is not None else drive.part if drive is not None else None
        writing.lose(f"{shown_by.label() if shown_by else 'a disk'}: libvirt wants a medium that it knows")
        for part in (said, drive):
            if part is not None:
                writing.used.add(part.part.key)
        return
    if bus == "virtio" and said is not None:
        driver_options(said, driver)
    target = writing.element(node, "target", dev=writing.target(_SHORT[bus]), bus=bus)
    if media == "cdrom" and not any(child.tag == "readonly" for child in node.children):
        writing.element(node, "readonly")
    if said is None:
        if drive is not None:
            writing.finish(drive)
        return
    _frontend(writing, said, node, driver, target, bus)
    writing.finish(said, *([drive] if drive is not None else []))


def _frontend(writing: Writing, said: Said, node: Node, driver: Node, target: Node, bus: str) -> None:
    _serial(writing, said, node)
    if said.flag("share-rw") == "on":
        writing.element(node, "shareable")
    write_cache = said.flag("write-cache")
    direct = driver.attributes.get("cache")
    if write_cache == "off":
        driver.attributes["cache"] = {"none": "directsync"}.get(direct or "", "writethrough")
    for prop, attribute in (("werror", "error_policy"), ("rerror", "rerror_policy")):
        policy = said.word(prop, "stop", "report", "ignore", "enospc")
        if policy:
            driver.attributes[attribute] = "enospace" if policy == "enospc" else policy
    thread = said.take("iothread")
    if thread is not None:
        number = iothread(writing, thread)
        if number:
            driver.attributes["iothread"] = number
    if bus == "virtio":
        for prop, attribute in (("num-queues", "queues"), ("queue-size", "queue_size")):
            value = said.number(prop)
            if value and value != "0":
                driver.attributes[attribute] = value
    wwn = said.number("wwn")
    if wwn:
        writing.element(node, "wwn", f"{int(wwn):016x}")
    for tag in ("vendor", "product"):
        value = said.take(tag)
        if value:
            writing.element(node, tag, value)
    rotation = said.number("rotation_rate")
    if rotation:
        target.attributes["rotation_rate"] = rotation
    removable = said.flag("removable")
    if removable and bus == "usb":
        target.attributes["removable"] = removable
    blocks = {
        name: value
        for name in ("logical_block_size", "physical_block_size", "discard_granularity")
        if (value := said.number(name))
    }
    if blocks:
        node.children.append(Node("blockio", blocks))
    if bus == "scsi":
        _place(writing, said, node)
    said.drop("device_id", "scsi-id", "lun", "unit")
    writing.boot(said, node)


def _serial(writing: Writing, said: Said, node: Node) -> None:
    serial = said.take("serial")
    if serial and _SERIAL.fullmatch(serial):
        writing.element(node, "serial", serial)
    elif serial:
        writing.lose(f"serial={serial} of {said.part.label()}")


def _place(writing: Writing, said: Said, node: Node) -> None:
    """Say on which of several SCSI controllers a disk sits, and where."""
    controller = writing.scsi.get((said.part.text("bus") or "").removesuffix(".0"), 0)
    target, unit = said.part.text("scsi-id") or "0", said.part.text("lun") or "0"
    if controller:
        said.drop("bus", "channel")
        writing.element(
            node, "address", type="drive", controller=str(controller), bus="0", target=target, unit=unit
        )


def iothread(writing: Writing, identity: str) -> str:
    """Return the number by which libvirt knows an I/O thread, '' when there is none of that id."""
    threads = [part for part in writing.guest.objects if part.type == "iothread"]
    return next((str(number) for number, part in enumerate(threads, 1) if part.id == identity), "")


def _medium(writing: Writing, drive: Said, node: Node, driver: Node) -> None:
    if drive.part.group == "drive":
        _drive(writing, drive, node, driver)
    else:
        _nodes(writing, drive, node, driver)


def _drive(writing: Writing, drive: Said, node: Node, driver: Node) -> None:
    """Say where a ``-drive`` keeps its bytes, and how."""
    drive.drop("if", "index", "media", "unit", "aio-max-batch", "id", "snapshot-id")
    form = drive.take("format")
    path = drive.part.type or drive.take("file") or drive.take("file.filename") or ""
    drive.drop("file.driver", "driver", "file.locking")
    driver.attributes["type"] = form if form in FORMATS else _format_of(path)
    if form and form not in FORMATS:
        writing.lose(f"format={form} of {drive.part.label()}")
    cache = drive.word("cache", *CACHE)
    if cache:
        driver.attributes["cache"] = cache
    _tuning(drive, driver, top=True)
    _source(writing, path, node)
    if drive.flag("readonly") == "on" or drive.flag("read-only") == "on":
        writing.element(node, "readonly")
    _serial(writing, drive, node)
    for prop, attribute in (("werror", "error_policy"), ("rerror", "rerror_policy")):
        policy = drive.word(prop, "stop", "report", "ignore", "enospc")
        if policy:
            driver.attributes[attribute] = "enospace" if policy == "enospc" else policy


def _format_of(path: str) -> str:
    """libvirt never probes a format, for safety; the file's name is all there is to go by."""
    return "qcow2" if path.endswith((".qcow2", ".qcow")) else "raw"


def _source(writing: Writing, path: str, node: Node) -> None:
    path = path.removeprefix("file:")
    if path.startswith("/dev/") and not path.startswith("/dev/shm/"):
        node.attributes["type"] = "block"
        writing.element(node, "source", dev=path)
    elif path.startswith("nbd:") or "://" in path:
        writing.lose(f"the medium {path} of a disk: give it as a block node")
    elif path:
        writing.element(node, "source", file=writing.path(path, "the medium"))


def _nodes(writing: Writing, top: Said, node: Node, driver: Node) -> None:
    """Follow block nodes from the device down to where the bytes are."""
    said = top
    driver.attributes["type"] = "raw"
    for _ in range(_DEPTH):
        kind_ = said.part.type
        said.drop("node-name", "auto-read-only", "driver", "locking")
        if said.flag("read-only") == "on" and not any(child.tag == "readonly" for child in node.children):
            writing.element(node, "readonly")
        _behaviour(said, driver, top=said is top)
        below = said.left.get("file")
        inline = said.structure("file")
        if kind_ == "copy-on-read":
            driver.attributes["copy_on_read"] = "on"
        elif inline or isinstance(below, str):
            driver.attributes["type"] = kind_ if kind_ in FORMATS else "raw"
            if kind_ not in FORMATS:
                writing.lose(f"the {kind_} node of {top.part.label()}")
            backing = said.take("backing")
            if backing and (store := writing.guest.by_id.get(backing)):
                writing.lose(f"the backing file of {top.part.label()}: libvirt reads it from the image")
                writing.speak_for(store)
        if inline:
            _protocol(writing, str(inline.pop("driver", "file")), inline, node, top)
            writing.finish(*([said] if said is not top else []))
            return
        following = writing.referred(said, "file", "blockdev")
        if following is None:
            _protocol(writing, kind_, {name: said.left[name] for name in list(said.left)}, node, top)
            said.left.clear()
            return
        if said is not top:
            writing.finish(said)
        said = following
    writing.lose(f"the medium of {top.part.label()}: its nodes go round in a circle")


def _tuning(said: Said, driver: Node, *, top: bool) -> None:
    for prop, attribute, words in (
        ("discard", "discard", {"on": "unmap", "unmap": "unmap", "off": "ignore", "ignore": "ignore"}),
        ("detect-zeroes", "detect_zeroes", {"on": "on", "off": "off", "unmap": "unmap"}),
        ("aio", "io", {"threads": "threads", "native": "native", "io_uring": "io_uring"}),
    ):
        value = said.word(prop, *words)
        if value and (top or prop == "aio"):
            driver.attributes[attribute] = words[value]


def _behaviour(said: Said, driver: Node, *, top: bool) -> None:
    _tuning(said, driver, top=top)
    cache = said.structure("cache")
    if cache:
        pair = tuple(str(cache.get(name, "off")).lower() in ("on", "true") for name in ("direct", "no-flush"))
        name = next(
            (name for name, (_, *flags) in CACHE.items() if tuple(flags) == pair and name != "writethrough"),
            None,
        )
        if name:
            driver.attributes["cache"] = name


def _protocol(writing: Writing, driver: str, properties: dict[str, Value], node: Node, top: Said) -> None:
    """Say where the bytes are: the lowest node."""
    path = properties.get("filename")
    if driver in ("file", "host_device", "host_cdrom") and isinstance(path, str):
        block = driver != "file"
        node.attributes["type"] = "block" if block else "file"
        path = writing.path(path, "the medium")
        writing.element(node, "source", **({"dev": path} if block else {"file": path}))
        return
    server = properties.get("server")
    if not isinstance(server, dict):
        dotted = {k.removeprefix("server."): v for k, v in properties.items() if k.startswith("server.")}
        server = dotted or server
    if driver == "nbd" and isinstance(server, dict):
        node.attributes["type"] = "network"
        source = writing.element(node, "source", protocol="nbd", name=_text(properties.get("export")))
        if server.get("type") == "unix":
            writing.element(source, "host", transport="unix", socket=_text(server.get("path")))
        else:
            writing.element(source, "host", name=_text(server.get("host")), port=_text(server.get("port")))
        return
    if driver == "rbd":
        node.attributes["type"] = "network"
        name = f"{properties.get('pool', '')}/{properties.get('image', '')}"
        source = writing.element(node, "source", protocol="rbd", name=name)
        for host in server if isinstance(server, list) else ():
            if isinstance(host, dict):
                port = _text(host.get("port"))
                writing.element(
                    source, "host", name=_text(host.get("host")), port=port if port != "0" else None
                )
        if properties.get("conf"):
            writing.element(source, "config", file=_text(properties.get("conf")))
        return
    if driver == "iscsi":
        node.attributes["type"] = "network"
        name = f"{properties.get('target', '')}/{properties.get('lun', 0)}"
        source = writing.element(node, "source", protocol="iscsi", name=name)
        host_name, _, port = str(properties.get("portal", "")).partition(":")
        writing.element(source, "host", name=host_name, port=port or None)
        return
    if driver == "nvme":
        node.attributes["type"] = "nvme"
        source = writing.element(
            node, "source", type="pci", managed="yes", namespace=str(properties.get("namespace", 1))
        )
        domain, bus, rest = [*str(properties.get("device", "")).split(":"), "0", "0.0"][:3]
        slot, _, function = rest.partition(".")
        writing.element(
            source,
            "address",
            domain=f"0x{domain}",
            bus=f"0x{bus}",
            slot=f"0x{slot}",
            function=f"0x{function or 0}",
        )
        return
    url = properties.get("url")
    if driver in _WEB and isinstance(url, str):
        host_part, _, name = url.removeprefix(f"{driver}://").partition("/")
        host_name, _, port = host_part.partition(":")
        node.attributes["type"] = "network"
        source = writing.element(node, "source", protocol=driver, name=f"/{name}")
        writing.element(source, "host", name=host_name, port=port or None)
        return
    writing.lose(f"the {driver} medium of {top.part.label()}")


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _vhost_user(writing: Writing, said: Said) -> None:
    character = writing.referred(said, "chardev", "chardev")
    node = writing.device("disk", type="vhostuser", device="disk")
    driver = writing.element(node, "driver", name="qemu", type="raw")
    driver_options(said, driver)
    queues = said.number("num-queues")
    if queues:
        driver.attributes["queues"] = queues
    if character is not None:
        path = writing.path(character.take("path") or "", "the socket of a disk")
        source = writing.element(node, "source", type="unix", path=path)
        reconnect = character.number("reconnect-ms")
        if reconnect and reconnect.isdecimal():
            writing.element(source, "reconnect", enabled="yes", timeout=str(int(reconnect) // 1000 or 1))
        character.drop("server", "wait")
        writing.finish(character)
    writing.element(node, "target", dev=writing.target("vd"), bus="virtio")
    writing.boot(said, node)
    writing.finish(said)
