"""The command lines that we make of libvirt domains are accepted by real QEMUs, down to every device.

What needs the host (files, sockets, passed-through devices) is played: images by null-co, networks and character
devices by QEMU's own null ones.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from real_qemu import Qemus

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))

from libvirt_domains import document, names
from realtools.qmp import ask

from sequester.formats.argv_write import write_argv
from sequester.guest import Guest, Part
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.virtio import transport

pytestmark = pytest.mark.real_qemu

LEFT_OUT = frozenset(
    {
        "append",
        "bios",
        "dtb",
        "fsdev",
        "initrd",
        "kernel",
        "limitation",
        "overcommit",
        "shim",
        "spice",
        "tpmdev",
    }
)
OF_THE_HOST = (
    "vfio",
    "usb-host",
    "vhost-",
    "scsi-generic",
    "scsi-block",
    "spapr-tpm",
    "tpm",
    "zpci",
    "virtio-pmem",
)
NEEDS_MORE = (
    "ccid-card",
    "usb-redir",
    "virtio-9p",
    "virtio-input-host",
    "nvdimm",
    "pc-dimm",
    "virtio-mem",
    "ivshmem",
)


def played(guest: Guest) -> Guest:
    parts = []
    for part in guest.parts:
        if part.group in LEFT_OUT or _of_the_host(part):
            continue
        has: dict[str, Any] = dict(part.properties)
        match part.group:
            case "machine":
                hidden = (*LIMITATION_PROPERTIES, "pflash0", "pflash1", "kernel-irqchip", "smm", "nvdimm")
                has = {k: v for k, v in has.items() if k not in hidden}
            case "accel":
                part, has = replace(part, type="tcg"), {}
            case "cpu":
                part, has = replace(part, type="max"), {}
            case "blockdev":
                kind = part.type if part.type == "copy-on-read" else "raw" if "file" in has else "null-co"
                part = replace(part, type=kind)
                has = {k: v for k, v in has.items() if k in ("node-name", "file", "read-only")}
                if kind == "null-co":
                    has["size"] = 1 << 26
            case "netdev":
                part, has = replace(part, type="user"), {"id": part.id}
            case "chardev":
                part, has = replace(part, type="null"), {"id": part.id}
            case "audiodev":
                part, has = replace(part, type="none"), {"id": part.id}
            case "vnc" | "display":
                part, has = replace(part, type="none"), {}
            case "object" if part.type.startswith("memory-backend-"):
                part = replace(part, type="memory-backend-ram")
                has = {k: v for k, v in has.items() if k in ("id", "size")}
            case "object" if part.type == "rng-random":
                has["filename"] = "/dev/null"
            case "device":
                has.pop("romfile", None)
                has.pop("blob", None)
                if "mq" in has:
                    has = {
                        k: v
                        for k, v in has.items()
                        if k not in ("mq", "vectors", "rss", "tx_queue_size", "csum")
                    }
        parts.append(replace(part, properties=has))
    return replace(guest, parts=tuple(parts), not_carried=())


def _of_the_host(part: Part) -> bool:
    if part.group == "object" and part.type in ("input-linux", "rng-egd"):
        return True
    if part.group == "global" and part.type == "cfi.pflash01":
        return True
    return part.group == "device" and (
        part.type.startswith(OF_THE_HOST + NEEDS_MORE) or part.get("rng") == "objrng1"
    )


UNUSUAL = {
    "ppc64": "iommu_platform on a bus that offers legacy virtio: QEMU refuses it, from libvirt too",
    "vhostuser-disk": "nothing is left of it",
}


@pytest.mark.parametrize("name", [name for name in names() if name not in UNUSUAL])
def test_a_real_qemu_makes_every_device(qemus: Qemus, name: str) -> None:
    guest = played(document(name).guest)
    qemu = qemus.get(guest.arch, "11.1")
    argv, _ = write_argv(guest)
    (found,) = ask(
        [str(qemu.path), *argv[1:], "-serial", "none"]
        if guest.arch != "s390x"
        else [str(qemu.path), *argv[1:]],
        [{"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}}],
    )
    made = {item["name"]: item["type"] for item in found}
    for part in guest.devices:
        if part.id and transport(part, guest.arch):
            assert made[part.id] == f"child<{part.type}>"
