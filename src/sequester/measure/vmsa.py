"""The state in which a virtual processor starts, as the page (VMSA) that SEV-ES and SEV-SNP measure.

Layout: AMD64 Architecture Programmer's Manual 2, table B-4. Values: processor reset (APM 2, 14.1.3) as each
virtual machine monitor makes it: QEMU 6.0 to 11.1 on KVM (target/i386/cpu.c, `x86_cpu_reset_hold`; Linux
arch/x86/kvm/svm/sev.c, `sev_es_sync_vmsa`), Amazon EC2 and Google Compute Engine as observed in their guests'
reports (virtee/sev-snp-measure 0.0.6 to 0.0.13).
"""

from __future__ import annotations

import struct

from sequester.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
RESET = 0xFFFF_FFF0
"""Where the first processor starts."""

_SEGMENT = struct.Struct("<HHIQ")
"""Selector, attributes, limit, base."""

SEGMENTS = {
    name: 16 * number
    for number, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"))
}
"""Segment register → offset."""

REGISTERS = {
    "efer": (0xD0, 8),
    "cr4": (0x148, 8),
    "cr0": (0x158, 8),
    "dr7": (0x160, 8),
    "dr6": (0x168, 8),
    "rflags": (0x170, 8),
    "rip": (0x178, 8),
    "g_pat": (0x268, 8),
    "rdx": (0x310, 8),
    "sev_features": (0x3B0, 8),
    "xcr0": (0x3E8, 8),
    "mxcsr": (0x408, 4),
    "x87_fcw": (0x410, 2),
}
"""Register → offset and size in bytes. All others are zero at the start."""

Segment = tuple[int, int, int, int]
State = dict[str, int | Segment]
"""Register → value; segment registers hold selector, attributes, limit and base."""

_DATA: Segment = (0, 0x93, 0xFFFF, 0)
_COMMON: State = {
    "es": _DATA,
    "ds": _DATA,
    "fs": _DATA,
    "gs": _DATA,
    "gdtr": (0, 0, 0xFFFF, 0),
    "ldtr": (0, 0x82, 0xFFFF, 0),
    "idtr": (0, 0, 0xFFFF, 0),
    "efer": 0x1000,  # KVM sets SVME
    "cr4": 0x40,  # KVM sets MCE
    "cr0": 0x10,
    "dr7": 0x400,
    "dr6": 0xFFFF_0FF0,
    "rflags": 0x2,
    "xcr0": 0x1,
}
_PAT = 0x0007_0406_0007_0406
"""The PAT register at reset (APM 2, 7.8.2)."""
_FPU: State = {"mxcsr": 0x1F80, "x87_fcw": 0x37F}
"""Only where KVM copies the FPU state into the VMSA: VM types since Linux 6.10 (`KVM_SEV_INIT2`)."""

QEMU, EC2, GCE = "qemu", "ec2", "gce"

_MONITORS: dict[str, State] = {
    QEMU: {"ss": _DATA, "tr": (0, 0x8B, 0xFFFF, 0), "g_pat": _PAT},
    EC2: {"ss": (0, 0x92, 0xFFFF, 0), "tr": (0, 0x83, 0xFFFF, 0), "g_pat": _PAT, "rdx": 0x600},
    GCE: {"ss": _DATA, "tr": (0, 0x8B, 0xFFFF, 0), "g_pat": 0x0007_0106, "rdx": 0x600},
}
MONITORS = tuple(_MONITORS)
"""The virtual machine monitors whose initial state is known."""

_FLAT: Segment = (0x10, 0xC93, 0xFFFF_FFFF, 0)
_SVSM: State = {
    "es": _FLAT,
    "cs": (0x08, 0xC9B, 0xFFFF_FFFF, 0),
    "ss": _FLAT,
    "ds": _FLAT,
    "fs": _FLAT,
    "cr0": 0x11,
    "tr": (0, 0x8B, 0xFFFF, 0),
    "g_pat": _PAT,
    "mxcsr": 0x1F80,
}
"""What COCONUT-SVSM's QEMU of 2024 changes: flat protected mode. Its FPU control word was seen to be zero."""


def state(entry: int, signature: int, features: int, monitor: str = QEMU, fpu: bool = True) -> State:
    """Return a processor's state when it starts at `entry`, an address below 4 GiB.

    `signature` is CPUID 1 EAX, which QEMU puts into RDX; `features` is SEV_FEATURES. `fpu` is false for the VM
    types of Linux before 6.10, which leave the FPU state out. Raises InputError for an unknown monitor.
    """
    try:
        own = _MONITORS[monitor]
    except KeyError:
        raise InputError(
            f"the initial state of '{monitor}' is not known",
            code="measure.monitor",
            remedy=f"one of {', '.join(MONITORS)}",
        ) from None
    code = 0x9A if monitor == EC2 and entry == RESET else 0x9B
    made: State = {
        **_COMMON,
        **own,
        "cs": (0xF000, code, 0xFFFF, entry & 0xFFFF_0000),
        "rip": entry & 0xFFFF,
        "sev_features": features,
    }
    if monitor == QEMU:
        made["rdx"] = signature
        if fpu:
            made.update(_FPU)
    return made


def svsm_state(entry: int, signature: int) -> State:
    """Return a processor's state when it starts in COCONUT-SVSM at `entry`."""
    return {**_COMMON, **_SVSM, "rip": entry, "rdx": signature, "sev_features": 1}


def page(registers: State) -> bytes:
    """Return the VMSA page that holds this state."""
    made = bytearray(PAGE)
    for name, value in registers.items():
        if isinstance(value, tuple):
            _SEGMENT.pack_into(made, SEGMENTS[name], *value)
        else:
            offset, size = REGISTERS[name]
            made[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(made)


def with_features(contents: bytes, features: int) -> bytes:
    """Return a VMSA page with other SEV_FEATURES."""
    offset, size = REGISTERS["sev_features"]
    return contents[:offset] + features.to_bytes(size, "little") + contents[offset + size :]


def pages(
    vcpus: int, reset: int, signature: int, features: int, monitor: str = QEMU, fpu: bool = True
) -> Iterator[bytes]:
    """Yield the pages of all processors: the first starts at `RESET`, all others at `reset` and alike."""
    yield page(state(RESET, signature, features, monitor, fpu))
    if vcpus > 1:
        other = page(state(reset, signature, features, monitor, fpu))
        for _ in range(vcpus - 1):
            yield other
