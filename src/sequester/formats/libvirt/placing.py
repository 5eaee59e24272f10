"""Puts devices without an address where libvirt does: PCI Express ones on a root port of their own, others beside
those that have one, CCW ones on the lowest free number.

On the root bus itself QEMU lets virtio devices speak legacy virtio, behind a port it does not: where a device
sits decides what it is. And where some devices have an address, QEMU would give the others one that is taken.
Source: libvirt src/qemu/qemu_domain_address.c (`qemuDomainDeviceCalculatePCIConnectFlags`,
`qemuDomainAssignPCIAddresses`, `qemuDomainAssignS390Addresses`); compared with where libvirt 12.8 puts them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sequester.formats.libvirt.reading import Props, Reading, is_pc
from sequester.guest.part import Part

_EXPRESS = frozenset({"e1000e", "igb", "nec-usb-xhci", "nvme", "qemu-xhci", "vfio-pci"})
_ON_ROOT_BUS = frozenset({"virtio-iommu-pci", "virtio-vga", "virtio-vga-gl"})
_CONVENTIONAL = frozenset(
    {
        "AC97",
        "ES1370",
        "VGA",
        "ahci",
        "am53c974",
        "bochs-display",
        "cirrus-vga",
        "dc-390",
        "e1000",
        "i6300esb",
        "i82801b11-bridge",
        "ich9-intel-hda",
        "ich9-usb-ehci1",
        "intel-hda",
        "ivshmem-doorbell",
        "ivshmem-plain",
        "lsi",
        "megasas",
        "mptsas1068",
        "pci-bridge",
        "pci-ohci",
        "pci-serial",
        "pcie-pci-bridge",
        "pvpanic-pci",
        "pvscsi",
        "qxl",
        "qxl-vga",
        "rtl8139",
        "usb-ehci",
        "vmware-svga",
        "vmxnet3",
    }
)
_GRAPHICS = frozenset({"VGA", "cirrus-vga", "qxl-vga", "virtio-vga", "virtio-vga-gl", "vmware-svga"})
_PORTS = ("pcie-root-port", "ioh3420")
_SLOTS = range(1, 0x19)
"""Above them sit a Q35 chipset's own devices, USB and sound."""

_CSS = "fe.0"
"""The subchannel set in which libvirt numbers virtio devices."""


def place(reading: Reading, first: int) -> None:
    """Place every device that has no address. `first` is the index of the first device among the parts."""
    if reading.mmio:
        return
    if reading.arch == "s390x":
        _number(reading.parts, first)
        return
    if reading.root_bus == "pcie.0":
        _behind_ports(reading, first)
    _beside(reading, first)


def _behind_ports(reading: Reading, first: int) -> None:
    """Give every homeless Express device a root port; those that are missing come in front of all devices."""
    parts = reading.parts
    homeless = [i for i in range(first, len(parts)) if _is_homeless(parts[i]) and _is_express(parts[i].type)]
    ports = [i for i in range(first, len(parts)) if parts[i].type in _PORTS]
    unplaced = [i for i in ports if "bus" not in parts[i].properties]
    if not homeless and not unplaced:
        return
    taken = {part.properties.get("bus") for part in parts[first:] if part.group == "device"}
    free = [parts[i].id for i in ports if parts[i].id not in taken]
    addresses = _functions(_free_slots(reading, first))
    for i in unplaced:
        where = next(addresses, None)
        if where is not None:
            _put(parts, i, {"bus": "pcie.0", **where})
    for i, port in zip(homeless, free, strict=False):
        _put(parts, i, {"bus": port, "addr": "0x0"})
    number = max((_index(part.id) for part in parts), default=0)
    added: list[Part] = []
    for i in homeless[len(free) :]:
        where = next(addresses, None)
        if where is None:
            break  # libvirt has no more slots either
        number += 1
        identity = f"pci.{number}"
        properties: Props = {"chassis": number, "id": identity, "bus": "pcie.0", **where}
        added.append(Part("device", "pcie-root-port", properties, len(parts) + len(added), identity))
        _put(parts, i, {"bus": identity, "addr": "0x0"})
    parts[first:first] = added


def _beside(reading: Reading, first: int) -> None:
    """Where some devices of the root bus have an address, give the others free ones."""
    parts = reading.parts
    homeless = [i for i in range(first, len(parts)) if _is_homeless(parts[i]) and _is_pci(parts[i].type)]
    if not homeless or not _taken(reading, first):
        return
    slots = iter(_free_slots(reading, first))
    graphics = next((i for i in homeless if parts[i].type in _GRAPHICS), None)
    for i in homeless:
        slot = _graphics_slot(reading) if i == graphics else next(slots, None)
        if slot is not None:
            _put(parts, i, {"bus": reading.root_bus, "addr": f"{slot:#x}"})


def _number(parts: list[Part], first: int) -> None:
    """Give every CCW device without a number the lowest that is free, where any has one."""
    taken = {part.properties.get("devno") for part in parts[first:]}
    if taken == {None}:
        return
    numbers = (f"{_CSS}.{number:04x}" for number in range(1 << 16))
    for i in range(first, len(parts)):
        part = parts[i]
        if part.group == "device" and part.type.endswith("-ccw") and "devno" not in part.properties:
            free = next((number for number in numbers if number not in taken), None)
            if free is not None:
                _put(parts, i, {"devno": free})


def _free_slots(reading: Reading, first: int) -> list[int]:
    taken = _taken(reading, first)
    graphics = any(part.type in _GRAPHICS for part in reading.parts[first:])
    if graphics:
        taken.add(f"{_graphics_slot(reading):#x}")
    if is_pc(reading.arch, reading.machine):
        taken.add("0x1")
    return [slot for slot in _SLOTS if f"{slot:#x}" not in taken]


def _taken(reading: Reading, first: int) -> set[str]:
    return {
        str(part.properties.get("addr")).partition(".")[0]
        for part in reading.parts[first:]
        if part.group == "device" and part.properties.get("bus") == reading.root_bus
    }


def _functions(slots: list[int]) -> Iterator[Props]:
    """Yield places for root ports, eight to a slot."""
    for slot in slots:
        yield {"multifunction": True, "addr": f"{slot:#x}"}
        for function in range(1, 8):
            yield {"addr": f"{slot:#x}.{function:#x}"}


def _graphics_slot(reading: Reading) -> int:
    return 2 if is_pc(reading.arch, reading.machine) else 1


def _is_homeless(part: Part) -> bool:
    return part.group == "device" and "bus" not in part.properties


def _is_express(driver: str) -> bool:
    if driver in _EXPRESS:
        return True
    return _is_virtio(driver) and driver not in _ON_ROOT_BUS and not driver.endswith("-pci-transitional")


def _is_pci(driver: str) -> bool:
    return driver in _CONVENTIONAL or driver in _EXPRESS or driver in _ON_ROOT_BUS or _is_virtio(driver)


def _is_virtio(driver: str) -> bool:
    return driver.startswith(("virtio-", "vhost-")) and driver.endswith(("-pci", "-transitional"))


def _index(identity: str) -> int:
    number = identity[4:] if identity.startswith("pci.") else ""
    return int(number) if number.isdecimal() and len(number) < 6 else 0


def _put(parts: list[Part], i: int, where: Props) -> None:
    old = parts[i]  # made anew rather than by `replace`, which takes four times as long
    placed = {**old.properties, **where}
    parts[i] = Part(old.group, old.type, placed, old.key, old.id, old.line, old.spelled, old.implied)
