"""Checks on the processor: vendor, flags, facilities, CPUID bits and model-specific registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sequester.host.printable import shown
from sequester.host.requirement import Check, Verdict, failed, passed, unknown

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts

REGISTERS = ("eax", "ebx", "ecx", "edx")
MSR_REMEDY = {
    "ENOENT": "load the msr module (modprobe msr) and probe as root",
    "EACCES": "probe as root",
    "EPERM": "probe as root",
    "EIO": "this processor has no such register",
}


def architecture(*names: str) -> Check:
    """The host is of one of these architectures, by QEMU's name for them."""

    def check(facts: HostFacts) -> Verdict:
        if not facts.arch:
            return unknown("the record has no architecture")
        if facts.arch in names:
            return passed(f"architecture {facts.arch}")
        return failed(f"architecture {shown(facts.arch)}, not {' or '.join(names)}")

    return check


def cpu_vendor(*names: str) -> Check:
    """The processor is of one of these vendors, spelled as in /proc/cpuinfo."""

    def check(facts: HostFacts) -> Verdict:
        name = shown(facts.cpu_name)
        if not facts.cpu_vendor:
            return unknown("/proc/cpuinfo names no vendor")
        if facts.cpu_vendor in names:
            return passed(f"{facts.cpu_vendor}: {name}")
        return failed(f"/proc/cpuinfo vendor_id {shown(facts.cpu_vendor)}: {name}")

    return check


def cpu_flag(flag: str) -> Check:
    """/proc/cpuinfo names a flag: the processor has it and the kernel did not take it away."""

    def check(facts: HostFacts) -> Verdict:
        if not facts.flags:
            return unknown("/proc/cpuinfo names no flags")
        if facts.has_flag(flag):
            return passed(f"/proc/cpuinfo has the flag {flag}")
        return failed(f"/proc/cpuinfo has no flag {flag}")

    return check


def cpuinfo_says(key: str, pattern: str) -> Check:
    """A line of /proc/cpuinfo matches a regular expression from its start."""

    def check(facts: HostFacts) -> Verdict:
        value = facts.cpuinfo.get(key)
        if value is None:
            return unknown(f"/proc/cpuinfo has no line '{key}'")
        if re.match(pattern, value):
            return passed(f"/proc/cpuinfo {key}: {shown(value)}")
        return failed(f"/proc/cpuinfo {key}: {shown(value)}")

    return check


def facility(number: int, meaning: str) -> Check:
    """An s390 machine has a facility (z/Architecture Principles of Operation, chapter 4)."""

    def check(facts: HostFacts) -> Verdict:
        listed = facts.cpuinfo.get("facilities")
        if listed is None:
            return unknown("/proc/cpuinfo lists no facilities")
        if str(number) in listed.split():
            return passed(f"/proc/cpuinfo facilities: {number} ({meaning})")
        return failed(f"/proc/cpuinfo facilities: no {number} ({meaning})")

    return check


def cpuid_bit(leaf: int, register: str, bit: int, meaning: str) -> Check:
    """A bit of a CPUID leaf is set. Unlike a flag, this is the processor alone, whatever firmware and kernel did."""

    def check(facts: HostFacts) -> Verdict:
        registers = facts.cpuid(leaf)
        if registers is None:
            return unknown(f"CPUID was not told: {shown(facts.cpuid_error)}")
        value = registers[REGISTERS.index(register)]
        read = f"CPUID {leaf:#x} {register.upper()}={value:#010x}: bit {bit} ({meaning})"
        if value >> bit & 1:
            return passed(f"{read} is set")
        if leaf not in facts.cpuid_leaves:
            read = f"CPUID has no leaf {leaf:#x} ({meaning})"
        else:
            read += " is clear"
        if facts.virtual:
            why = f"this host is itself a virtual machine ({facts.virtual}), whose hypervisor decides what it has"
            return failed(read, why, "use a physical machine")
        return failed(read)

    return check


def msr_bits(number: int, name: str, mask: int, meaning: str, wanted: bool = True) -> Check:
    """Any bit of a mask is set in a model-specific register (or, with `wanted` false, none is)."""

    def check(facts: HostFacts) -> Verdict:
        value = facts.msrs.get(number, "not in the record")
        if isinstance(value, str):
            return unknown(f"MSR {number:#x} ({name}): {shown(value)}", "", MSR_REMEDY.get(value, ""))
        read = f"MSR {number:#x} ({name}) = {value:#x}: {meaning}"
        if bool(value & mask) == wanted:
            return passed(read + (" set" if wanted else " clear"))
        return failed(read + (" clear" if wanted else " set"))

    return check


def cpu_model(known: Mapping[tuple[int, int], str]) -> Check:
    """The x86 processor is of one of these (family, model); of any other this says nothing."""

    def check(facts: HostFacts) -> Verdict:
        family, model = facts.cpu_family, facts.cpu_model
        if family is None or model is None:
            return unknown("/proc/cpuinfo names no model")
        read = f"family {family:#x} model {model:#x}"
        name = known.get((family, model))
        return (
            passed(f"{read}: {name}")
            if name
            else unknown(f"{read} ({shown(facts.cpu_name)}) is not a known model")
        )

    return check


def bare_metal() -> Check:
    """The host is not itself a virtual machine."""

    def check(facts: HostFacts) -> Verdict:
        if facts.virtual:
            return failed(f"this host is a virtual machine itself ({shown(facts.virtual)})")
        return passed("no hypervisor under this host")

    return check
