"""Writes what the host shares with the guest: folders, and devices that are passed through."""

from __future__ import annotations

import re

from sequester.formats.libvirt.write_network import rom_of
from sequester.formats.libvirt.write_virtio import driver_options, settle_versions
from sequester.formats.libvirt.writing import Said, Writing
from sequester.guest.virtio import kind

_PCI = re.compile(r"(?:[0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:[0-1]?[0-9a-fA-F](?:\.[0-7])?")
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def filesystem(writing: Writing, said: Said) -> None:
    """Write a shared folder: virtiofs, or 9p."""
    if kind(said.part) == "fs":
        node = writing.device(
            "filesystem", type="mount", accessmode="passthrough", model=settle_versions(said)
        )
        driver = writing.element(node, "driver", type="virtiofs", queue=said.number("queue-size"))
        character = writing.referred(said, "chardev", "chardev")
        path = character.take("path") if character is not None else None
        writing.element(node, "source", socket=writing.path(path or "", "the socket of virtiofsd"))
        if character is not None:
            writing.finish(character)
        driver_options(said, driver)
        writing.element(node, "target", dir=said.take("tag"))
        return
    shared = writing.referred(said, "fsdev", "fsdev")
    if shared is None:
        shared = next(
            (
                Said(p)
                for p in writing.guest.of("virtfs")
                if (p.line, p.spelled) == (said.part.line, said.part.spelled)
            ),
            None,
        )
    mode = shared.take("security_model") if shared is not None else None
    access = {"mapped": "mapped", "mapped-xattr": "mapped", "none": "squash"}.get(mode or "", "passthrough")
    node = writing.device("filesystem", type="mount", accessmode=access, model=settle_versions(said))
    driver = writing.element(node, "driver", type="path")
    driver_options(said, driver)
    tag = said.take("mount_tag")
    if shared is not None:
        if shared.word("writeout", "immediate"):
            driver.attributes["wrpolicy"] = "immediate"
        writing.element(node, "source", dir=writing.path(shared.take("path") or "", "the shared folder"))
        writing.element(node, "target", dir=tag or shared.take("mount_tag"))
        if shared.flag("readonly") == "on":
            writing.element(node, "readonly")
        writing.finish(shared)


def host_pci(writing: Writing, said: Said) -> None:
    """Write a PCI or mediated device of the host."""
    host = said.take("host")
    sysfs = said.take("sysfsdev") or ""
    if host and _PCI.fullmatch(host):
        node = writing.device("hostdev", mode="subsystem", type="pci", managed="yes")
        source = writing.element(node, "source")
        slot, _, function = host.rpartition(".")
        pieces = slot.split(":")
        domain, bus, device_ = (["0000", *pieces] if len(pieces) == 2 else pieces)[:3]
        writing.element(
            source,
            "address",
            domain=f"0x{domain}",
            bus=f"0x{bus}",
            slot=f"0x{device_}",
            function=f"0x{function or 0}",
        )
    elif UUID.fullmatch(sysfs.rpartition("/")[2]):
        node = writing.device("hostdev", mode="subsystem", type="mdev", managed="no", model=said.part.type)
        source = writing.element(node, "source")
        writing.element(source, "address", uuid=sysfs.rpartition("/")[2])
    else:
        writing.lose(f"{said.part.label()} at {sysfs or host or 'no address'}")
        said.left.clear()
        return
    rom = rom_of(said)
    if rom is not None:
        node.children.append(rom)
    if "iommufd" in said.left:
        writing.referred(said, "iommufd", "object")
        said.drop("iommufd")
    writing.boot(said, node)


def host_usb(writing: Writing, said: Said) -> None:
    """Write a USB device of the host."""
    node = writing.device("hostdev", mode="subsystem", type="usb", managed="yes")
    source = writing.element(node, "source")
    vendor, product = said.take("vendorid"), said.take("productid")
    path = said.take("hostdevice")
    bus, address = said.number("hostbus"), said.number("hostaddr")
    if vendor and product and _id(vendor) and _id(product):
        writing.element(source, "vendor", id=hexadecimal(vendor))
        writing.element(source, "product", id=hexadecimal(product))
    elif path and all(piece.isdecimal() for piece in path.split("/")[-2:]):
        pieces = path.split("/")
        writing.element(
            source, "address", bus=pieces[-2].lstrip("0") or "0", device=pieces[-1].lstrip("0") or "0"
        )
    elif bus and address:
        writing.element(source, "address", bus=bus, device=address)
    else:
        writing.devices.children.remove(node)
        writing.lose(said.part.label())


def _id(text: str) -> bool:
    """Tell whether a text is a USB vendor's or product's number."""
    try:
        return 0 <= int(text, 0) < 1 << 16
    except ValueError:
        return False


def hexadecimal(text: str) -> str:
    """Return a number as libvirt writes USB ids and ports."""
    try:
        return f"0x{int(text, 0):04x}"
    except ValueError:
        return text


def vhost_scsi(writing: Writing, said: Said) -> None:
    """Write a SCSI target that the host's kernel serves."""
    node = writing.device(
        "hostdev", mode="subsystem", type="scsi_host", managed="no", model=settle_versions(said)
    )
    wwpn = said.take("wwpn") or ""
    if not re.fullmatch(r"naa\.[0-9a-fA-F]{16}", wwpn):
        writing.devices.children.remove(node)
        writing.lose(f"{said.part.label()} with wwpn={wwpn}")
    writing.element(node, "source", protocol="vhost", wwpn=wwpn)
    said.drop("vhostfd")
