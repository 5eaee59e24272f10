"""Reads libvirt domain XML into a guest, as libvirt would make QEMU's command line of it.

The guest's parts stand in the order of that command line: what a bus is, before what hangs on it. Devices that
libvirt adds by itself are there without a line. What exists only for libvirt's own use (its monitor, its
master key, its sandbox) is left out; what no command line can say is named in `Guest.not_carried`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from sequester.errors import InputError
from sequester.formats.document import Written
from sequester.formats.libvirt import boot, chardevs, controllers, devices, disks, display, machine, memory
from sequester.formats.libvirt.carried import COMMANDLINE, OVERRIDE, leave_out_unknown
from sequester.formats.libvirt.hostdevs import hostdev
from sequester.formats.libvirt.interfaces import interface
from sequester.formats.libvirt.placing import place
from sequester.formats.libvirt.processor import processor, topology
from sequester.formats.libvirt.reading import Reading, first_children, takes_mmio
from sequester.formats.libvirt.security import limitation
from sequester.formats.xml_tree import Tree, parse
from sequester.guest.change import Change
from sequester.guest.guest import Guest, complete
from sequester.guest.part import Part

if TYPE_CHECKING:
    from sequester.formats.libvirt.passthrough import QemuArguments

_NONE: list[Element] = []

_EACH: tuple[tuple[str, Callable[[Reading, Element], None]], ...] = (
    ("redirdev", devices.redirected),
    ("hostdev", hostdev),
)
_LAST: tuple[tuple[str, Callable[[Reading, Element], None]], ...] = (
    ("rng", devices.random),
    ("panic", devices.panic),
    ("shmem", devices.shared_memory),
    ("vsock", devices.vsock),
    ("crypto", devices.crypto),
)


class XmlDocument:
    """A libvirt domain that was read: its text, the guest, and which element makes which part.

    `elements` maps a part's key to its element; parts without one are libvirt's own additions, or come from
    `arguments`, the ``<qemu:commandline>``. `overridden` maps (key, property) to the ``<qemu:property>`` that
    gives it.
    """

    __slots__ = ("arguments", "domain", "elements", "guest", "overridden", "tree")

    def __init__(
        self,
        tree: Tree,
        domain: Element,
        guest: Guest,
        elements: dict[int, Element],
        arguments: QemuArguments | None,
        overridden: dict[tuple[int, str], Element],
    ) -> None:
        self.tree = tree
        self.domain = domain
        self.guest = guest
        self.elements = elements
        self.arguments = arguments
        self.overridden = overridden

    @property
    def name(self) -> str:
        """The file's name, or what stands for it."""
        return self.tree.name

    @property
    def format(self) -> str:
        """The format's name."""
        return "xml"

    def edited(self, changes: Sequence[Change]) -> Written:
        """Return the document with the changes made and not a byte else (see `libvirt.edit`)."""
        if not changes:
            return Written(self.tree.data.decode())
        from sequester.formats.libvirt.edit import edited  # loaded only when something changes

        return edited(self, changes)


def read_xml(data: bytes, name: str) -> XmlDocument:
    """Read a domain (``<domain>``, or the one in a ``<domstatus>``). Raises InputError with file and line."""
    tree = parse(data, name)
    domain = _domain(tree)
    top, features = machine.top_and_features(domain)
    os_element = top.get("os")
    os_children = first_children(os_element) if os_element is not None else {}
    arch, kind = _kind(domain, os_children.get("type"), top)
    accelerator = machine.ACCELERATORS.get(domain.get("type", ""))
    if accelerator is None:
        raise InputError(
            f"a domain of type '{domain.get('type', '')}' is not run by QEMU",
            code="input.domain",
            where=tree.where(domain),
            remedy="<domain type='kvm'> or <domain type='qemu'>",
        )
    reading = Reading(tree, domain, arch, kind)
    reading.add("name", reading.name, {"debug-threads": "on"}, top.get("name"))
    the_machine = machine.machine(reading, top, features)
    reading.add("accel", accelerator, _dirty_ring(features), domain)
    processor(reading, top, features)
    arguments = _body(reading, top, features, os_children, the_machine)
    overridden = _overrides(reading, top[OVERRIDE]) if OVERRIDE in top else {}
    dialect = "libvirt"
    if arguments is not None and "launchSecurity" not in top and arguments.limits:
        dialect = "qemu"
    guest = complete(arch, _emulator(top), reading.parts, dialect, reading.not_carried)
    return XmlDocument(tree, domain, guest, reading.elements, arguments, overridden)


def _body(
    reading: Reading,
    top: dict[str, Element],
    features: dict[str, Element],
    os_children: dict[str, Element],
    the_machine: Part,
) -> QemuArguments | None:
    listed = top.get("devices")
    found: dict[str, list[Element]] = {}
    for child in listed if listed is not None else ():
        found.setdefault(child.tag, []).append(child)
    of = found.get
    if takes_mmio(reading.machine):
        reading.mmio = _any_mmio(listed)
    main, backing = memory.memory(reading, top, of("memory", _NONE))
    if main:
        assert isinstance(the_machine.properties, dict)
        the_machine.properties["memory-backend"] = main
    if any(element.get("model") == "nvdimm" for element in of("memory", _NONE)) and reading.arch != "ppc64":
        assert isinstance(the_machine.properties, dict)
        the_machine.properties["nvdimm"] = "on"
    topology(reading, top)
    _io_threads(reading, top)
    if "uuid" in top:
        reading.add("uuid", (top["uuid"].text or "").strip(), {}, top["uuid"])
    if "genid" in top:
        guid = (top["genid"].text or "").strip() or "auto"
        reading.device("vmgenid", {"guid": guid, "id": "vmgenid0"}, top["genid"])
    for option in ("no-user-config", "nodefaults"):
        reading.add(option, "", {})
    machine.clock(reading, top.get("clock"))
    machine.power(reading, top.get("pm"))
    machine.events(reading, top)
    boot.boot(reading, the_machine, os_children)
    first = len(reading.parts)
    _devices(reading, found, boot.boot_order(reading.domain, found), backing)
    place(reading, first)
    devices.core_info(reading, features)
    if "launchSecurity" in top:
        limitation(reading, top["launchSecurity"], the_machine)
    leave_out_unknown(reading)
    return _arguments(reading, top[COMMANDLINE]) if COMMANDLINE in top else None


def _arguments(reading: Reading, element: Element) -> QemuArguments | None:
    from sequester.formats.libvirt.passthrough import qemu_arguments  # few domains have any

    return qemu_arguments(reading, element)


def _overrides(reading: Reading, element: Element) -> dict[tuple[int, str], Element]:
    from sequester.formats.libvirt.passthrough import overrides  # few domains have any

    return overrides(reading, element)


def _devices(
    reading: Reading, found: dict[str, list[Element]], order: dict[str, int], backing: memory.Backing
) -> None:
    of = found.get
    known = controllers.Controllers(reading, of("controller", _NONE))
    drives = disks.in_order(of("disk", _NONE))
    ports, consoles = of("channel", _NONE), of("console", _NONE)
    for element in of("iommu", _NONE):
        devices.iommu(reading, element)
    controllers.controllers(reading, known)
    scsi = {disks.place_of(reading, disk)[0] for disk in drives if disk.bus == "scsi"}
    scsi |= {
        reading.number(address, "controller")
        for element in of("hostdev", _NONE)
        if element.get("type") == "scsi" and (address := element.find("address")) is not None
    }
    serial = chardevs.serial_controllers(ports, consoles)
    controllers.missing(reading, known, scsi, serial, usb=_needs_usb(found, drives))
    for element in of("memory", _NONE):
        memory.memory_device(reading, backing, element)
    for element in of("hub", _NONE):
        devices.hub(reading, element)
    if of("smartcard") and not known.has("ccid"):
        reading.device("usb-ccid", {"id": "ccid0"}, None)
    if reading.root_bus == "pcie.0" and any(disk.bus == "fdc" for disk in drives):
        reading.device("isa-fdc", {}, None)
    disks.disks(reading, drives, order, known.scsi)
    for element in of("filesystem", _NONE):
        devices.filesystem(reading, element)
    for element in of("interface", _NONE):
        interface(reading, element, order)
    for element in of("smartcard", _NONE):
        devices.smartcard(reading, element)
    chardevs.serials(reading, of("serial", _NONE))
    for element in of("parallel", _NONE):
        chardevs.parallel(reading, element)
    chardevs.channels(reading, ports)
    chardevs.consoles(reading, consoles, alone="serial" not in found)
    for element in of("tpm", _NONE):
        devices.tpm(reading, element)
    for element in of("input", _NONE):
        devices.input_device(reading, element)
    screens = of("graphics", _NONE)
    audio = display.audio(reading, of("audio", _NONE), screens)
    display.graphics(reading, screens, audio)
    for position, element in enumerate(of("video", _NONE)):
        display.video(reading, element, position)
    if screens and "video" not in found:
        display.added_video(reading)
    for element in of("sound", _NONE):
        display.sound(reading, element, audio)
    devices.watchdogs(reading, of("watchdog", _NONE))
    for tag, add in _EACH:
        for element in of(tag, _NONE):
            add(reading, element)
    devices.balloon(reading, of("memballoon", [None])[0])
    for tag, add in _LAST:
        for element in of(tag, _NONE):
            add(reading, element)


def _domain(tree: Tree) -> Element:
    root = tree.root
    if root.tag == "domain":
        return root
    inner = root.find("domain") if root.tag == "domstatus" else None
    if inner is not None:
        return inner
    raise InputError(
        f"this is <{root.tag.rpartition('}')[2][:40]}>, not a libvirt <domain>",
        code="input.xml",
        where=tree.where(root),
        remedy="give the domain's own XML, as `virsh dumpxml` prints it",
    )


def _kind(domain: Element, kind: Element | None, top: dict[str, Element]) -> tuple[str, str]:
    """Return QEMU's name of the architecture, and the machine type."""
    named = kind.get("arch") if kind is not None else None
    if not named:
        base = _emulator(top).rpartition("/")[2]
        named = base.removeprefix("qemu-system-") if base.startswith("qemu-system-") else "x86_64"
    arch = machine.QEMU_ARCH.get(named, named)
    said = kind.get("machine") if kind is not None else None
    return arch, said or machine.DEFAULT_MACHINE.get(arch, "")


def _emulator(top: dict[str, Element]) -> str:
    listed = top.get("devices")
    return (listed.findtext("emulator") or "").strip() if listed is not None else ""


def _dirty_ring(features: dict[str, Element]) -> dict[str, str]:
    kvm = features.get("kvm")
    ring = kvm.find("dirty-ring") if kvm is not None else None
    if ring is not None and ring.get("state") == "on" and ring.get("size"):
        return {"dirty-ring-size": ring.get("size", "")}
    return {}


def _io_threads(reading: Reading, top: dict[str, Element]) -> None:
    listed = top.get("iothreadids")
    numbers = [child.get("id", "") for child in listed if child.get("id")] if listed is not None else []
    element = top.get("iothreads")
    if element is not None:
        text = (element.text or "").strip()
        wanted = min(reading.to_int(element, text or "0", "iothreads"), 1024)
        free = (str(number) for number in range(1, 3000) if str(number) not in numbers)
        while len(numbers) < wanted:
            numbers.append(next(free))
    for number in numbers:
        identity = f"iothread{number}"
        reading.add(
            "object", "iothread", {"id": identity}, element if element is not None else listed, identity
        )


def _any_mmio(listed: Element | None) -> bool:
    if listed is None:
        return False
    return any(address.get("type") == "virtio-mmio" for address in listed.iterfind("*/address"))


def _needs_usb(found: dict[str, list[Element]], drives: list[disks.Disk]) -> bool:
    """Tell whether a device hangs on USB."""
    if any(tag in found for tag in ("hub", "redirdev", "smartcard")) or any(d.bus == "usb" for d in drives):
        return True
    return any(
        element.get("bus", "usb" if element.get("type") == "tablet" else "") == "usb"
        for element in found.get("input", _NONE)
    ) or any(element.get("type") == "usb" for element in found.get("hostdev", _NONE))
