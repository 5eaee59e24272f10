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
_NOT_TCG = ("accel", "kernel-irqchip", "pflash0", "pflash1")
_SERIALS = ("serial", "nographic", "chardev", "virtioserial")


@dataclass(frozen=True, slots=True)
class Simulation:
    """A command line for QEMU under TCG, and one line on each thing of the plan that it does without."""

    argv: tuple[str, ...]
    left_out: tuple[str, ...]
    ours: bool
    """Whether the guest is our own small Linux, which says on its console what it negotiated."""


def names_kernel(guest: Guest) -> bool:
    """Tell whether the guest brings a kernel of its own; any other boots our small Linux.

    Firmware is never booted in a simulation: an image for protected guests refuses or hangs in an ordinary one.
    """
    return guest.has("kernel")


def simulate(plan: Plan, image: GuestImage | None) -> Simulation:
    """Derive the simulation of a plan. With `image`, its kernel and initrd are booted."""
    guest, _ = plan.spoken("argv")
    left_out = [f"the protection object ({plan.limitation.object_type}): this guest is not protected"]
    guest = replace(guest, parts=tuple(_without_protection(guest)))
    guest = _consequences(plan, guest)
    parts, replaced = _under_tcg(guest)
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


def _under_tcg(guest: Guest) -> tuple[list[Part], list[str]]:
    parts: list[Part] = []
    notes: list[str] = []
    for part in guest.parts:
        if part.group == "accel":
            continue
        if part.group == "machine":
            dropped = [name for name in _NOT_TCG if name in part.properties]
            kept = {name: value for name, value in part.properties.items() if name not in dropped}
            part = replace(part, properties=kept)
            if "kernel-irqchip" in dropped:
                notes.append("kernel-irqchip: there is no KVM")
            if "pflash0" in dropped:
                notes.append("the firmware in flash: the kernel is booted directly")
        elif part.group == "cpu" and (part.type in _HOST_MODELS or not part.type):
            kept = {
                name: value for name, value in part.properties.items() if name not in ("unpack", "migratable")
            }
            part = replace(part, type="max", properties=kept, implied=False)
            notes.append("the host's CPU model: QEMU's own 'max' in its place")
        elif part.group == "bios" or (part.group == "drive" and part.text("if") == "pflash"):
            notes.append(f"the firmware {part.type}: the kernel is booted directly")
            continue
        parts.append(part)
    notes.append("KVM: QEMU's TCG runs the guest, slowly")
    key = max(part.key for part in parts) + 1
    return [*parts, Part("accel", "tcg", {}, key)], notes
