"""QEMU's processor models by name, as far as a measurement sees them: their CPUID signature.

Source: `query-cpu-definitions` and `query-cpu-model-expansion` of QEMU 7.2 and 11.1.2, which agree on every model
that both have (target/i386/cpu.c, `builtin_x86_defs`). Signature: AMD CPUID specification (25481), Fn0000_0001_EAX.
"""

from __future__ import annotations

from sequester.errors import InputError

_MODELS = """
486 1 4 8 0
Broadwell 4 6 61 2
Cascadelake-Server 7 6 85 6
ClearwaterForest 4 6 221 0
Conroe 1 6 15 3
Cooperlake 2 6 85 10
Denverton 3 6 95 1
Dhyana 2 24 0 1
DiamondRapids 2 19 1 0
EPYC 5 23 1 2
EPYC-Genoa 3 25 17 0
EPYC-Milan 4 25 1 1
EPYC-Rome 5 23 49 0
EPYC-Turin 2 26 0 0
GraniteRapids 7 6 173 0
Haswell 4 6 60 4
Icelake-Server 9 6 134 0
IvyBridge 2 6 58 9
KnightsMill 1 6 133 0
Nehalem 2 6 26 3
Opteron_G1 1 15 6 1
Opteron_G2 1 15 6 1
Opteron_G3 1 16 2 3
Opteron_G4 1 21 1 2
Opteron_G5 1 21 2 0
Penryn 1 6 23 3
SandyBridge 2 6 42 1
SapphireRapids 8 6 143 4
SierraForest 6 6 175 0
Skylake-Client 4 6 94 3
Skylake-Server 6 6 85 4
Snowridge 4 6 134 1
Westmere 2 6 44 1
YongFeng 3 7 11 3
athlon 1 6 2 3
core2duo 1 6 15 11
coreduo 1 6 14 8
kvm32 1 15 6 1
kvm64 1 15 6 1
n270 1 6 28 2
pentium 1 5 4 3
pentium2 1 6 5 2
pentium3 1 6 7 3
phenom 1 16 2 3
qemu32 1 6 6 3
qemu64 1 15 107 1
"""
"""Model, number of its versions, family, model, stepping."""

_DIFFERENT = {
    "GraniteRapids": ((2, 6, 173, 1),),
    "Haswell": ((2, 6, 60, 1), (3, 6, 60, 4), (4, 6, 60, 1)),
    "Icelake-Server": ((4, 6, 106, 0),),
    "SierraForest": ((2, 6, 175, 3),),
    "YongFeng": ((2, 7, 91, 3),),
}
"""Model → versions from which on family, model and stepping are others than version 1's."""

_ALIASES = {
    "Broadwell-IBRS": "Broadwell-v3",
    "Broadwell-noTSX": "Broadwell-v2",
    "Broadwell-noTSX-IBRS": "Broadwell-v4",
    "Cascadelake-Server-noTSX": "Cascadelake-Server-v3",
    "EPYC-IBPB": "EPYC-v2",
    "Haswell-IBRS": "Haswell-v3",
    "Haswell-noTSX": "Haswell-v2",
    "Haswell-noTSX-IBRS": "Haswell-v4",
    "Icelake-Server-noTSX": "Icelake-Server-v2",
    "IvyBridge-IBRS": "IvyBridge-v2",
    "Nehalem-IBRS": "Nehalem-v2",
    "SandyBridge-IBRS": "SandyBridge-v2",
    "Skylake-Client-IBRS": "Skylake-Client-v2",
    "Skylake-Client-noTSX-IBRS": "Skylake-Client-v3",
    "Skylake-Server-IBRS": "Skylake-Server-v2",
    "Skylake-Server-noTSX-IBRS": "Skylake-Server-v3",
    "Westmere-IBRS": "Westmere-v2",
}
"""A name without a version and not in the table stands for this version of a model."""

DEFAULT = "qemu64"
"""What QEMU takes where no model is named (hw/i386/pc.c)."""

Numbers = tuple[int, int, int]
"""Family, model and stepping as a person counts them: extended ones added."""


def _read_models() -> dict[str, tuple[int, Numbers]]:
    found = {}
    for line in _MODELS.strip().split("\n"):
        name, versions, family, model, stepping = line.split()
        found[name] = int(versions), (int(family), int(model), int(stepping))
    return found


_BY_NAME = _read_models()


def signature(family: int, model: int, stepping: int) -> int:
    """Return CPUID 1 EAX for a family, model and stepping.

    Raises InputError where one does not fit in its bits (family up to 270, model 255, stepping 15).
    """
    if not (0 <= family <= 0xF + 0xFF and 0 <= model <= 0xFF and 0 <= stepping <= 0xF):
        raise InputError(
            f"family {family}, model {model}, stepping {stepping} cannot be a processor's",
            code="measure.cpu",
            remedy="a family up to 270, a model up to 255 and a stepping up to 15",
        )
    base, extended = (0xF, family - 0xF) if family > 0xF else (family, 0)
    return extended << 20 | (model >> 4) << 16 | base << 8 | (model & 0xF) << 4 | stepping


def numbers(name: str) -> Numbers:
    """Return family, model and stepping of a QEMU model by name, with or without a version.

    Raises InputError for a name that QEMU 11.1 does not have, and for ``host`` and ``max``, which are the host's.
    """
    model, _, number = _ALIASES.get(name, name).rpartition("-v")
    if not model or not number.isdecimal() or len(number) > 3:
        model, number = name, "1"
    versions, first = _BY_NAME.get(model, (0, (0, 0, 0)))
    if 1 <= int(number) <= versions and not number.startswith("0"):
        changes = [change[1:] for change in _DIFFERENT.get(model, ()) if change[0] <= int(number)]
        return changes[-1] if changes else first
    if name in ("host", "max", "base"):
        raise InputError(
            f"the processor model '{name}' has no signature of its own",
            code="measure.cpu",
            remedy="name the host's: its family/model/stepping, such as 25/17/1, or CPUID 1 EAX, such as 0xa10f11",
        )
    raise InputError(
        f"QEMU 11.1 has no processor model '{name[:40]}'",
        code="measure.cpu",
        remedy="a name from `qemu-system-x86_64 -cpu help`, family/model/stepping, or the signature in hex",
    )


def parse(text: str) -> int:
    """Return the signature that a person names: a QEMU model, ``family/model/stepping``, or a number.

    ``EPYC-Milan``, ``25/1/1`` and ``0xa00f11`` are the same. Raises InputError for anything else.
    """
    if text.count("/") == 2 and text.replace("/", "").isdecimal() and len(text) < 16:
        family, model, stepping = (int(number) if number else -1 for number in text.split("/"))
        return signature(family, model, stepping)
    if text[:1].isdecimal() and text.partition("-")[0] not in _BY_NAME:
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 32 or len(text) > 12:
            raise InputError(
                f"'{text[:40]}' is no processor signature",
                code="measure.cpu",
                remedy="CPUID 1 EAX, 32 bits, such as 0xa00f11",
            )
        return value
    return signature(*numbers(text))


def names() -> tuple[str, ...]:
    """Return every name that QEMU knows a model by, versions and aliases included."""
    versions = (f"{name}-v{i + 1}" for name, (count, _) in _BY_NAME.items() for i in range(count))
    return tuple(sorted((*_BY_NAME, *versions, *_ALIASES)))
