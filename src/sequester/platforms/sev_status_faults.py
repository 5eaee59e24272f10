"""The statuses of AMD's SEV firmware (``fw_error``), which QEMU prints in decimal and the kernel in hexadecimal.

Names and numbers: Linux 7.2 include/uapi/linux/psp-sev.h, which holds those of the SEV API (55766), the SEV-SNP
firmware ABI (56860) and SEV-TIO. Causes and steps: threads of AMDESE/AMDSEV and AMDESE/sev-tool, and how KVM
and QEMU use the commands.
"""

from __future__ import annotations

from collections.abc import Mapping

from sequester.faults.errno_names import errno_text
from sequester.faults.status import Status, named, number

_RELOAD = "end all SEV guests, then: modprobe -r kvm_amd ccp; modprobe kvm_amd; else reboot"
_UPDATE = (
    "update the BIOS; newer SEV firmware alone: /lib/firmware/amd/amd_sev_fam*.sbin from linux-firmware or AMD, "
    "then reboot"
)
_KERNEL = "this should never reach a user: update the host's kernel, and see dmesg"
_POWER = "power the host off and on; if it comes back, update the BIOS, else it is the hardware"

FIRMWARE: Mapping[int, Status] = {
    -1: Status("NO_FW_CALL", "the firmware was never called: the kernel refused"),
    0x00: Status("SUCCESS", "the firmware was not asked, or agreed: the kernel refused"),
    0x01: Status(
        "INVALID_PLATFORM_STATE",
        "the firmware is not initialized, or was not shut down before",
        "look in dmesg for a failed INIT before it, and mend that; then " + _RELOAD,
    ),
    0x02: Status("INVALID_GUEST_STATE", "the command is out of order for this guest", "start the guest anew"),
    0x03: Status(
        "INVALID_CONFIG",
        "the BIOS has set the platform up so that the firmware cannot work: SNP or SMEE on Auto, RMP table or "
        "ASID split missing, boot not in UEFI mode, or settings that an old firmware does not know",
        "BIOS setup: SMEE, SEV-SNP support, SNP memory coverage and IOMMU to Enabled (not Auto), boot mode UEFI; "
        + _UPDATE,
    ),
    0x04: Status("INVALID_LEN", "a buffer is too small; the normal answer to a question for a size"),
    0x05: Status(
        "ALREADY_OWNED", "the platform has an owner's certificate already", "sevctl reset, to start over"
    ),
    0x06: Status(
        "INVALID_CERTIFICATE",
        "the owner's Diffie-Hellman certificate does not fit",
        "make dh-cert-file and session-file anew from this platform's own chain: sevctl export, sevctl session",
    ),
    0x07: Status(
        "POLICY_FAILURE",
        "this platform does not meet the guest's policy",
        "SNP: on a host with SMT policy bit 16 must be set (0x30000); bits 0-15 and SEV's bits 16-31 ask for a "
        "firmware at least so new; bit 20 wants a single socket",
    ),
    0x08: Status("INACTIVE", "the guest has no ASID", "start the guest anew"),
    0x09: Status(
        "INVALID_ADDRESS", "an address is not aligned, not in the RMP table, or not memory", _KERNEL
    ),
    0x0A: Status(
        "BAD_SIGNATURE",
        "the signature of the identity block, or the author's of the key, is wrong",
        "make id-block and id-auth anew with the right private keys (ECDSA P-384)",
    ),
    0x0B: Status(
        "BAD_MEASUREMENT",
        "what was measured is not what was expected, or an integrity code does not fit",
        "SNP: the digest in id-block must be that of this firmware, kernel, vCPU count and CPU model; SEV: session "
        "or secret was made for another launch",
    ),
    0x0C: Status("ASID_OWNED", "the ASID is in use", _RELOAD),
    0x0D: Status(
        "INVALID_ASID",
        "the ASID does not fit the kind of guest: low ones are for SEV-ES and SNP, high ones for SEV",
        "BIOS setup: SEV-ES ASID space limit (at least 2; 100 gives 99 guests)",
    ),
    0x0E: Status(
        "WBINVD_REQUIRED", "the caches were not flushed before", "update the SEV firmware and the kernel"
    ),
    0x0F: Status("DFFLUSH_REQUIRED", "the data fabric was not flushed before", _KERNEL),
    0x10: Status(
        "INVALID_GUEST", "there is no guest with this handle", "start the guest anew; leave out handle="
    ),
    0x11: Status("INVALID_COMMAND", "the firmware does not know the command: it is too old", _UPDATE),
    0x12: Status("ACTIVE", "the guest still has its ASID", _KERNEL),
    0x13: Status(
        "HWERROR_PLATFORM",
        "the hardware refused; mostly memory encryption is not enabled in the BIOS setup",
        "BIOS setup: SMEE to Enabled, not Auto; " + _POWER,
    ),
    0x14: Status("HWERROR_UNSAFE", "the hardware failed, and nothing may go on", _POWER),
    0x15: Status("UNSUPPORTED", "the CPU or firmware cannot do this", _UPDATE),
    0x16: Status(
        "INVALID_PARAM",
        "a field has a value that is not allowed: reserved policy bits, the CPUID page, a flag",
        "the CPUID page: use a named CPU model that the host can be; the policy: only bits that are defined",
    ),
    0x17: Status("RESOURCE_LIMIT", "the firmware has no room for another guest", "end a guest; " + _RELOAD),
    0x18: Status(
        "SECURE_DATA_INVALID",
        "what the firmware keeps in flash was damaged; the kernel tries again once, with everything reset",
        "try again; keys and certificates of the platform are new afterwards",
    ),
    0x19: Status("INVALID_PAGE_SIZE", "a page has another size in the RMP table", _KERNEL),
    0x1A: Status("INVALID_PAGE_STATE", "a page belongs to another in the RMP table", _KERNEL),
    0x1B: Status("INVALID_MDATA_ENTRY", "a metadata entry is wrong", _KERNEL),
    0x1C: Status("INVALID_PAGE_OWNER", "a page belongs to another guest", _KERNEL),
    0x1D: Status("AEAD_OFLOW", "a counter of the encryption would overflow", "start the guest anew"),
    0x1F: Status("EXIT_RING_BUFFER", "a mailbox command while the ring buffer was in use", "try again"),
    0x20: Status("RMP_INIT_REQUIRED", "the RMP table must be set up first", "reboot; " + _UPDATE),
    0x21: Status("BAD_SVN", "this firmware image is older than the committed one", "install a newer image"),
    0x22: Status("BAD_VERSION", "going back to this firmware version is forbidden", "install a newer image"),
    0x23: Status("SHUTDOWN_REQUIRED", "SNP must be shut down first", _RELOAD),
    0x24: Status(
        "UPDATE_FAILED", "the firmware's state could not be carried over", "reboot, then update again"
    ),
    0x25: Status("RESTORE_REQUIRED", "the committed firmware image must be put back", _UPDATE),
    0x26: Status(
        "RMP_INITIALIZATION_FAILED",
        "the RMP table could not be set up",
        "BIOS setup: SNP memory coverage to Enabled; " + _POWER,
    ),
    0x27: Status(
        "INVALID_KEY", "the key asked for is not there or not allowed", "vcek-disabled without a VLEK?"
    ),
    0x28: Status("SHUTDOWN_INCOMPLETE", "SNP has not finished shutting down", "reboot"),
    0x30: Status("INCORRECT_BUFFER_LENGTH", "a buffer of the wrong length (SEV-TIO)"),
    0x31: Status("EXPAND_BUFFER_LENGTH_REQUEST", "a larger buffer is wanted (SEV-TIO)"),
    0x32: Status("SPDM_REQUEST", "the device has to answer first (SEV-TIO)"),
    0x33: Status("SPDM_ERROR", "the device answered with an error (SEV-TIO)", "update the device's firmware"),
    0x35: Status(
        "ERR_IN_DEV_CONN", "the connection to the device failed (SEV-TIO)", "unbind and bind the device"
    ),
    0x36: Status("INVALID_DEV_CTX", "no such device context (SEV-TIO)"),
    0x37: Status("INVALID_TDI_CTX", "no such interface context (SEV-TIO)"),
    0x38: Status("INVALID_TDI", "no such interface (SEV-TIO)"),
    0x39: Status("RECLAIM_REQUIRED", "pages must be reclaimed first (SEV-TIO)"),
    0x3A: Status("IN_USE", "the device is in use (SEV-TIO)"),
    0x3B: Status("INVALID_DEV_STATE", "the device is in another state (SEV-TIO)"),
    0x3C: Status("INVALID_TDI_STATE", "the interface is in another state (SEV-TIO)"),
    0x3D: Status(
        "DEV_CERT_CHANGED", "the device's certificate has changed (SEV-TIO)", "attest the device anew"
    ),
    0x3E: Status("RESYNC_REQ", "firmware and device must agree anew (SEV-TIO)"),
    0x3F: Status("RESPONSE_TOO_LARGE", "the device's answer is too large (SEV-TIO)"),
}
"""fw_error → status. 0x1E, 0x2x above 0x28 and 0x34 are not used."""

_BELOW_THE_API = (
    "not a status of the SEV API: the secure processor itself refused, before its SEV firmware ran; known from "
    "systems whose BIOS was too old"
)


def refused(ret: str, fw_error: str) -> str:
    """Return the pattern of QEMU's `` ret=… fw_error=…`` for these values (regular expressions)."""
    return rf" ?ret ?= ?(?P<ret>{ret}) fw_error ?= ?(?P<fw_error>{fw_error})\b"


def firmware_status(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Decode the groups ``ret`` (or ``rc``) and ``fw_error``.

    Adds to each its name, and ``_cause``, ``_step`` and ``_verdict``: who refused, and why.
    """
    found: dict[str, str] = {}
    for name in ("ret", "rc"):
        if fields.get(name):
            found[name] = errno_text(number(fields[name]))
    if not fields.get("fw_error"):
        return found
    code = number(fields["fw_error"])
    if code >= 0x8000:
        known = {"status": "below the SEV API", "_cause": _BELOW_THE_API, "_step": _UPDATE}
    else:
        known = dict(named(FIRMWARE, code, "a firmware newer than this table"))
        if code not in FIRMWARE:
            known["_step"] = "look it up in the firmware's manual: AMD publications 55766 (SEV), 56860 (SNP)"
    found["fw_error"] = f"{code} ({code:#x}) {known.pop('status')}" if code else "0: not the firmware's"
    refused = found.get("ret") or found.get("rc") or "without a number"
    verdict = f"the firmware answered {found['fw_error']}: {known['_cause']}"
    return {**found, **known, "_verdict": verdict if code > 0 else f"the kernel refused, {refused}"}
