"""Writes the processor: how many vCPUs, their layout, the model and its features."""

from __future__ import annotations

import re

from sequester.formats.libvirt import processor as reader
from sequester.formats.libvirt.writing import Said, Writing
from sequester.formats.xml_splice import Node
from sequester.guest.part import truth

_FEATURE = re.compile(r"[a-zA-Z0-9_.\-]+")
_FEATURE_NAMES = {theirs: ours for ours, theirs in reader.FEATURE_NAMES.items()}
_HYPERV = {prop: tag for tag, prop in reader.HYPERV.items()}
_KVM = {prop: (tag, values) for tag, (prop, values) in reader.KVM_SWITCHES.items()}
_NOT_FEATURES = frozenset(
    {
        "cpuid-0xb",
        "fill-mtrr-mask",
        "full-cpuid-auto-level",
        "host-cache-info",
        "host-phys-bits",
        "kvm-no-smi-migration",
        "kvm-pv-enforce-cpuid",
        "l3-cache",
        "legacy-cache",
        "lmce",
        "migratable",
        "tcg-cpuid",
        "vmware-cpuid-freq",
        "vendor",
    }
)
"""Switches of QEMU's x86 CPUs that are no features to libvirt (QEMU target/i386/cpu.c, `x86_cpu_properties`)."""


def virtual_cpus(writing: Writing) -> None:
    """Write the number of vCPUs and their layout."""
    said = Said(writing.guest.smp)
    now = writing.guest.smp.type or said.take("cpus")
    most = said.take("maxcpus")
    layout = {name: said.take(name) for name in ("sockets", "dies", "clusters", "cores", "threads")}
    given = {name: value for name, value in layout.items() if value is not None}
    total = 1
    for value in given.values():
        total *= int(value) if value.isdecimal() else 1
    now = now or most or str(total)
    if not now.isdecimal() or (most is not None and not most.isdecimal()):
        writing.lose(f"vCPUs '{now}'")
        now, most = "1", None
    limit = max(int(most or 0), int(now), 1)
    current = now if int(now) < limit else None
    node = writing.child("vcpu", placement="static", current=current)
    node.text = str(limit)
    writing.finish(said)
    if given:
        _topology(writing, given, total, limit)


def _topology(writing: Writing, given: dict[str, str], total: int, limit: int) -> None:
    missing = [name for name in ("sockets", "cores", "threads") if name not in given]
    if total != limit and missing and limit % max(total, 1) == 0:
        given = {**given, missing[0]: str(limit // total)}
        total = limit
    if total != limit:
        writing.lose(f"the layout of {limit} vCPUs: its product is {total}")
        return
    for name in ("sockets", "cores", "threads"):
        given.setdefault(name, "1")
    cpu = writing.child("cpu")
    order = ("sockets", "dies", "clusters", "cores", "threads")
    cpu.children.append(Node("topology", {name: given[name] for name in order if name in given}))


def processor(writing: Writing) -> None:
    """Write the CPU model and its features."""
    guest = writing.guest
    said = Said(guest.cpu)
    kind = guest.cpu.type
    if not kind and not said.left:
        return
    cpu = writing.child("cpu")
    modes = {"host": "host-passthrough", "max": "maximum"}
    if kind in modes:
        cpu.attributes["mode"] = modes[kind]
        migratable = said.flag("migratable")
        if migratable is not None and kind == "host":
            cpu.attributes["migratable"] = migratable
    elif kind:
        cpu.attributes.update(mode="custom", match="exact", check="none")
        cpu.children.insert(0, Node("model", {"fallback": "forbid"}, [], kind))
    _kvm_and_hyperv(writing, said)
    for name, prop in (("kvmclock", "kvmclock"), ("hypervclock", "hv-time")):
        state = said.flag(prop)
        if state is not None:
            writing.timer(name, present="yes" if state == "on" else "no")
    frequency = said.number("tsc-frequency")
    if frequency is not None:
        writing.timer("tsc", frequency=frequency)
    said.drop("enforce", "check")
    _address_width(said, cpu)
    _caches(said, cpu)
    beside = {name: said.left.pop(name) for name in _NOT_FEATURES if name in said.left}
    for name in list(said.left):
        state = said.flag(name) if kind and _FEATURE.fullmatch(name) else None
        if state is not None:
            name = _FEATURE_NAMES.get(name.replace("_", "-"), _FEATURE_NAMES.get(name, name))
            policy = "require" if state == "on" else "disable"
            cpu.children.append(Node("feature", {"policy": policy, "name": name}))
    said.left.update(beside)
    writing.finish(said)


def _caches(said: Said, cpu: Node) -> None:
    host, level3 = truth(said.left.get("host-cache-info")), truth(said.left.get("l3-cache"))
    mode = {(True, False): "passthrough", (False, True): "emulate", (False, False): "disable"}.get(
        (bool(host), bool(level3))
    )
    if mode is not None and level3 is not None:
        said.drop("host-cache-info", "l3-cache")
        attributes = {"mode": mode, "level": "3"} if mode == "emulate" else {"mode": mode}
        cpu.children.append(Node("cache", attributes))


def _address_width(said: Said, cpu: Node) -> None:
    width = said.number("phys-bits")
    if said.flag("host-phys-bits") == "on":
        limit = said.number("host-phys-bits-limit")
        cpu.children.append(
            Node("maxphysaddr", {"mode": "passthrough", **({"limit": limit} if limit else {})})
        )
    elif width:
        cpu.children.append(Node("maxphysaddr", {"mode": "emulate", "bits": width}))


def _kvm_and_hyperv(writing: Writing, said: Said) -> None:
    for name in [name.replace("_", "-") for name in said.left]:
        if name.replace("-", "_") in said.left and (name in _KVM or name in _HYPERV):
            said.left[name] = said.left.pop(name.replace("-", "_"), said.left.get(name))
    pmu = said.flag("pmu")
    if pmu is not None:
        writing.element(writing.child("features"), "pmu", state=pmu)
    for prop, (tag, values) in _KVM.items():
        state = truth(said.left.get(prop))
        meant = next((key for key, value in values.items() if truth(value) is state), None)
        if state is not None and meant is not None:
            said.drop(prop)
            writing.element(writing.feature("kvm"), tag, state=meant)
    for prop, tag in _HYPERV.items():
        state_ = said.flag(prop)
        if state_ is not None:
            writing.element(_hyperv(writing), tag, state=state_)
    for tag, (attribute, prop) in reader.HYPERV_VALUES.items():
        value = said.number(prop) if tag == "spinlocks" else said.take(prop)
        if value is not None:
            writing.element(_hyperv(writing), tag, state="on", **{attribute: value})


def _hyperv(writing: Writing) -> Node:
    node = writing.feature("hyperv")
    node.attributes.setdefault("mode", "custom")
    return node
