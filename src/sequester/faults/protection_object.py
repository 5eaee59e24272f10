"""The two errors that every protection object has: a QEMU too old for it, and a QEMU of another architecture."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin

LISTING = (
    "ask the binary itself, on QMP of -machine none: qom-list-types with implements=confidential-guest-support "
    "(`sequester probe --qemu BIN` does it)"
)


def unknown_object(prefix: str, type_: str, since: str, built: str) -> tuple[Fault, Fault]:
    """Return the faults of an object `type_` that QEMU does not know (``PREFIX.object-unknown``) or not have.

    `since` says which release brought it, `built` which builds have it.
    """
    return (
        Fault(
            f"{prefix}.object-unknown",
            f"This QEMU does not know {type_}",
            rf"Parameter 'qom-type' does not accept value '{type_}'",
            Origin.QEMU,
            f"{type_} {since}. This binary is older, or was built without it; an update of the distribution may "
            "have replaced a newer or patched QEMU.",
            (
                "QEMU --version, and which binary it is: libvirt names its own in <emulator>",
                LISTING,
            ),
            (f"live: QEMU 7.2, 10.0 and 11.1, as far as they lack {type_}", "QEMU qapi/qom.json"),
        ),
        Fault(
            f"{prefix}.object-not-built",
            f"This build of QEMU has no {type_}",
            rf"invalid object type: {type_}\b",
            Origin.QEMU,
            f"Every QEMU's schema lists {type_}, but only {built} has it.",
            ("use that emulator, on a host of that architecture", LISTING),
            ("live: QEMU 7.2, 10.0 and 11.1 of other architectures", "QEMU qom/object_interfaces.c"),
        ),
    )
