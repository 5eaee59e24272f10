"""From a plan to a command line that runs without the hardware: everything of the plan but the protection object.

What had to be left out or replaced is listed; nothing here makes a guest protected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sequester.findings.case import Case
from sequester.formats.argv_write import write_argv
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest
from sequester.guest.part import Part
from sequester.planning import Plan
from sequester.rules.catalogue import rules
from sequester.rules.engine import apply

if TYPE_CHECKING:
    from sequester.run.image import GuestImage

_HOST_MODELS = ("host", "max")
_SERIALS = ("serial", "nographic", "chardev", "virtioserial")


@dataclass(frozen=True, slots=True)
class Simulation:
    """A command line for QEMU under TCG, and one line on each thing of the plan that it does without."""

    argv: tuple[str, ...]
    left_out: tuple[str, ...]
    ours: bool
    """Whether the guest is our own small Linux, which says on its console what it negotiated."""


def boots_by_itself(guest: Guest) -> bool:
    """Tell whether the guest names what it boots: a kernel, or a firmware that can find one on a disk."""
    return guest.has("kernel") or (guest.has("bios") and any(_blocks(guest)))


def simulate(plan: Plan, image: GuestImage | None) -> Simulation:
    """Derive the simulation of a plan. With `image`, its kernel and initrd are booted."""
    guest, _ = plan.spoken("argv")
    left_out = [f"the protection object ({plan.limitation.object_type}): this guest is not protected"]
    guest = replace(guest, parts=tuple(_without_protection(guest)))
    guest = _consequences(plan, guest)
    parts, replaced = _under_tcg(guest, image is not None)
    left_out += replaced
    argv, lost = write_argv(replace(guest, parts=tuple(parts)))
    left_out += [f"{what} (not carried over)" for what in lost]
    if image is not None:
        argv += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.command_line()]
    if not any(part.group in _SERIALS for part in parts):
        argv += ["-serial", "stdio"]
    if not any(part.group in ("display", "nographic", "vnc", "spice") for part in parts):
        argv += ["-display", "none"]
    return Simulation(tuple(argv), tuple(left_out), image is not None)


def _blocks(guest: Guest) -> Iterator[Part]:
    for part in (*guest.of("drive"), *guest.of("blockdev")):
        if part.text("if") != "pflash" and part.text("media") != "cdrom":
            yield part


def _without_protection(guest: Guest) -> Iterator[Part]:
    for part in guest.parts:
        if part.group == "machine":
            kept = {
                name: value for name, value in part.properties.items() if name not in LIMITATION_PROPERTIES
            }
            yield replace(part, properties=kept)
        elif part.group != "limitation":
            yield part


def _consequences(plan: Plan, guest: Guest) -> Guest:
    """Write out what QEMU would supply by itself with the object: virtio's flags, above all."""
    case = Case(guest, plan.limitation, plan.case.qemu, plan.case.host, engaged=False)
    return apply(case, rules())[0].guest


def _under_tcg(guest: Guest, boots_our_kernel: bool) -> tuple[list[Part], list[str]]:
    parts: list[Part] = []
    notes: list[str] = []
    for part in guest.parts:
        if part.group == "accel":
            continue
        if part.group == "machine":
            dropped = [name for name in ("accel", "kernel-irqchip") if name in part.properties]
            kept = {name: value for name, value in part.properties.items() if name not in dropped}
            part = replace(part, properties=kept)
            if "kernel-irqchip" in dropped:
                notes.append("kernel-irqchip: there is no KVM")
        elif part.group == "cpu" and (part.type in _HOST_MODELS or not part.type):
            kept = {
                name: value for name, value in part.properties.items() if name not in ("unpack", "migratable")
            }
            part = replace(part, type="max", properties=kept, implied=False)
            notes.append("the host's CPU model: QEMU's own 'max' in its place")
        elif boots_our_kernel and part.group in ("bios", "kernel", "initrd", "append", "shim", "option-rom"):
            notes.append(f"-{part.group} {part.type}: our own small Linux is booted directly")
            continue
        elif boots_our_kernel and part.group == "drive" and part.text("if") == "pflash":
            notes.append("firmware in flash: our own small Linux is booted directly")
            continue
        parts.append(part)
    notes.append("KVM: QEMU's TCG runs the guest, slowly")
    key = max(part.key for part in parts) + 1
    return [*parts, Part("accel", "tcg", {}, key)], notes
