"""SQ5xx: the processor, its model and features, the interrupt controller and the machine's switches."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Retype, Set
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.platforms.limitation import Engagement, Limits
from sequester.platforms.registry import platforms

_READ = int(Limits.READ_MEMORY)
_UNKNOWN_MODELS = ("", "host", "max", "host-model")
"""Models whose features only the host's KVM knows."""
_HOST_MODEL = "<cpu mode='host-model'>"
_LOCAL_BITS = ("phys-bits", "host-phys-bits-limit")
_SEV_DOC = "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html"
_TDX_DOC = "https://www.qemu.org/docs/master/system/i386/tdx.html"
_PV_DOC = "https://www.qemu.org/docs/master/system/s390x/protvirt.html"


def _model(case: Case) -> Iterator[Breach]:
    limitation, cpu = case.limitation, case.guest.cpu
    if limitation is None or not case.engaged or not limitation.demands.cpu_models:
        return
    models = limitation.demands.cpu_models
    if cpu.type not in models:
        yield Breach(
            f"CPU model {cpu.type or '(the default)'}: {limitation.title} works with {' or '.join(models)} alone",
            cpu,
            (Retype(cpu.key, models[0]),),
            f"-cpu {models[0]}",
            remedy=f"use -cpu {models[0]} (libvirt: <cpu mode='host-passthrough'/>)",
        )
    elif any(left.what.startswith(_HOST_MODEL) for left in case.guest.not_carried):
        yield Breach(
            f"libvirt makes a named CPU model of host-model, and {limitation.title} works with "
            f"{' or '.join(models)} alone",
            cpu,
            remedy="use <cpu mode='host-passthrough'/>",
        )


def _required(case: Case) -> Iterator[Breach]:
    limitation, cpu = case.limitation, case.guest.cpu
    if limitation is None or not case.engaged:
        return
    for feature in limitation.demands.cpu_required:
        given = cpu.flag(feature)
        if _generation(cpu.type) in limitation.demands.cpu_too_old:
            yield Breach(
                f"CPU model {cpu.type} is older than {feature}, with which the guest switches over",
                cpu,
                remedy="use -cpu host, or a newer model with the feature",
            )
        elif given is False:
            yield Breach(f"{feature}=off, and without it the guest cannot switch over", cpu)
        elif given is None and cpu.type not in _UNKNOWN_MODELS:
            yield Breach(
                f"CPU model {cpu.type} does not have {feature} of itself, and without it the guest cannot "
                "switch over",
                cpu,
            )


def _generation(model: str) -> str:
    """Return the generation of a model: ``z14`` of ``z14.2-base``."""
    return model.removesuffix("-base").partition(".")[0]


def _forbidden(case: Case) -> Iterator[Breach]:
    limitation, cpu = case.limitation, case.guest.cpu
    if limitation is None:
        return
    for feature in limitation.demands.cpu_forbidden:
        if cpu.flag(feature):
            yield Breach(
                f"CPU feature {feature}=on, which {limitation.title} does not give a guest",
                cpu,
                (Set(cpu.key, feature, "off"),),
                f"-cpu {feature}=off",
            )


def _physical_bits(case: Case) -> Iterator[Breach]:
    limitation, cpu = case.limitation, case.guest.cpu
    if limitation is None or not limitation.demands.host_phys_bits:
        return
    for name in _LOCAL_BITS:
        value = cpu.text(name)
        if value is not None and value != "0":
            yield Breach(f"{name}={value} gives the guest other physical address bits than the host has", cpu)
    if cpu.flag("host-phys-bits") is False:
        yield Breach("host-phys-bits=off gives the guest other physical address bits than the host has", cpu)


def _irqchip(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.demands.irqchip:
        return
    works = limitation.demands.irqchip
    for part, name in _irqchips(case.guest):
        value = part.text(name) or ""
        if value not in works:
            yield Breach(
                f"{name}={value}: {limitation.title} needs {' or '.join(works)}",
                part,
                (Set(part.key, name, works[0]),),
                f"{name}={works[0]}",
                remedy=f"use kernel-irqchip={works[0]}, or leave it to QEMU",
            )


def _irqchips(guest: Guest) -> Iterator[tuple[Part, str]]:
    """Yield where ``kernel-irqchip`` is said: on the machine or on an accelerator, in either spelling."""
    for part in (guest.machine, *guest.of("accel")):
        for name in ("kernel-irqchip", "kernel_irqchip"):
            if name in part.properties:
                yield part, name


def _switches(case: Case) -> Iterator[Breach]:
    limitation, machine = case.limitation, case.guest.machine
    if limitation is None:
        return
    for name, value in limitation.demands.forbidden_machine:
        if machine.text(name) is not None and _same(machine, name, value):
            instead = "off" if value == "on" else "on"
            yield Breach(
                f"{name}={machine.text(name)}: {limitation.title} cannot have that",
                machine,
                (Set(machine.key, name, instead),),
                f"machine {name}={instead}",
            )


def _same(part: Part, name: str, value: str) -> bool:
    flag = part.flag(name)
    return part.text(name) == value if flag is None else flag == (value == "on")


def _count(case: Case) -> Iterator[Breach]:
    limitation, smp = case.limitation, case.guest.smp
    if limitation is None or limitation.demands.max_cpus is None:
        return
    said = {"cpus": smp.type or smp.text("cpus") or "", "maxcpus": smp.text("maxcpus") or ""}
    most = max((int(text) for text in said.values() if text.isdecimal()), default=0)
    if most > limitation.demands.max_cpus:
        yield Breach(
            f"{most} vCPUs: {limitation.title} has {limitation.demands.max_cpus} at most",
            smp,
            remedy=f"use at most maxcpus={limitation.demands.max_cpus}",
        )


def _could_switch(case: Case) -> Iterator[Breach]:
    guest = case.guest
    if guest.limitation is not None:
        return
    for arch, feature, title in _switching():
        if arch == guest.arch and guest.cpu.flag(feature):
            option = guest.one("only-migratable")
            if option is not None:
                yield Breach(
                    f"-only-migratable beside {feature}=on: QEMU refuses to start",
                    option,
                    severity=Severity.ERROR,
                    remedy=f"remove one of the two: -only-migratable, or {feature}=on",
                )
            yield Breach(f"{feature}=on: the guest can switch over to {title} by itself", guest.cpu)


@cache
def _switching() -> tuple[tuple[str, str, str], ...]:
    """Return architecture, CPU feature and title of each platform to which a guest can switch by itself."""
    return tuple(
        (arch, feature, platform.title)
        for platform in platforms()
        if platform.engages is Engagement.AT_SWITCHOVER
        for feature in platform.demands.cpu_required
        for arch in platform.architectures
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "SQ501",
        "A CPU model that the platform does not take",
        Severity.ERROR,
        _model,
        why="The platform decides on most of the guest's features itself; QEMU can only pass on the host's.",
        broken='QEMU 10.1 to 11.1 refuse to start: "Named cpu model is not supported for TDX yet!"; earlier patches '
        'said "KVM_TDX_INIT_VM failed: Invalid argument". QEMU\'s default model is a named one (qemu64). From '
        "target/i386/kvm/tdx.c; not tried, as it takes the hardware.",
        remedy="use -cpu host",
        references=(_TDX_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ502",
        "A CPU without the feature that the switchover needs",
        Severity.ERROR,
        _required,
        why="The machine property only prepares the guest. The feature is what lets it switch over, and neither is "
        "ever changed because of the other.",
        broken='With s390-pv-guest QEMU refuses to start: "CPU model does not support Protected Virtualization" (from '
        "target/s390x/kvm/pv.c). No named model has unpack by default: query-cpu-model-expansion says false for "
        "gen15a to gen17b on QEMU 7.2, 10.0 and 11.1. z14,unpack=on is refused by all three: \"Feature 'unpack' is "
        "not available for CPU model 'z14', it was introduced with later models.\"",
        remedy="use -cpu host, or add unpack=on to the model",
        references=(_PV_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ503",
        "The kind of interrupt controller",
        Severity.ERROR,
        _irqchip,
        why="Where registers are encrypted only KVM can start further vCPUs; where the guest's interrupts may not be "
        "forged, the I/O part stays in QEMU.",
        broken='TDX: "TDX VM requires kernel_irqchip to be split"; SEV-ES: "SEV-ES guests require in-kernel irqchip '
        'support" (messages of 7.2, 10.0 and 11.1, from target/i386). Left to itself QEMU chooses right. With '
        "kernel-irqchip=split, TCG and a global for kvm-pit all of them still start (tried).",
        remedy="leave kernel-irqchip out",
        references=(_TDX_DOC, _SEV_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ504",
        "A switch of the machine that the platform cannot have",
        Severity.ERROR,
        _switches,
        why="System Management Mode and the old interrupt controller need a host that can set the guest's registers.",
        broken='"TDX VM doesn\'t support SMM", "TDX VM doesn\'t support PIC", "SEV-SNP does not support SMM." '
        '(messages of 11.1, the last of 10.0 too). SEV-ES: "System Management Mode not supported by this '
        'hypervisor.", as KVM says that such a guest has none (from both sources). vmport=on is no such switch: QEMU '
        "reads no registers of a protected guest for it.",
        remedy="turn it off, or leave it to QEMU",
        references=(_TDX_DOC, _SEV_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ505",
        "Physical address bits that are not the host's",
        Severity.ERROR,
        _physical_bits,
        why="The width is measured with the guest's CPUID and cannot be another than the processor's.",
        broken='QEMU refuses to start: "TDX requires guest CPU physical bits (39) to match host CPU physical bits '
        '(48)" (from target/i386/kvm/tdx.c). Without TDX QEMU 11.1 takes phys-bits=39 on a host of 48 with a warning, '
        "and host-phys-bits-limit=39 without one; -cpu host has the host's by default (tried with KVM).",
        remedy="leave it to -cpu host",
        references=(_TDX_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ506",
        "A CPU feature that the platform does not give",
        Severity.ERROR,
        _forbidden,
        why="pmu=on asks for an attribute of the guest that KVM has to offer, and KVM offers none but sept-ve-disable "
        "as of Linux 6.16; libvirt refuses it altogether.",
        broken='QEMU: "Invalid attributes 0x8000000010000000 for TDX VM (KVM supported: ...)"; libvirt: "Intel TDX '
        'launch security is not supported with PMU enabled". From their sources; not tried, as it takes the hardware.',
        remedy="turn it off; QEMU does so by itself",
        references=(_TDX_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ507",
        "More vCPUs than the platform takes",
        Severity.ERROR,
        _count,
        why="The list of vCPUs has to fit in one page that the guest shares with the host.",
        broken='QEMU refuses to start: "Protected VMs support a maximum of 248 CPUs" (from target/s390x/kvm/pv.c); '
        "under TCG 7.2, 10.0 and 11.1 refuse more than 248 for any guest.",
        remedy="give it fewer",
        references=(_PV_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ508",
        "A guest without a limitation that could switch over",
        Severity.NOTE,
        _could_switch,
        why="The feature alone lets the guest's image ask for protection, whatever the machine says.",
        broken="It works as before, until the image asks. With -only-migratable QEMU 7.2, 10.0 and 11.1 refuse to "
        'start: "The unpack facility is not compatible with the --only-migratable option".',
        remedy="name a protection object in -machine, or turn the feature off",
        references=(_PV_DOC,),
        unlimited=True,
    ),
)
