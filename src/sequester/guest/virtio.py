"""What QEMU's virtio devices are called, by transport.

Source: QEMU hw/virtio/virtio-pci.c (generic, ``-transitional`` and ``-non-transitional`` names),
hw/s390x/virtio-ccw-*.c, hw/virtio/*-pci.c and vhost-user-*.c; compared with ``-device help`` of 7.2 and 11.1
for x86_64 and s390x.
"""

from __future__ import annotations

from functools import lru_cache

from sequester.guest.part import Part

VARIANTS = ("-non-transitional", "-transitional")

_FAMILIES = ("virtio-", "vhost-user-", "vhost-")
_VGA = frozenset({"virtio-vga", "virtio-vga-gl", "virtio-vga-rutabaga", "vhost-user-vga"})
_ON_VIRTIO_BUS = frozenset(
    {
        "vhost-scsi",
        "vhost-user-blk",
        "vhost-user-gpu",
        "vhost-user-input",
        "vhost-user-rng",
        "vhost-user-rtc",
        "vhost-user-scsi",
        "vhost-user-snd",
        "virtio-mem",
        "virtio-pmem",
    }
)
"""Devices on a virtio bus (so: virtio-mmio) whose name lacks the usual ``-device``."""

_ALIASES = frozenset(
    {
        "virtio-9p",
        "virtio-balloon",
        "virtio-blk",
        "virtio-gpu",
        "virtio-gpu-gl",
        "virtio-input-host",
        "virtio-iommu",
        "virtio-keyboard",
        "virtio-mouse",
        "virtio-net",
        "virtio-rng",
        "virtio-scsi",
        "virtio-serial",
        "virtio-sound",
        "virtio-tablet",
    }
)
"""Names that stand for the transport of the architecture (QEMU system/qdev-monitor.c, `qdev_alias_table`)."""

_NOT_DEVICES = frozenset(
    {"virtio-serial-bus", "virtio-bus", "virtio-pci-bus", "virtio-mmio", "virtio-input-hid"}
)


@lru_cache(maxsize=4096)
def _transport(driver: str, arch: str) -> str:
    if not driver.startswith(_FAMILIES) or driver in _NOT_DEVICES:
        return ""
    stem = _stem(driver)
    if driver in _VGA or stem.endswith("-pci"):
        return "pci"
    if stem.endswith("-ccw"):
        return "ccw"
    if stem.endswith("-device") or driver in _ON_VIRTIO_BUS:
        return "mmio"
    if driver in _ALIASES:
        return "ccw" if arch == "s390x" else "pci"
    return ""


def _stem(driver: str) -> str:
    for suffix in VARIANTS:
        driver = driver.removesuffix(suffix)
    return driver


def transport(part: Part, arch: str = "x86_64") -> str:
    """Return ``pci``, ``ccw`` or ``mmio`` for a virtio device, '' for any other device.

    Bare names (``virtio-net``) stand for the transport of the architecture.
    """
    return _transport(part.type, arch)


def is_virtio(part: Part) -> bool:
    """Tell whether a device is a virtio device, of whatever transport."""
    return _transport(part.type, "x86_64") != ""


def kind(part: Part) -> str:
    """Return what the device is, without family and transport: ``net``, ``blk``, ``fs``, ``vsock`` ..."""
    return _kind(part.type)


@lru_cache(maxsize=4096)
def _kind(driver: str) -> str:
    stem = _stem(driver)
    for suffix in ("-device-pci", "-pci", "-ccw", "-device"):
        stem = stem.removesuffix(suffix)
    for family in ("vhost-user-", "vhost-", "virtio-"):
        if stem.startswith(family):
            return stem.removeprefix(family)
    return stem


def is_vhost_user(part: Part) -> bool:
    """Tell whether the device's work is done by another process, which maps the guest's memory."""
    return part.type.startswith("vhost-user-")


def variant(part: Part) -> str:
    """Return ``transitional``, ``non-transitional`` or '' (generic)."""
    for suffix in VARIANTS:
        if part.type.endswith(suffix):
            return suffix[1:]
    return ""


def classes(part: Part, arch: str = "x86_64") -> tuple[str, ...]:
    """Return the QOM type names under which ``-global`` reaches this device, most specific first.

    A virtio device is two QOM objects, the proxy on the bus (``virtio-net-pci`` and its parents) and the
    device behind it (``virtio-net-device`` and its parents).
    """
    return _classes(part.type, arch)


@lru_cache(maxsize=4096)
def _classes(driver: str, arch: str) -> tuple[str, ...]:
    way = _transport(driver, arch)
    if not way:
        return (driver,)
    family = (
        "vhost-user-"
        if driver.startswith("vhost-user-")
        else "vhost-"
        if driver.startswith("vhost-")
        else "virtio-"
    )
    behind = f"{family}{_kind(driver)}"
    on_bus = behind if behind in _ON_VIRTIO_BUS else f"{behind}-device"
    names = [driver]
    if driver in _ALIASES:
        names.append(f"{driver}-{way}")
    if way == "pci":
        names += [f"{behind}-pci-base", "virtio-pci", "pci-device"]
    elif way == "ccw":
        names += ["virtio-ccw-device", "ccw-device"]
    return tuple(dict.fromkeys((*names, on_bus, "virtio-device", "device")))
