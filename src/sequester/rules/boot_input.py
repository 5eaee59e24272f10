"""SQ412 to SQ415: what else the host puts into the guest before or while it boots, and nobody measures."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.firmware import setting
from sequester.guest.part import Part
from sequester.platforms.limitation import Limits

_READ = int(Limits.READ_MEMORY)
_SHIM_FILE = "etc/boot/shim"
_CONFIGURES = {
    "opt/com.coreos/config": "Ignition",
    "opt/org.flatcar-linux/config": "Ignition",
    "opt/io.systemd.credentials/": "systemd",
}
"""Beginnings of fw_cfg names, and who in the guest takes orders from them."""
_HINTS = ("opt/ovmf/", "opt/org.tianocore/", "etc/")
"""Beginnings of fw_cfg names that the firmware reads as hints."""
_STRINGS = {"io.systemd.": "systemd", "cloud-init": "cloud-init"}
"""Beginnings of SMBIOS OEM strings (type 11), and who in the guest acts on them."""


def _shim(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.demands.kernel_hashes:
        return
    given = setting(case.guest, "shim")
    if given is not None and given[0]:
        yield Breach(f"-shim {given[0]} runs in the kernel's place, and no hash covers it", given[1])
    for part in case.guest.of("fw_cfg"):
        if _name(part) == _SHIM_FILE:
            yield Breach(f"{_SHIM_FILE} runs in the kernel's place, and no hash covers it", part)


def _configuration(case: Case) -> Iterator[Breach]:
    for part in case.guest.of("fw_cfg"):
        name = _name(part)
        who = next((who for start, who in _CONFIGURES.items() if name.startswith(start)), "")
        if who and name != _SHIM_FILE:
            yield Breach(f"fw_cfg {name} configures {who} from the host", part)
    if case.limitation is not None and case.limitation.demands.tables_measured:
        return
    for part in case.guest.of("smbios"):
        if part.text("type") == "11":
            value = part.text("value") or part.text("path") or ""
            who = next((who for start, who in _STRINGS.items() if value.startswith(start)), "")
            if who:
                yield Breach(f"an SMBIOS string ({value[:60]}) configures {who} from the host", part)


def _tables(case: Case) -> Iterator[Breach]:
    guest = case.guest
    for part in guest.of("fw_cfg"):
        name = _name(part)
        if name.startswith(_HINTS) and name != _SHIM_FILE:
            yield Breach(f"the firmware believes fw_cfg {name}, which comes from the host", part)
    tree = setting(guest, "dtb")
    if tree is not None and tree[0]:
        yield Breach(f"a device tree of the host's making ({tree[0]})", tree[1])
    if case.limitation is not None and case.limitation.demands.tables_measured:
        return
    for part in guest.of("acpitable"):
        yield Breach("an ACPI table of the host's making is code that the guest's kernel runs", part)
    for part in guest.of("smbios"):
        if "file" in part.properties:
            yield Breach(f"an SMBIOS table of the host's making ({part.text('file')})", part)


def _option_roms(case: Case) -> Iterator[Breach]:
    guest = case.guest
    for part in guest.of("option-rom"):
        yield Breach(f"option ROM {part.type or part.text('romfile') or ''} is the host's code", part)
    for part in guest.devices:
        path = part.text("romfile") if "romfile" in part.properties else ""
        if path:
            yield Breach(f"{part.label()} brings {path}, which is the host's code", part)


def _name(part: Part) -> str:
    return part.type or part.text("name") or ""


INPUT_RULES: tuple[Rule, ...] = (
    Rule(
        "SQ412",
        "A boot loader that goes past the kernel's hashes",
        Severity.WARNING,
        _shim,
        why="The hash table has entries for kernel, initrd and command line alone. Firmware that knows the file "
        "etc/boot/shim starts it instead of the kernel.",
        broken="Debian's OVMF.amdsev.fd (2026.08) on QEMU 11.1 under TCG, with a right hash table for one kernel in "
        "memory and another kernel as -shim: the other one boots, and so it does with -fw_cfg name=etc/boot/shim. QEMU "
        "hashes neither, so the launch measurement stays the same, and a host can add either at any start. -shim came "
        "with QEMU 10.0.",
        remedy="boot without a shim, from firmware that does not look for one, and have the guest check what it runs",
        references=(
            "QEMU hw/i386/x86-common.c, x86_load_linux",
            "edk2 OvmfPkg/Library/BlobVerifierLibSevHashes",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ413",
        "A guest that is configured by its host",
        Severity.WARNING,
        _configuration,
        why="What the host passes at start is in no measurement, and the configuration of a guest can run programs "
        "as root.",
        broken="QEMU takes it as ever. systemd in a confidential guest ignores such credentials (src/core/"
        "import-creds.c), so that the guest starts without them; Ignition and older systemd act on them, so that the "
        "host decides what runs. Not tried with hardware.",
        remedy="put it into the measured initrd or the encrypted disk, or hand it over after attestation",
        references=(
            "https://www.freedesktop.org/software/systemd/man/latest/smbios-type-11.html",
            "https://github.com/systemd/systemd/issues/42272",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ414",
        "Tables and hints of the host's own making",
        Severity.NOTE,
        _tables,
        why="Firmware and kernel believe the tables that describe the machine; ACPI tables hold code.",
        broken="They work as ever and are in no launch measurement. TDX firmware alone measures SMBIOS and ACPI "
        "tables, into a register of its own (RTMR0), so for TDX nothing is said here.",
        remedy="leave them out, or check them in the guest",
        limits=_READ,
    ),
    Rule(
        "SQ415",
        "Option ROMs",
        Severity.NOTE,
        _option_roms,
        why="The ROM is code that the host supplies and no launch measures.",
        broken='OVMF before 2023 runs it: an SEV guest then stopped at "Invalid MMIO opcode (F6)" (edk2 issue 9183). '
        "Later ones ignore option ROMs in TDX and SEV guests. From edk2's history; not tried.",
        remedy="remove it (romfile=)",
        references=("https://github.com/tianocore/edk2/issues/9183",),
        limits=_READ,
    ),
)
