"""The devices that no ``-device`` declares: those behind ``-drive``, ``-nic``, ``-net``, ``-virtfs``, ``-vga``
and ``-audio``, and the network card that QEMU adds when ``-nodefaults`` is missing.

Source: QEMU system/vl.c, net/net.c, blockdev.c and each machine's class; looked at with QMP `qom-list` on 7.2
and 11.1 (see tests/real/test_implied_devices.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from sequester.guest.guest import Guest
from sequester.guest.part import Part

_VIRTIO_BLOCK = {"s390x": ("s390-ccw",), "aarch64": ("virt",)}
"""Machines whose ``-drive`` without ``if=`` is a virtio disk (MachineClass.block_default_type = IF_VIRTIO)."""

_DEFAULT_NIC = (
    ("s390x", "s390-ccw", "virtio-net-ccw"),
    ("aarch64", "virt", "virtio-net-pci"),
    ("riscv64", "virt", "virtio-net-pci"),
    ("x86_64", "pc-q35", "e1000e"),
    ("x86_64", "q35", "e1000e"),
    ("x86_64", "microvm", ""),
    ("x86_64", "none", ""),
    ("x86_64", "", "e1000"),
    ("ppc64", "pseries", "spapr-vlan"),
    ("ppc64", "", "spapr-vlan"),
)
"""The network card of each machine (MachineClass.default_nic)."""


def implied_devices(guest: Guest) -> tuple[Part, ...]:
    """Return the devices that the guest's other options imply, each pointing at the option that makes it."""
    key = guest.next_key
    found = []
    for group, driver, properties, source in _implied(guest):
        line, spelled = (
            (source.line, source.spelled) if source else (0, "QEMU's default device (no -nodefaults)")
        )
        identity = source.id if source else ""
        found.append(Part(group, driver, properties, key, identity, line, spelled, implied=True))
        key += 1
    return tuple(found)


def _implied(guest: Guest) -> Iterator[tuple[str, str, dict[str, str], Part | None]]:
    bus = "ccw" if guest.arch == "s390x" else "pci"
    for drive in guest.of("drive"):
        if (drive.text("if") or _default_interface(guest, drive)) == "virtio":
            yield "device", f"virtio-blk-{bus}", {"drive": drive.id}, drive
    for card in (*guest.of("nic"), *(part for part in guest.of("net") if part.type == "nic")):
        if card.group == "nic" and card.type == "none":
            continue
        model = card.text("model") or _default_card(guest)
        yield from _card(model, bus, card)
    for share in guest.of("virtfs"):
        yield "device", f"virtio-9p-{bus}", {}, share
    vga = guest.one("vga")
    if vga and vga.type == "virtio":
        yield "device", "virtio-vga", {}, vga
    for audio in guest.of("audio"):
        if audio.text("model") in ("virtio", "virtio-sound"):
            yield "device", "virtio-sound-pci", {}, audio
    if not guest.has("nodefaults") and not any(guest.has(option) for option in ("nic", "net", "netdev")):
        yield from _card(_default_card(guest), bus, None)


def _default_interface(guest: Guest, drive: Part) -> str:
    if drive.text("media") == "cdrom" and guest.arch not in _VIRTIO_BLOCK:
        return "ide"
    machine = guest.machine.type
    prefixes = _VIRTIO_BLOCK.get(guest.arch, ())
    if guest.arch == "s390x" and not machine:
        return "virtio"
    return "virtio" if any(machine.startswith(prefix) for prefix in prefixes) else "none"


def _default_card(guest: Guest) -> str:
    for arch, prefix, card in _DEFAULT_NIC:
        if guest.arch == arch and guest.machine.type.startswith(prefix):
            return card
    return "virtio-net-ccw" if guest.arch == "s390x" else ""


def _card(
    model: str, bus: str, source: Part | None
) -> Iterator[tuple[str, str, dict[str, str], Part | None]]:
    if model == "virtio":
        model = f"virtio-net-{bus}"
    if model.startswith("virtio-net") or (model and source is None):
        driver = f"{model}-{bus}" if model == "virtio-net" else model
        yield "device", driver, {}, source
