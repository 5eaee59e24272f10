"""Return codes of the ultravisor of IBM Z: rc and rrc, by command; and those of diagnose 308.

Sources: Linux 7.2 arch/s390/include/asm/uv.h; s390-tools (June 2026) rust/pvimg/boot/stage3a.c (set parameters, unpack,
verify) and rust/pv_core/src/uvdevice (attestation, secrets). rc with bit 0x8000 means that the configuration must
be destroyed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.errno_names import errno_text
from sequester.faults.status import Status

_IMAGE = "build the image anew with pvimg create and this host's host key document (-k HKD)"
_HOST_KEY = (
    "get this machine's host key document (IBM Resource Link, by machine serial) and build the image with -k for it; "
    "several -k make one image for several machines"
)
_BUG = "STOP using this guest: a corrupted host, or a bug in the guest's kernel"

COMMON: Mapping[int, Status] = {
    0x0001: Status("executed", "no error"),
    0x0002: Status(
        "invalid command", "the firmware does not know this call: too old", "update the machine's firmware"
    ),
    0x0003: Status("invalid state", "the call is out of order", "start the guest anew"),
    0x0005: Status("invalid length", "the request has a wrong size", "update kernel, QEMU and s390-tools"),
    0x0007: Status("no resume", "the call cannot be taken up again", "start the guest anew"),
    0x0030: Status("home address space", "an address space bit is wrong", _BUG),
    0x0031: Status("translation exception", "an address cannot be translated", _BUG),
    0x0032: Status("invalid address", "an address is invalid", _BUG),
    0x0100: Status("more data", "there is more data than the buffer holds; no error"),
}
"""rc of any ultravisor call."""

SET_PARAMETERS: Mapping[int, Status] = {
    0x0104: Status(
        "header version", "the image's header has a version that this machine does not know", _IMAGE
    ),
    0x0106: Status(
        "plaintext control flag", "the image asks for a flag that this machine does not have", _IMAGE
    ),
    0x0108: Status("host key", "the image was not encrypted for this machine's host key", _HOST_KEY),
    0x0109: Status(
        "secret control flag", "the image asks for a flag that this machine does not have", _IMAGE
    ),
    0x010A: Status("header corrupt", "the image's header is damaged", _IMAGE),
}
"""rc of KVM_PV_SET_SEC_PARMS, which reads the image's header."""

SET_PARAMETERS_REASON: Mapping[tuple[int, int], str] = {
    (0x0104, 0x0001): "another header version",
    (0x0106, 0x0030): "an unsupported plaintext control flag is set",
    (0x0108, 0x0005): "the hash of the host key in the image is not that of the installed key bundle",
    (0x0108, 0x000B): "the customer's public ECDH key in the image is not valid",
    (0x0108, 0x0034): "the hash of the second host key is not that of the installed key bundle",
    (0x0109, 0x0000): "an unsupported secret control flag is set",
    (0x010A, 0x0031): "the header's size is wrong",
    (0x010A, 0x0039): "the size of the encrypted area is invalid",
    (0x010A, 0x0040): "the image has no host keys",
}
"""(rc, rrc) of KVM_PV_SET_SEC_PARMS."""

VERIFY: Mapping[int, Status] = {
    0x0102: Status(
        "image mismatch", "what was unpacked is not what the header promises: a damaged image", _IMAGE
    ),
}
VERIFY_REASON: Mapping[tuple[int, int], str] = {
    (0x0102, 0x001A): "the list of address digests",
    (0x0102, 0x001B): "the list of page digests",
    (0x0102, 0x001C): "the list of tweak digests",
    (0x0102, 0x001D): "the number of encrypted pages",
}
"""rc, and (rc, rrc), of KVM_PV_VERIFY."""

DIAG308: Mapping[int, str] = {
    0x0001: "done",
    0x0102: "there is no parameter block",
    0x0402: "the parameter block is invalid",
    0x0902: "there is no parameter block for protected mode",
    0x0A02: "the guest could not enter protected mode; QEMU's log has the reason",
}
"""rc of diagnose 308 as the guest's boot loader sees it (QEMU include/hw/s390x/ipl/diag308.h)."""

_COMMANDS: Mapping[str, tuple[Mapping[int, Status], Mapping[tuple[int, int], str]]] = {
    "KVM_PV_SET_SEC_PARMS": (SET_PARAMETERS, SET_PARAMETERS_REASON),
    "KVM_PV_UNPACK": (VERIFY, VERIFY_REASON),
    "KVM_PV_VERIFY": (VERIFY, VERIFY_REASON),
}


def ultravisor_status(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Decode the groups ``command``, ``rc``, ``rrc`` (hexadecimal) and ``ioctl`` of a failed ultravisor call."""
    rc = int(fields.get("rc") or "0", 16)
    rrc = int(fields.get("rrc") or "0", 16)
    codes, reasons = _COMMANDS.get(fields.get("command", "").upper(), ({}, {}))
    known = codes.get(rc & 0x7FFF) or COMMON.get(rc & 0x7FFF)
    reason = reasons.get((rc & 0x7FFF, rrc), "")
    found = {"rc": f"{rc:#06x}" + (f" {known.name}" if known else ""), "rrc": f"{rrc:#06x}"}
    if fields.get("ioctl"):
        found["ioctl"] = errno_text(int(fields["ioctl"]))
    if rc == 0:
        cause, step = (
            "the ultravisor was not asked: the kernel refused",
            "see the error number, and dmesg of the host",
        )
    elif known is None:
        cause, step = "a code that is in no public table", "note command, rc and rrc for IBM's support"
    else:
        cause, step = known.cause, known.step
    return found | {"_cause": f"{cause} ({reason})" if reason else cause, "_step": step}
