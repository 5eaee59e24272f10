"""Says a guest's devices as the sections of a TOML guest, wherever a section makes exactly the same parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sequester.formats.toml_parts import controller_stem, is_id, way_of
from sequester.formats.toml_sections import IMAGE_FORMATS, NETWORK_KEYS, NETWORK_MODES
from sequester.formats.toml_value import sayable
from sequester.guest.guest import Guest
from sequester.guest.part import Part

Section = tuple[str, dict[str, Any]]


class Sections:
    """Turns parts into sections; what is said is taken out of `left`."""

    def __init__(self, guest: Guest, left: dict[int, Part]) -> None:
        self.guest = guest
        self.left = left
        self.way = way_of(guest.arch, guest.machine)
        self.behind = {
            group: {part.id: part for part in guest.of(group) if part.id and part.key in left}
            for group in ("blockdev", "netdev", "fsdev", "chardev", "object")
        }
        self.uses = self._uses()
        self.controllers: dict[str, str] = {}

    def said(self) -> Iterator[Section]:
        """Yield the sections: objects, then devices and consoles in their order."""
        devices = list(self._devices())
        for part in self.guest.objects:
            if part.key in self.left and self._plain(part) and part.id:
                yield "object", self._taken(part, {"qom-type": part.type, **part.properties})
        yield from devices

    def _devices(self) -> Iterator[Section]:
        kinds: tuple[tuple[str, Callable[[Part], Section | None]], ...] = (
            ("drive", self._disk),
            ("netdev", self._network),
            ("fsdev", self._folder),
            ("chardev", self._virtiofs),
            ("rng", self._rng),
            ("guest-cid", self._vsock),
            ("host", self._vfio),
        )
        for part in self.guest.parts:
            if part.key not in self.left:
                continue
            if part.group == "serial" and part.type:
                yield "console", self._taken(part, {"to": part.type})
            elif part.group == "device" and self._plain(part):
                ways = (
                    [say for name, say in kinds if name in part.properties] if self._identified(part) else []
                )
                found = next((section for say in ways if (section := say(part)) is not None), None)
                yield found or ("device", self._taken(part, {"driver": part.type, **part.properties}))
                if part.id and (stem := controller_stem(part.type)):
                    self.controllers.setdefault(stem, part.id)

    def _disk(self, device: Part) -> Section | None:
        image = self._backend("blockdev", device.get("drive"))
        if image is None or image.get("read-only") not in (None, True):
            return None
        file = image.get("file")
        if not isinstance(file, dict) or file.keys() != {"driver", "filename"}:
            return None
        name = file["filename"]
        if not isinstance(name, str) or not name or file["driver"] != _driver_of(name):
            return None
        table: dict[str, Any] = {"id": device.id, "file": name}
        if image.type != format_by_name(name):
            table["format"] = image.type
        if image.get("read-only"):
            table["readonly"] = True
        known = {"id": device.id, "drive": image.id}
        controller = self.controllers.get("virtio-scsi")
        if device.type == "scsi-hd" and controller and device.get("bus") == f"{controller}.0":
            table["bus"] = "scsi"
            known["bus"] = f"{controller}.0"
        elif device.type == "nvme" and device.get("serial") == device.id:
            table["bus"] = "nvme"
            known["serial"] = device.id
        elif device.type != f"virtio-blk-{self.way}":
            table["driver"] = device.type
        self._rest(
            table, device, known, image, {"node-name": f"{device.id}-image", "read-only": True, "file": file}
        )
        return "disk", table

    def _network(self, device: Part) -> Section | None:
        host = self._backend("netdev", device.get("netdev"))
        if host is None or host.type not in NETWORK_MODES or host.type == "vhost-user":
            return None
        table: dict[str, Any] = {"id": device.id, "mode": host.type}
        if device.type != f"virtio-net-{self.way}":
            table["model"] = device.type
        known: dict[str, Any] = {"id": device.id, "netdev": host.id}
        mac = device.get("mac")
        if isinstance(mac, str) and mac:
            table["mac"] = known["mac"] = mac
        behind: dict[str, Any] = {"id": f"{device.id}-host"}
        for key in NETWORK_KEYS.get(host.type, ()):
            if key in host.properties:
                table[key] = behind[key] = host.properties[key]
        forwards = host.get("hostfwd")
        if host.type == "user" and forwards and _texts(forwards):
            table["hostfwd"] = [each["str"] for each in forwards]
            behind["hostfwd"] = forwards
        self._rest(table, device, known, host, behind)
        return "network", table

    def _folder(self, device: Part) -> Section | None:
        folder = self._backend("fsdev", device.get("fsdev"))
        if (
            folder is None
            or folder.type != "local"
            or not _is_text(folder.get("path"), device.get("mount_tag"))
        ):
            return None
        table: dict[str, Any] = {
            "id": device.id,
            "tag": device.get("mount_tag"),
            "directory": folder.get("path"),
        }
        security = folder.get("security_model")
        if not _is_text(security):
            return None
        if security != "mapped-xattr":
            table["security"] = security
        if device.type != f"virtio-9p-{self.way}":
            table["driver"] = device.type
        known = {"id": device.id, "fsdev": folder.id, "mount_tag": table["tag"]}
        behind = {"id": f"{device.id}-folder", "path": table["directory"], "security_model": security}
        self._rest(table, device, known, folder, behind)
        return "share", table

    def _virtiofs(self, device: Part) -> Section | None:
        socket = self._backend("chardev", device.get("chardev"))
        if socket is None or socket.type != "socket" or not _is_text(socket.get("path"), device.get("tag")):
            return None
        table: dict[str, Any] = {"id": device.id, "tag": device.get("tag"), "socket": socket.get("path")}
        if device.type != f"vhost-user-fs-{self.way}":
            table["driver"] = device.type
        known = {"id": device.id, "chardev": socket.id, "tag": table["tag"]}
        self._rest(table, device, known, socket, {"id": f"{device.id}-socket", "path": table["socket"]})
        return "share", table

    def _rng(self, device: Part) -> Section | None:
        source = self._backend("object", device.get("rng"))
        if source is None or source.type not in ("rng-random", "rng-builtin"):
            return None
        if source.id != f"{device.id}-source":
            return None
        table: dict[str, Any] = {"id": device.id}
        behind: dict[str, Any] = {"id": source.id}
        if source.type == "rng-builtin":
            table["source"] = "builtin"
        elif _is_text(source.get("filename")) and source.get("filename") != "builtin":
            table["source"] = behind["filename"] = source.get("filename")
        else:
            return None
        if device.type != f"virtio-rng-{self.way}":
            table["driver"] = device.type
        self._rest(table, device, {"id": device.id, "rng": source.id}, source, behind)
        return "rng", table

    def _vsock(self, device: Part) -> Section | None:
        cid = device.text("guest-cid") or ""
        if not cid.isdigit() or not 3 <= int(cid[:12]) < 1 << 32 or cid != str(int(cid[:12])):
            return None
        table: dict[str, Any] = {"id": device.id, "cid": int(cid)}
        if device.type != f"vhost-vsock-{self.way}":
            table["driver"] = device.type
        self._rest(table, device, {"id": device.id, "guest-cid": device.get("guest-cid")})
        return "vsock", table

    def _vfio(self, device: Part) -> Section | None:
        if device.type != "vfio-pci" or not _is_text(device.get("host")) or "sysfsdev" in device.properties:
            return None
        table = {"id": device.id, "host": device.get("host")}
        self._rest(table, device, {"id": device.id, "host": device.get("host")})
        return "vfio", table

    def _rest(
        self,
        table: dict[str, Any],
        device: Part,
        known: Mapping[str, Any],
        backend: Part | None = None,
        behind: Mapping[str, Any] | None = None,
    ) -> None:
        """Put what a section does not say by itself into `options` and `backend`; take both parts."""
        options = _others(device, known)
        if options:
            table["options"] = options
        del self.left[device.key]
        if backend is not None:
            others = _others(backend, behind or {})
            if others:
                table["backend"] = others
            del self.left[backend.key]

    def _backend(self, group: str, identity: Any) -> Part | None:
        """Return what stands behind a device, where nothing else uses it and TOML can say it."""
        part = self.behind[group].get(identity) if isinstance(identity, str) else None
        if part is None or part.key not in self.left or self.uses.get(identity, 0) != 1:
            return None
        return part if self._plain(part) else None

    def _uses(self) -> dict[str, int]:
        """Count how often each id is named by a property of another part."""
        found: dict[str, int] = {}
        for part in self.guest.parts:
            for name, value in part.properties.items():
                if name not in ("id", "node-name"):
                    for text in _leaves(value):
                        found[text] = found.get(text, 0) + 1
            if part.group in ("mon", "serial"):
                name = part.type.removeprefix("chardev:")
                found[name] = found.get(name, 0) + 1
        return found

    def _identified(self, part: Part) -> bool:
        return is_id(part.id) and part.properties.get("id") == part.id

    @staticmethod
    def _plain(part: Part) -> bool:
        key = {"device": "driver", "object": "qom-type"}.get(part.group, "")
        return bool(part.type) and key not in part.properties and sayable(dict(part.properties))

    def _taken(self, part: Part, table: dict[str, Any]) -> dict[str, Any]:
        del self.left[part.key]
        return table


def format_by_name(name: str) -> str:
    """Return what an image's name says it is, or ''."""
    if name.startswith("/dev/"):
        return "raw"
    return next((form for suffix, form in IMAGE_FORMATS.items() if name.lower().endswith(suffix)), "")


def _driver_of(name: str) -> str:
    return "host_device" if name.startswith("/dev/") else "file"


def _others(part: Part, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that are not known, or are other than known."""
    return {
        name: value
        for name, value in part.properties.items()
        if name not in known or type(value) is not type(known[name]) or value != known[name]
    }


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and each.keys() == {"str"} and isinstance(each["str"], str) for each in value
    )


def _is_text(*values: Any) -> bool:
    return all(isinstance(value, str) and value for value in values)
