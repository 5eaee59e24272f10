"""The sections of a TOML guest that may come more than once: disks, networks and so on, each to its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sequester.formats.toml_parts import Making, Origin
from sequester.formats.toml_table import Table
from sequester.guest.part import Value

IMAGE_FORMATS = {
    ".qcow2": "qcow2",
    ".raw": "raw",
    ".img": "raw",
    ".iso": "raw",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
    ".vpc": "vpc",
    ".qed": "qed",
}
"""What a disk image is by its name. Nothing is ever guessed from contents: a guest writes those."""

NETWORK_KEYS: Mapping[str, tuple[str, ...]] = {
    "user": ("net", "host", "restrict"),
    "tap": ("ifname", "script", "downscript", "br", "helper", "vhost", "queues"),
    "bridge": ("br", "helper"),
}
"""Keys of a network that QEMU's ``-netdev`` knows by the same name. Others go in its `backend`."""

NETWORK_MODES = (
    "user",
    "tap",
    "bridge",
    "vhost-user",
    "vhost-vdpa",
    "passt",
    "stream",
    "dgram",
    "af-xdp",
    "l2tpv3",
)

_LEAST_CID = 3
"""Lower context ids stand for the hypervisor and the host (linux/vm_sockets.h)."""


def disk(table: Table, guest: Making) -> None:
    """A disk: a block device node and the device that shows it to the guest."""
    identity = guest.identity(table, "disk")
    file = table.needed("file", '"disk.qcow2"')
    bus = table.choice("bus", ("virtio", "scsi", "nvme"), "virtio")
    node: dict[str, Value] = {"node-name": f"{identity}-image"}
    if table.flag("readonly"):
        node["read-only"] = True
    node["file"] = {"driver": "host_device" if file.startswith("/dev/") else "file", "filename": file}
    names = {"read-only": "readonly"}
    image = guest.backend(table, "blockdev", _image_format(table, file), node, names, "format")
    properties: dict[str, Value] = {"id": identity, "drive": image.id}
    if bus == "scsi":
        properties["bus"] = f"{_controller(guest, table, 'virtio-scsi', 'scsi')}.0"
    if bus == "nvme":
        properties["serial"] = identity
    default = {"virtio": guest.virtio("virtio-blk"), "scsi": "scsi-hd", "nvme": "nvme"}[bus]
    guest.device(table, table.text("driver", default), properties)


def network(table: Table, guest: Making) -> None:
    """A network card and what it is connected to."""
    identity = guest.identity(table, "net")
    mode = table.choice("mode", NETWORK_MODES, "user")
    known = NETWORK_KEYS.get(mode, ())
    properties: dict[str, Value] = {"id": f"{identity}-host"}
    for key in known:
        if table.has(key):
            properties[key] = table.value(key)
    if mode == "user" and (forwards := table.texts("hostfwd")):
        properties["hostfwd"] = [{"str": each} for each in forwards]
    if mode == "vhost-user":
        socket = {"id": f"{identity}-socket", "path": table.needed("socket", '"/run/net.sock"')}
        guest.add("chardev", "socket", socket, Origin(table.path, "", {"path": "socket"}), table.line)
        properties["chardev"] = socket["id"]
    host = guest.backend(table, "netdev", mode, properties, {key: key for key in known})
    model = table.text("model", "virtio")
    driver = guest.virtio("virtio-net") if model == "virtio" else model
    card: dict[str, Value] = {"id": identity, "netdev": host.id}
    if table.has("mac"):
        card["mac"] = table.text("mac")
    guest.device(table, driver, card, {"mac": "mac"}, "model")


def share(table: Table, guest: Making) -> None:
    """A folder of the host: by virtiofs where a socket is given, by 9p where the folder itself is."""
    identity = guest.identity(table, "share")
    tag = table.needed("tag", '"work"')
    if table.has("socket"):
        behind = {"id": f"{identity}-socket", "path": table.text("socket")}
        socket = guest.backend(table, "chardev", "socket", behind, {"path": "socket"})
        driver = table.text("driver", guest.virtio("vhost-user-fs"))
        guest.device(table, driver, {"id": identity, "chardev": socket.id, "tag": tag}, {"tag": "tag"})
        return
    if not table.has("directory"):
        raise table.error(None, "'directory' (for 9p) or 'socket' (of virtiofsd) is missing")
    folder: dict[str, Value] = {"id": f"{identity}-folder", "path": table.text("directory")}
    folder["security_model"] = table.text("security", "mapped-xattr")
    if table.flag("readonly"):
        folder["readonly"] = True
    names = {"path": "directory", "security_model": "security", "readonly": "readonly"}
    local = guest.backend(table, "fsdev", "local", folder, names)
    driver = table.text("driver", guest.virtio("virtio-9p"))
    guest.device(table, driver, {"id": identity, "fsdev": local.id, "mount_tag": tag}, {"mount_tag": "tag"})


def console(table: Table, guest: Making) -> None:
    """A console: the machine's own serial port, or a virtio one."""
    where = table.text("to", "stdio")
    if table.choice("kind", ("serial", "virtio"), "serial") == "serial":
        guest.add("serial", where, {}, Origin(table.path, "to"), table.line, guest.spelled(table))
        return
    identity = guest.identity(table, "console")
    kind, _, path = where.partition(":")
    behind: dict[str, Value] = {"id": f"{identity}-host"}
    if kind == "unix" and path:
        kind = "socket"
        behind |= {"path": path, "server": True, "wait": False}
    elif kind == "file" and path:
        behind["path"] = path
    elif path or kind not in ("stdio", "pty", "null"):
        raise table.error(
            "to",
            f"'{where[:40]}' is no place for a console",
            remedy="stdio, pty, null, file:PATH or unix:PATH",
        )
    host = guest.backend(table, "chardev", kind, behind)
    bus = f"{_controller(guest, table, 'virtio-serial', 'serial')}.0"
    driver = table.text("driver", "virtconsole")
    guest.device(table, driver, {"id": identity, "chardev": host.id, "bus": bus})


def rng(table: Table, guest: Making) -> None:
    """A source of randomness."""
    identity = guest.identity(table, "rng")
    source = table.text("source", "/dev/urandom")
    behind = {"id": f"{identity}-source"}
    if source == "builtin":
        guest.backend(table, "object", "rng-builtin", behind)
    else:
        guest.backend(table, "object", "rng-random", {**behind, "filename": source}, {"filename": "source"})
    driver = table.text("driver", guest.virtio("virtio-rng"))
    guest.device(table, driver, {"id": identity, "rng": behind["id"]})


def vsock(table: Table, guest: Making) -> None:
    """A socket between guest and host."""
    identity = guest.identity(table, "vsock")
    cid = table.number("cid")
    if cid is None or not _LEAST_CID <= cid < 1 << 32:
        raise table.error(
            "cid", "a vsock needs a cid of 3 or more", code="input.value", remedy="such as cid = 3"
        )
    driver = table.text("driver", guest.virtio("vhost-vsock"))
    guest.device(table, driver, {"id": identity, "guest-cid": cid}, {"guest-cid": "cid"})


def vfio(table: Table, guest: Making) -> None:
    """A device of the host."""
    identity = guest.identity(table, "vfio")
    key = "sysfsdev" if table.has("sysfsdev") else "host"
    if not table.has(key):
        raise table.error(
            None, "'host' is missing", remedy='such as host = "0000:01:00.0", or sysfsdev = a path'
        )
    properties = {"id": identity, key: table.text(key)}
    guest.device(table, table.text("driver", "vfio-pci"), properties, {key: key})


def device(table: Table, guest: Making) -> None:
    """Any device of QEMU's, its properties as QEMU spells them."""
    driver = table.needed("driver", '"virtio-balloon-pci"')
    origin = Origin(table.path, "driver")
    guest.add("device", driver, table.rest(), origin, table.line, guest.spelled(table))


def any_object(table: Table, guest: Making) -> None:
    """Any object of QEMU's, its properties as QEMU spells them."""
    kind = table.needed("qom-type", '"memory-backend-memfd"')
    table.needed("id", '"ram0"')
    properties = {"id": table.value("id"), **table.rest()}
    guest.add("object", kind, properties, Origin(table.path, "qom-type"), table.line, guest.spelled(table))


SECTIONS: Mapping[str, Callable[[Table, Making], None]] = {
    "disk": disk,
    "network": network,
    "share": share,
    "console": console,
    "rng": rng,
    "vsock": vsock,
    "vfio": vfio,
    "device": device,
    "object": any_object,
}
"""Section → what makes its parts."""

OPEN = frozenset({"device", "object"})
"""Sections that take any key, as a property."""


def _image_format(table: Table, file: str) -> str:
    if table.has("format"):
        return table.text("format")
    if file.startswith("/dev/"):
        return "raw"
    for suffix, name in IMAGE_FORMATS.items():
        if file.lower().endswith(suffix):
            return name
    raise table.error(
        "file",
        f"the format of {file[:60]} cannot be told by its name",
        remedy='add format = "raw" or "qcow2"',
    )


def _controller(guest: Making, table: Table, stem: str, name: str) -> str:
    """Return the id of the controller that a device needs: the first in the file, or a new one."""
    if stem not in guest.controllers and stem in guest.declared:
        declared = guest.declared[stem]
        guest.made.add(declared.path)
        device(declared, guest)
    if stem not in guest.controllers:
        properties = {"id": guest.fresh(name)}
        guest.add(
            "device", guest.virtio(stem), properties, Origin(shared=True), table.line, guest.spelled(table)
        )
    return guest.controllers[stem]
