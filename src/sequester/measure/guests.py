"""From a guest to the pieces of its launch: the very guest that is started is what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.guest.firmware import boots, firmware
from sequester.guest.guest import Guest
from sequester.guest.memory import ram_bytes
from sequester.guest.part import Part
from sequester.measure import processor
from sequester.measure.pieces import Pieces

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts
    from sequester.platforms.limitation import HostTrustLimitation

_TOPOLOGY = ("drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads")
"""``-smp`` keys whose product is the number of vCPUs where it is not said (hw/core/machine-smp.c)."""
_PLUGGED = "-x86_64-cpu"
"""How the name of a vCPU ends that ``-device`` adds."""


def pieces_of(guest: Guest, limitation: HostTrustLimitation, host: HostFacts | None = None) -> Pieces:
    """Return the pieces of a guest's launch.

    `limitation` is the guest's own, with its defaults; `host` tells what ``-cpu host`` is. What the guest does not
    say stays unknown: the platform's method asks for it if it matters. Raises InputError for values that QEMU would
    not take.
    """
    image = boots(firmware(guest))
    kernel, notes = _text(guest, "kernel"), []
    hashes = limitation.demands.kernel_hashes
    measured = bool(limitation.value(hashes)) if hashes else True
    if kernel and not measured:
        notes.append(f"the kernel, initrd and command line are not measured: {hashes} is off")
    new_vm_type = limitation.value("legacy-vm-type") in (None, "off")
    if not new_vm_type and limitation.value("legacy-vm-type") == "auto":
        notes.append(
            "legacy-vm-type=auto takes the VM type of kernels before 6.10; with legacy-vm-type=off a VMSA holds the"
            " FPU state too, and an SEV-ES digest is another one"
        )
    return Pieces(
        limitation.name,
        firmware=image.path if image is not None else "",
        vcpus=_vcpus(guest),
        signature=_signature(guest, host),
        kernel=kernel,
        initrd=_text(guest, "initrd"),
        append=_text(guest, "append"),
        measured_kernel=measured,
        new_vm_type=new_vm_type,
        memory=ram_bytes(guest),
        properties=limitation.values,
        notes=tuple(notes),
    )


def _text(guest: Guest, group: str) -> str:
    part = guest.one(group)
    return part.type if part is not None else ""


def _vcpus(guest: Guest) -> int | None:
    """Return how many vCPUs exist when the guest starts."""
    smp = guest.smp
    plugged = sum(part.type.endswith(_PLUGGED) for part in guest.devices)
    said = smp.type or smp.text("cpus") or ""
    if said:
        return _number(said, smp) + plugged
    topology = [_number(value, smp) for name in _TOPOLOGY if (value := smp.text(name))]
    product = 1
    for number in topology:
        product *= number
    most = smp.text("maxcpus")
    return (_number(most, smp) if most else product) + plugged


def _signature(guest: Guest, host: HostFacts | None) -> int | None:
    """Return CPUID 1 EAX of the guest's processor model, with what the guest changes in it; None if unknown."""
    cpu = guest.cpu
    given = [cpu.text(name) for name in ("family", "model", "stepping")]
    if cpu.type in ("host", "max"):
        leaf = host.cpuid(1) if host is not None else None
        return leaf[0] if leaf is not None and not any(given) else None
    if guest.dialect == "libvirt" and not cpu.type and not cpu.implied:
        return None  # host-model: libvirt names a model when it starts the domain
    numbers = processor.numbers(cpu.type or processor.DEFAULT)
    changed = [_number(text, cpu) if text else own for text, own in zip(given, numbers, strict=True)]
    return processor.signature(*changed)


def _number(text: str, part: Part) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(
            f"'{text[:40]}' is no number", code="measure.guest", where=part.label(), remedy="give a number"
        ) from None
