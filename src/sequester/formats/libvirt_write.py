"""Writes a guest from any format as a libvirt domain that libvirt's schema accepts.

What has an element of its own is said by it. Everything else is named in `Written.lost`: nothing is passed to
QEMU behind libvirt's back by ``<qemu:commandline>``, because libvirt does not place, protect, migrate or check
what it does not know, and marks such a domain as tainted. PCI addresses are left to libvirt, which adds the
ports and bridges that a guest needs.
"""

from __future__ import annotations

import re

from sequester.formats.document import Written
from sequester.formats.libvirt import (
    write_chardevs,
    write_devices,
    write_disks,
    write_machine,
    write_memory,
    write_network,
    write_processor,
)
from sequester.formats.libvirt.editing import ORDER
from sequester.formats.libvirt.reading import takes_mmio
from sequester.formats.libvirt.security import VALUE_ATTRIBUTES
from sequester.formats.libvirt.write_display import displays
from sequester.formats.libvirt.writing import Said, Writing, render, shown
from sequester.formats.xml_splice import Node, sayable
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.guest.virtio import transport

_SILENT = frozenset(
    {
        "S",
        "accel",
        "append",
        "audio",
        "audiodev",
        "bios",
        "boot",
        "cpu",
        "action",
        "daemonize",
        "display",
        "dtb",
        "enable-kvm",
        "initrd",
        "kernel",
        "m",
        "machine",
        "mem-prealloc",
        "msg",
        "name",
        "no-acpi",
        "no-hpet",
        "no-reboot",
        "no-shutdown",
        "no-user-config",
        "nodefaults",
        "nographic",
        "numa",
        "overcommit",
        "pidfile",
        "rtc",
        "sandbox",
        "shim",
        "smp",
        "spice",
        "usb",
        "uuid",
        "vga",
        "vnc",
        "watchdog-action",
    }
)
"""Options that are written elsewhere, that are libvirt's own affair, or that it does by itself."""

_UUID = re.compile(r"[a-fA-F0-9]{8}(-?[a-fA-F0-9]{4}){3}-?[a-fA-F0-9]{12}")
_MONITOR_OBJECT = "monitor-qmp"
_MONITORS = frozenset({"mon", "monitor", "qmp", "qmp-pretty"})
_LIMITATION_FILES = frozenset({"dhCert", "session"})
_USES = ("chardev", "netdev", "blockdev", "drive", "fsdev", "tpmdev", "object")
"""Groups of parts that something else speaks for, or nothing does."""


def write_xml(guest: Guest) -> Written:
    """Return the guest as domain XML. Its limitation is in libvirt's dialect already."""
    writing = Writing(guest)
    writing.domain.attributes["type"] = write_machine.domain_type(writing)
    _identity(writing)
    write_memory.main_memory(writing)
    write_processor.virtual_cpus(writing)
    _io_threads(writing)
    os_element = writing.child("os")
    write_machine.machine(writing, os_element)
    write_machine.boot(writing, os_element)
    write_processor.processor(writing)
    write_machine.clock_and_events(writing)
    if guest.emulator.startswith("/"):
        writing.element(writing.devices, "emulator", guest.emulator)
    _devices(writing)
    displays(writing)
    for part in guest.of("global"):
        if part.key in writing.used:
            continue
        write_machine.global_property(writing, part)
    _boot_order(writing, os_element)
    writing.domain.children.append(writing.devices)
    writing.domain.children = [
        node for node in writing.domain.children if node.tag != "features" or node.children
    ]
    if guest.limitation is not None and guest.limitation.type:
        _limitation(writing, guest.limitation)
    _left_over(writing)
    rank = {tag: place for place, tag in enumerate(ORDER)}
    writing.domain.children.sort(key=lambda node: rank[node.tag])
    _only_sayable(writing, writing.domain)
    text = "\n".join(render(writing.domain)) + "\n"
    return Written(text, tuple(dict.fromkeys(writing.lost)))


def _identity(writing: Writing) -> None:
    name = writing.guest.name.strip() or "guest"
    if "/" in name or "\n" in name:
        writing.lose(f"name {name}: libvirt takes no slash or line break in it")
        name = name.replace("/", "-").replace("\n", " ")
    writing.child("name").text = name
    uuid = writing.guest.one("uuid")
    if uuid is not None and _UUID.fullmatch(uuid.type):
        writing.child("uuid").text = uuid.type
    elif uuid is not None:
        writing.lose(f"uuid {uuid.type}")


def _io_threads(writing: Writing) -> None:
    threads = [part for part in writing.guest.objects if part.type == "iothread"]
    if threads:
        writing.child("iothreads").text = str(len(threads))
        for part in threads:
            writing.finish(Said(part))


def _devices(writing: Writing) -> None:
    guest = writing.guest
    for part in guest.devices:
        before = len(writing.devices.children)
        if write_disks.is_disk(part):
            write_disks.disk(writing, part)
        elif write_network.is_card(part):
            write_network.interface(writing, part)
        elif part.type in write_chardevs.PORTS:
            write_chardevs.port(writing, part)
        elif part.type in write_devices.PLACED_BY_LIBVIRT:
            writing.placed = True
        elif not write_devices.device(writing, part):
            writing.lose(part.label())
        if transport(part, guest.arch) == "mmio" and takes_mmio(guest.machine.type):
            for node in writing.devices.children[before:]:
                writing.element(node, "address", type="virtio-mmio")
    for part in guest.of("drive"):
        if part.key not in writing.used and part.text("if") not in ("none", "pflash"):
            write_disks.loose_drive(writing, part)
    for part in (*guest.of("nic"), *(part for part in guest.of("net") if part.type == "nic")):
        if part.key not in writing.used:
            write_network.loose_card(writing, part)
    for part in guest.of("serial"):
        write_chardevs.serial_option(writing, part)
    _defaults(writing)
    if not any(node.tag == "memballoon" for node in writing.devices.children):
        writing.device("memballoon", model="none")


def _defaults(writing: Writing) -> None:
    """Say what QEMU adds by itself where ``-nodefaults`` is missing; libvirt always gives it."""
    guest = writing.guest
    if guest.has("nodefaults"):
        return
    if not guest.has("serial") and not any(n.tag in ("serial", "console") for n in writing.devices.children):
        writing.device("console", type="pty")
    if not (guest.has("nographic") or guest.has("vga")):
        writing.lose("the display and the empty drives that QEMU adds where -nodefaults is missing")


def _boot_order(writing: Writing, os_element: Node) -> None:
    """Number the devices to boot from, from 1: libvirt does not take 0, or gaps as QEMU counts them."""
    for place, (_, node) in enumerate(sorted(writing.bootable, key=lambda entry: entry[0]), 1):
        node.children.append(Node("boot", {"order": str(place)}))


def _limitation(writing: Writing, part: Part) -> None:
    node = Node("launchSecurity", {"type": part.type})
    for name, value in part.properties.items():
        text = ("yes" if value else "no") if isinstance(value, bool) else shown(value)
        if name == "id":
            continue
        if name.startswith("@"):
            node.attributes[name[1:]] = text
        elif name in VALUE_ATTRIBUTES:
            writing.element(node, name, **{VALUE_ATTRIBUTES[name][0]: text})
        elif name in _LIMITATION_FILES and text.startswith("/"):
            writing.lose(f"{name}: libvirt wants what is in {text}, not the path")
        else:
            writing.element(node, name, text)
    writing.used.add(part.key)
    writing.domain.children.append(node)


def _left_over(writing: Writing) -> None:
    """Name the parts that nothing in the domain speaks for."""
    if writing.placed:
        writing.lose("PCI addresses and bridges: libvirt places the devices itself")
    behind_monitors = {part.type or part.text("chardev") for part in writing.guest.of("mon")}
    behind_monitors |= {
        part.text("chardev") for part in writing.guest.objects if part.type == _MONITOR_OBJECT
    }
    for part in writing.guest.parts:
        if part.key in writing.used or part.group in _SILENT or part.implied:
            continue
        if part.group in _MONITORS or (part.group == "chardev" and part.id in behind_monitors):
            if part.group != "chardev":
                writing.lose(
                    f"-{part.group} {part.type}: libvirt has a monitor of its own".replace(" :", ":")
                )
        elif part.group == "object" and part.type.startswith("memory-backend-"):
            writing.lose(f"{part.label()}: nothing in this XML uses it")
        elif part.group in _USES:
            writing.lose(part.label())
        elif part.group not in ("device", "global", "limitation", "serial", "nic", "net"):
            writing.lose(f"-{part.group} {part.type}".rstrip())
    for item in writing.guest.not_carried:
        writing.lose(f"line {item.line}: {item.what}" if item.line else item.what)


def _only_sayable(writing: Writing, node: Node) -> None:
    """Take out what XML has no characters for."""
    for name, value in list(node.attributes.items()):
        if not sayable(value):
            writing.lose(f"{name} of <{node.tag}>: XML cannot hold its characters")
            node.attributes[name] = "".join(char if sayable(char) else "?" for char in value)
    if not sayable(node.text):
        writing.lose(f"the text of <{node.tag}>: XML cannot hold its characters")
        node.text = "".join(char if sayable(char) else "?" for char in node.text)
    for child in node.children:
        _only_sayable(writing, child)
