"""Puts PCI Express devices without an address where libvirt does: each on a root port of its own.

On the root bus itself QEMU lets virtio devices speak legacy virtio, behind a port it does not: where a device
sits decides what it is. Source: libvirt src/qemu/qemu_domain_address.c (`qemuDomainDeviceCalculatePCIConnectFlags`,
`qemuDomainAssignPCIAddresses`); compared with where libvirt 12.8 puts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sequester.formats.libvirt.reading import Props, Reading
from sequester.guest.part import Part

_EXPRESS = frozenset({"e1000e", "igb", "nec-usb-xhci", "nvme", "qemu-xhci", "vfio-pci"})
_ON_ROOT_BUS = frozenset({"virtio-iommu-pci", "virtio-vga", "virtio-vga-gl"})
_PORTS = ("pcie-root-port", "ioh3420")
_LAST_SLOT = 0x19
"""Above it sit the chipset's own devices, USB and sound."""


def place(reading: Reading, first: int) -> None:
    """Give every Express device without an address a root port; those that are missing are added at `first`.

    `first` is the index of the first device among the parts: a port stands before what hangs on it.
    """
    if reading.root_bus != "pcie.0" or reading.mmio:
        return
    parts = reading.parts
    homeless = [i for i in range(first, len(parts)) if _is_homeless(parts[i])]
    ports = [i for i in range(first, len(parts)) if parts[i].type in _PORTS]
    unplaced = [i for i in ports if "bus" not in parts[i].properties]
    if not homeless and not unplaced:
        return
    taken = {part.properties.get("bus") for part in parts[first:] if part.group == "device"}
    free = [parts[i].id for i in ports if parts[i].id not in taken]
    addresses = _addresses(parts, first)
    for i in unplaced:
        _put(parts, i, next(addresses, None))
    missing = homeless[len(free) :]
    for i, port in zip(homeless, free, strict=False):
        _bus(parts, i, port)
    number = max(
        (int(part.id[4:]) for part in parts if part.id[:4] == "pci." and part.id[4:].isdecimal()), default=0
    )
    added: list[Part] = []
    for i in missing:
        where = next(addresses, None)
        if where is None:
            break  # libvirt has no more slots either
        number += 1
        identity = f"pci.{number}"
        properties: Props = {"chassis": number, "id": identity, "bus": "pcie.0", **where}
        key = len(parts) + len(added)
        added.append(Part("device", "pcie-root-port", properties, key, identity))
        _bus(parts, i, identity)
    parts[first:first] = added


def _is_homeless(part: Part) -> bool:
    driver = part.type
    if part.group != "device" or "bus" in part.properties or driver in _ON_ROOT_BUS:
        return False
    if driver in _EXPRESS:
        return True
    virtio = driver.startswith(("virtio-", "vhost-")) and driver.endswith(("-pci", "-non-transitional"))
    return virtio and not driver.endswith("-pci-transitional")


def _addresses(parts: list[Part], first: int) -> Iterator[Props]:
    """Yield the places of root ports: eight to a slot, behind a graphics card's and those that are taken."""
    devices = [part for part in parts[first:] if part.group == "device"]
    graphics = any(
        part.type in ("VGA", "cirrus-vga", "bochs-display") or "vga" in part.type for part in devices
    )
    taken = {
        str(part.properties.get("addr")).partition(".")[0]
        for part in devices
        if part.properties.get("bus") == "pcie.0"
    }
    for slot in range(2 if graphics else 1, _LAST_SLOT):
        if f"{slot:#x}" in taken:
            continue
        yield {"multifunction": True, "addr": f"{slot:#x}"}
        for function in range(1, 8):
            yield {"addr": f"{slot:#x}.{function:#x}"}


def _put(parts: list[Part], i: int, where: Props | None) -> None:
    if where is not None:
        parts[i] = replace(parts[i], properties={**parts[i].properties, "bus": "pcie.0", **where})


def _bus(parts: list[Part], i: int, bus: str) -> None:
    parts[i] = replace(parts[i], properties={**parts[i].properties, "bus": bus, "addr": "0x0"})
