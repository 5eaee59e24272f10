"""Guests of all kinds for property tests, and what it means that two of them mean the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import strategies as st

from sequester.guest.guest import LIMITATION_PROPERTIES, SINGLE, Guest, complete
from sequester.guest.part import Part

names = st.sampled_from(
    ["addr", "bus", "x-odd", "romfile", "queues", "iommu_platform", "disable-legacy", "a.b", "é", "q w"]
)
texts = st.one_of(
    st.sampled_from(["on", "off", "0x3", "pci.0", "a,b", 'q"u', "back\\slash", "é", "a b", "'", "#x", "[y]"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6),
)
plain = st.one_of(texts, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1))
values = st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(texts, plain, max_size=2))
properties = st.dictionaries(names, plain, max_size=3)
ids = st.sampled_from(
    ["a", "b", "c", "disk0", "disk1", "net0", "scsi0", "rng0", "share0", "dev.1", "x" * 30, "Ø"]
)
files = st.sampled_from(["a.qcow2", "b.raw", "/dev/sdb", "noext", "dir/c.IMG", "d,e.raw"])


@st.composite
def guests(draw: st.DrawFn) -> Guest:
    """A guest as a command line could have it."""
    arch = draw(st.sampled_from(["x86_64", "s390x", "aarch64"]))
    way = "ccw" if arch == "s390x" else "pci"
    said: list[tuple[str, str, dict[str, Any]]] = []
    machine = draw(st.sampled_from(["", "q35", "virt", "s390-ccw-virtio", "pc-q35-8.2"]))
    said.append(("machine", machine, draw(properties)))
    for group, kinds in (
        ("cpu", ["host", "max", "EPYC-v4"]),
        ("m", ["2G", "512", "4096M"]),
        ("smp", ["1", "4"]),
        ("accel", ["kvm", "tcg"]),
        ("display", ["none", "gtk"]),
        ("name", ["web", "guest=1"]),
    ):
        if draw(st.integers(0, 3)):
            said.append(
                (group, draw(st.sampled_from(kinds)), draw(properties) if draw(st.booleans()) else {})
            )
    for group, kind in (
        ("nodefaults", ""),
        ("S", ""),
        ("kernel", "vmlinuz"),
        ("bios", "OVMF.fd"),
        ("boot", "c"),
    ):
        if draw(st.booleans()):
            said.append((group, kind, {}))
    if draw(st.booleans()):
        said += draw(st.sampled_from(FLASH))
    if draw(st.booleans()):
        said.append(("limitation", draw(st.sampled_from(["auto", "sev-snp", "tdx-guest"])), draw(properties)))
    for identity in draw(st.lists(ids, max_size=6, unique=True)):
        said += draw(_device(identity, way))
    parts = [Part(group, kind, has, key, _id(group, has)) for key, (group, kind, has) in enumerate(said)]
    emulator = draw(st.sampled_from(["", f"/usr/bin/qemu-system-{arch}"]))
    return complete(arch, emulator, parts)


FLASH: list[list[tuple[str, str, dict[str, Any]]]] = [
    [("drive", "CODE.fd", {"if": "pflash", "format": "raw", "unit": "0", "readonly": "on"})],
    [
        ("drive", "CODE.fd", {"if": "pflash", "format": "qcow2", "unit": "0", "readonly": "on"}),
        ("drive", "VARS.fd", {"if": "pflash", "format": "qcow2", "unit": "1"}),
    ],
    [("drive", "CODE.fd", {"if": "pflash", "format": "raw"})],
]


@st.composite
def _device(draw: st.DrawFn, identity: str, way: str) -> list[tuple[str, str, dict[str, Any]]]:
    more, behind = draw(properties), draw(properties)
    kind = draw(
        st.sampled_from(
            ["disk", "scsi", "net", "rng", "9p", "virtiofs", "vsock", "vfio", "any", "object", "serial"]
        )
    )
    far = draw(
        st.sampled_from(
            [f"{identity}-image", f"{identity}-host", f"{identity}-folder", f"{identity}-source", "far"]
        )
    )
    if kind in ("disk", "scsi", "net"):
        behind = draw(st.dictionaries(names, values, max_size=2))
    if kind in ("disk", "scsi"):
        file = draw(files)
        driver = draw(st.sampled_from([f"virtio-blk-{way}", "scsi-hd", "nvme", "ide-hd"]))
        image = {
            "node-name": far,
            "file": {"driver": "host_device" if file.startswith("/dev") else "file", "filename": file},
        }
        if draw(st.booleans()):
            image["read-only"] = draw(st.booleans())
        bus = {"bus": "scsi0.0"} if kind == "scsi" else {}
        serial = {"serial": identity} if draw(st.booleans()) else {}
        device = {"id": identity, "drive": far, **bus, **serial, **more}
        first = [("device", f"virtio-scsi-{way}", {"id": "scsi0"})] if draw(st.booleans()) else []
        return [
            *first,
            ("blockdev", draw(st.sampled_from(["raw", "qcow2"])), {**image, **behind}),
            ("device", driver, device),
        ]
    if kind == "net":
        mode = draw(st.sampled_from(["user", "tap", "bridge", "vhost-user", "hubport"]))
        host: dict[str, Any] = {
            "id": far,
            **draw(st.dictionaries(st.sampled_from(["ifname", "br", "restrict"]), plain)),
        }
        if draw(st.booleans()):
            host["hostfwd"] = draw(st.sampled_from([[{"str": "tcp::1-:2"}], "tcp::1-:2", []]))
        model = draw(st.sampled_from([f"virtio-net-{way}", "e1000e"]))
        mac = {"mac": "52:54:00:00:00:01"} if draw(st.booleans()) else {}
        return [
            ("netdev", mode, {**host, **behind}),
            ("device", model, {"id": identity, "netdev": far, **mac, **more}),
        ]
    if kind == "rng":
        source = draw(
            st.sampled_from(
                [("rng-random", {"filename": "/dev/urandom"}), ("rng-builtin", {}), ("rng-egd", {})]
            )
        )
        return [
            ("object", source[0], {"id": far, **source[1]}),
            ("device", f"virtio-rng-{way}", {"id": identity, "rng": far, **more}),
        ]
    if kind == "9p":
        folder = {
            "id": far,
            "path": "/srv",
            "security_model": draw(st.sampled_from(["none", "mapped-xattr"])),
        }
        return [
            ("fsdev", "local", {**folder, **behind}),
            ("device", f"virtio-9p-{way}", {"id": identity, "fsdev": far, "mount_tag": "t", **more}),
        ]
    if kind == "virtiofs":
        return [
            ("chardev", "socket", {"id": far, "path": "/run/s", **behind}),
            ("device", f"vhost-user-fs-{way}", {"id": identity, "chardev": far, "tag": "t", **more}),
        ]
    if kind == "vsock":
        cid = draw(st.sampled_from(["3", 4, "0x5", 2, "007"]))
        return [("device", f"vhost-vsock-{way}", {"id": identity, "guest-cid": cid, **more})]
    if kind == "vfio":
        return [("device", "vfio-pci", {"id": identity, "host": "0000:01:00.0", **more})]
    if kind == "object":
        return [("object", "memory-backend-ram", {"id": identity, "size": "4G", **more})]
    if kind == "serial":
        return [("serial", draw(st.sampled_from(["stdio", "pty", "chardev:far"])), {})]
    return [
        (
            "device",
            draw(st.sampled_from(["e1000e", "virtio-balloon-pci", f"virtio-scsi-{way}"])),
            {**more, "p": 1},
        )
    ]


def _id(group: str, has: dict[str, Any]) -> str:
    return str(has.get("node-name" if group == "blockdev" else "id", ""))


def meaning(guest: Guest) -> tuple[str, Any, Counter[str], list[str]]:
    """What QEMU is told: everything but the order of what is no device, and how the limitation's object is called."""
    said: Counter[str] = Counter()
    devices: list[str] = []
    for part in guest.parts:
        has = dict(part.properties)
        if (part.implied and part.group != "accel") or (part.group in SINGLE and not (part.type or has)):
            continue
        if part.group == "limitation":
            has.pop("id", None)
        if part.group == "machine":
            has = {name: value for name, value in has.items() if name not in LIMITATION_PROPERTIES}
        text = json.dumps(
            [part.group, part.type, {name: _same(value) for name, value in has.items()}], sort_keys=True
        )
        if part.group == "device":
            devices.append(text)
        else:
            said[text] += 1
    return guest.arch, guest.emulator, said, devices


def _same(value: Any) -> Any:
    """A value as an option's text has it; what is in a structure keeps its type."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, (dict, list)) else str(value)
