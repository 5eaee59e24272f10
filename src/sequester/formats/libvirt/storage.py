"""Where a disk's bytes are: ``<source>`` and its formats, as QEMU block nodes.

Source: libvirt src/qemu/qemu_block.c (`qemuBlockStorageSourceGetBackendProps`), compared with what libvirt
12.8 makes of files, devices, folders, NVMe, NBD, RBD, iSCSI, HTTP and SSH.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading

PORTS = {"nbd": "10809", "iscsi": "3260", "ssh": "22", "rbd": "0", "nfs": "", "gluster": "24007"}
WEB = {"http": "80", "https": "443", "ftp": "21", "ftps": "990", "tftp": "69"}

_SECRETS = ("auth", "encryption", "cookies")


def backend(reading: Reading, kind: str, source: Element, what: str) -> tuple[str, Props] | None:
    """Return the block driver and properties of a source; what has no equivalent is named in the reading.

    `kind` is the ``type`` of the disk (or backing store). Returns None where there is no medium.
    """
    for tag in _SECRETS if len(source) else ():
        secret = source.find(tag)
        if secret is not None:
            reading.leave_out(f"<{tag}> of {what}: libvirt holds the secret", secret)
    if kind == "file":
        path = source.get("file")
        return ("file", {"filename": path}) if path else None
    if kind == "block":
        path = source.get("dev")
        return ("host_device", {"filename": path}) if path else None
    if kind == "network":
        return _network(reading, source, what)
    if kind == "dir":
        return "vvfat", {"dir": source.get("dir", ""), "rw": False}
    if kind == "nvme":
        return "nvme", _nvme(reading, source)
    if kind == "vhostvdpa":
        return "virtio-blk-vhost-vdpa", {"path": source.get("dev", "")}
    if kind == "volume":
        pool, volume = source.get("pool", ""), source.get("volume", "")
        reading.leave_out(
            f"volume '{volume}' of storage pool '{pool}' of {what}: libvirt knows its path", source
        )
        return "file", {"filename": f"{pool}/{volume}"}
    reading.leave_out(f"{kind} source of {what}", source)
    return None


def _nvme(reading: Reading, source: Element) -> Props:
    address = source.find("address")
    device = ""
    if address is not None:
        domain, bus, slot, function = (
            reading.number(address, name) for name in ("domain", "bus", "slot", "function")
        )
        device = f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
    return {"device": device, "namespace": reading.number(source, "namespace", 1)}


def _network(reading: Reading, source: Element, what: str) -> tuple[str, Props]:
    protocol, name = source.get("protocol", ""), source.get("name", "")
    hosts = [child for child in source if child.tag == "host"]
    if protocol in WEB:
        return protocol, _web(protocol, name, hosts, source)
    if protocol == "nbd":
        properties: Props = {"server": _server(hosts[0], "10809") if hosts else {}}
        if name:
            properties["export"] = name
        return "nbd", properties
    if protocol == "rbd":
        return "rbd", _rbd(source, name, hosts)
    if protocol == "iscsi":
        return "iscsi", _iscsi(reading, source, name, hosts)
    if protocol == "ssh":
        properties = {"path": name}
        if hosts:
            properties["server"] = {"host": hosts[0].get("name", ""), "port": hosts[0].get("port", "22")}
        identity = source.find("identity")
        if identity is not None and identity.get("username"):
            properties["user"] = identity.get("username")
        return "ssh", properties
    if protocol == "nfs":
        host = hosts[0].get("name", "") if hosts else ""
        return "nfs", {"server": {"host": host, "type": "inet"}, "path": name}
    reading.leave_out(f"{protocol} source of {what}", source)
    return protocol or "file", {"filename": name}


def _server(host: Element, port: str) -> Props:
    if host.get("transport") == "unix":
        return {"type": "unix", "path": host.get("socket", "")}
    return {"type": "inet", "host": host.get("name", ""), "port": host.get("port", port)}


def _web(protocol: str, name: str, hosts: list[Element], source: Element) -> Props:
    host = hosts[0] if hosts else None
    where = host.get("name", "") if host is not None else ""
    port = host.get("port", WEB[protocol]) if host is not None else WEB[protocol]
    query = source.get("query")
    tail = f"?{query}" if query else ""
    properties: Props = {"url": f"{protocol}://{where}:{port}/{name.lstrip('/')}{tail}"}
    for tag, prop in (("readahead", "readahead"), ("timeout", "timeout")):
        element = source.find(tag)
        value = element.get("size") or element.get("seconds") if element is not None else None
        if value and value.isdecimal():
            properties[prop] = int(value)
    return properties


def _rbd(source: Element, name: str, hosts: list[Element]) -> Props:
    pool, _, image = name.partition("/")
    properties: Props = {"pool": pool, "image": image}
    for tag, attribute, prop in (("snapshot", "name", "snapshot"), ("config", "file", "conf")):
        element = source.find(tag)
        if element is not None and element.get(attribute):
            properties[prop] = element.get(attribute)
    if hosts:
        properties["server"] = [
            {"host": host.get("name", ""), "port": host.get("port", PORTS["rbd"])} for host in hosts
        ]
    return properties


def _iscsi(reading: Reading, source: Element, name: str, hosts: list[Element]) -> Props:
    target, _, lun = name.partition("/")
    host = hosts[0] if hosts else None
    portal = f"{host.get('name', '')}:{host.get('port', PORTS['iscsi'])}" if host is not None else ""
    properties: Props = {
        "portal": portal,
        "target": target,
        "lun": reading.to_int(source, lun, "lun") if lun else 0,
        "transport": "iser" if host is not None and host.get("transport") == "iser" else "tcp",
    }
    initiator = source.find("initiator/iqn")
    if initiator is not None and initiator.get("name"):
        properties["initiator-name"] = initiator.get("name")
    return properties
