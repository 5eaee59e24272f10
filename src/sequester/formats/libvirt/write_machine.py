"""Writes what the guest is as a whole: machine, processor, memory, firmware, kernel, clock, events."""

from __future__ import annotations

import re

from sequester.formats.libvirt import machine as reader
from sequester.formats.libvirt import processor as cpu_reader
from sequester.formats.libvirt.writing import Said, Writing, shown
from sequester.formats.xml_splice import Node
from sequester.guest.firmware import Use, firmware
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.part import Part, truth

_MACHINE = re.compile(r"[a-zA-Z0-9_.\-]+")
_SIZES = {"": 20, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_STATES = {prop: tag for tag, prop in reader.FEATURE_STATES.items()}
_VALUES = {prop: (tag, "value") for tag, prop in reader.FEATURE_VALUES.items()} | {
    "resize-hpt": ("hpt", "resizing"),
    "gic-version": ("gic", "version"),
}
_WORDS = {
    "value": ("broken", "workaround", "fixed", "fixed-ibs", "fixed-ccd", "fixed-na"),
    "resizing": ("enabled", "disabled", "required"),
    "version": ("host", "2", "3"),
}
"""What those attributes may say (libvirt schemas/domaincommon.rng)."""

_CHIPS = {said: driver for driver, said in reader.IRQCHIP.items()}
_FEATURE_NAMES = {theirs: ours for ours, theirs in cpu_reader.FEATURE_NAMES.items()}
_HYPERV = {prop: tag for tag, prop in cpu_reader.HYPERV.items()}
_KVM = {prop: (tag, values) for tag, (prop, values) in cpu_reader.KVM_SWITCHES.items()}
_DOMAIN_TYPES = {accel: kind for kind, accel in reader.ACCELERATORS.items()}
_LIBVIRT_ARCH = {"i386": "i686", "arm": "armv7l"}
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

_SILENT = ("type", "accel", "usb", "memory-backend", "graphics", "nvdimm", "hmat")
"""Machine properties that libvirt decides by itself from the rest of the domain."""

_BOOT_LETTERS = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_HUGE = ("/dev/hugepages", "/mnt/huge", "/hugepages")


def size(text: str) -> int | None:
    """Return the bytes that QEMU reads from a size (MiB where it has no unit), None when it is none."""
    number = text.strip().lower().removesuffix("ib")
    unit = number[-1:] if number[-1:].isalpha() else ""
    digits = number.removesuffix(unit)
    try:
        return int(float(digits) * (1 << _SIZES[unit])) if len(digits) < 20 else None
    except (KeyError, ValueError, OverflowError):
        return None


def domain_type(writing: Writing) -> str:
    """Return the domain's type from the first accelerator that libvirt knows."""
    accelerators = writing.guest.accelerators
    for spare in accelerators[1:]:
        writing.lose(f"accelerator {spare} as a fallback")
    for part in writing.guest.of("accel"):
        said = Said(part)
        ring = said.number("dirty-ring-size")
        if ring:
            kvm = _in_features(writing, "kvm")
            writing.element(kvm, "dirty-ring", state="on", size=ring)
        writing.finish(said)
    kind = _DOMAIN_TYPES.get(accelerators[0])
    if kind is None:
        writing.lose(f"accelerator {accelerators[0]}")
    return kind or "qemu"


def _in_features(writing: Writing, tag: str) -> Node:
    features = writing.child("features")
    found = next((node for node in features.children if node.tag == tag), None)
    return found or writing.element(features, tag)


def main_memory(writing: Writing) -> None:
    """Write how much memory there is, and what backs it."""
    guest = writing.guest
    said = Said(guest.memory)
    amount = size(guest.memory.type or said.take("size") or "128M")
    if amount is None:
        writing.lose(f"memory size '{guest.memory.type}'")
        amount = 128 << 20
    most = said.take("maxmem")
    slots = said.number("slots")
    cells = guest.of("numa")
    if most is not None and slots is not None and cells and (limit := size(most)) is not None:
        node = writing.child("maxMemory", unit="KiB", slots=slots)
        node.text = str(limit >> 10)
    elif most is not None:
        writing.lose(f"maxmem={most}: libvirt wants NUMA cells for memory that is plugged in later")
    writing.child("memory", unit="KiB").text = str(amount >> 10)
    writing.finish(said)
    identity = guest.machine.text("memory-backend")
    backend = guest.by_id.get(identity) if identity and not cells else None
    for cell in cells:
        _cell(writing, Said(cell))
    if backend is not None and backend.group == "object":
        _backend(writing, Said(backend), amount)
    _whole_memory(writing)


def _cell(writing: Writing, said: Said) -> None:
    if said.part.type != "node":
        writing.lose(said.part.label())
        return
    backend = writing.referred(said, "memdev", "object")
    amount = backend.take("size") if backend is not None else said.take("mem")
    number = size(f"{amount}b" if amount and amount.isdecimal() and backend is not None else amount or "")
    if number is None:
        writing.lose(f"{said.part.label()}: the size of its memory is not known")
        return
    cpu = writing.child("cpu")
    numa = next((node for node in cpu.children if node.tag == "numa"), None)
    if numa is None:
        numa = writing.element(cpu, "numa")
    share = backend.flag("share") if backend is not None else None
    writing.element(
        numa,
        "cell",
        id=said.take("nodeid"),
        cpus=said.take("cpus"),
        memory=str(number >> 10),
        unit="KiB",
        memAccess=None if share is None else "shared" if share == "on" else "private",
    )
    if backend is not None:
        if backend.part.type == "memory-backend-memfd":
            _backing(writing, "source", type="memfd")
        elif backend.part.type == "memory-backend-file":
            if (backend.take("mem-path") or "").startswith(_HUGE):
                _backing(writing, "hugepages")
            else:
                _backing(writing, "source", type="file")
        backend.drop("x-use-canonical-path-for-ramblock-id", "prealloc", "discard-data", "prealloc-threads")
        writing.finish(backend)
    writing.finish(said)


def _whole_memory(writing: Writing) -> None:
    machine = writing.guest.machine
    if machine.flag("mem-merge") is False:
        _backing(writing, "nosharepages")
    for part in writing.guest.of("overcommit"):
        said = Said(part)
        if said.flag("mem-lock") == "on":
            _backing(writing, "locked")
        said.drop("mem-lock")
        writing.finish(said)
    if writing.guest.has("mem-prealloc"):
        _backing(writing, "allocation", mode="immediate")


def _backing(writing: Writing, tag: str, **attributes: str) -> None:
    backing = writing.child("memoryBacking")
    found = next((node for node in backing.children if node.tag == tag), None)
    if found is None:
        writing.element(backing, tag, **attributes)
    else:
        found.attributes.update(attributes)


def _backend(writing: Writing, said: Said, amount: int) -> None:
    kind = said.part.type.removeprefix("memory-backend-")
    share = said.flag("share")
    if kind == "memfd":
        _backing(writing, "source", type="memfd")
    elif kind == "file":
        path = said.take("mem-path") or ""
        if path.startswith(_HUGE):
            _backing(writing, "hugepages")
        else:
            _backing(writing, "source", type="file")
            writing.lose(f"mem-path={path} of {said.part.label()}: libvirt chooses the file")
    elif kind != "ram":
        writing.lose(said.part.label())
        writing.used.add(said.part.key)
        return
    if said.flag("hugetlb") == "on":
        _backing(writing, "hugepages")
    if share is not None:
        _backing(writing, "access", mode="shared" if share == "on" else "private")
    if said.flag("prealloc") == "on":
        threads = said.number("prealloc-threads")
        _backing(writing, "allocation", mode="immediate", **({"threads": threads} if threads else {}))
    if said.flag("discard-data") == "on":
        _backing(writing, "discard")
    if said.flag("merge") == "off":
        _backing(writing, "nosharepages")
    given = said.take("size")
    if given is not None and size(given if not given.isdecimal() else f"{given}b") != amount:
        writing.lose(f"size={given} of {said.part.label()}: it is not the guest's memory")
    said.drop("x-use-canonical-path-for-ramblock-id", "merge", "dump", "prealloc-threads")
    writing.finish(said)


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


def machine(writing: Writing, os_element: Node) -> None:
    """Write the machine type and its properties."""
    guest = writing.guest
    said = Said(guest.machine)
    arch = _LIBVIRT_ARCH.get(guest.arch, guest.arch)
    kind = guest.machine.type or None
    if kind is not None and "+" in kind:
        writing.lose(f"machine {kind}: it is written as {kind.split('+')[0]}")
        kind = kind.split("+")[0]
    if kind is not None and not _MACHINE.fullmatch(kind):
        writing.lose(f"machine {kind}")
        kind = None
    node = writing.element(os_element, "type", "hvm", arch=arch, machine=kind)
    os_element.children.insert(0, os_element.children.pop(os_element.children.index(node)))
    said.drop(*_SILENT, *LIMITATION_PROPERTIES, "mem-merge", "pflash0", "pflash1", "firmware")
    said.drop("kernel", "initrd", "append", "dtb", "shim", "kernel-irqchip")
    features = writing.child("features")
    off = guest.has("no-acpi") or said.flag("acpi") == "off"
    said.drop("acpi")
    pc = guest.arch in ("x86_64", "i386")
    flash = any(image.use is Use.FLASH for image in firmware(guest))
    if not off and (pc or (guest.arch == "aarch64" and flash)):
        writing.element(features, "acpi")
    if pc:
        writing.element(features, "apic")
    chip = guest.machine.text("kernel-irqchip")
    if chip in _CHIPS and pc:
        writing.element(features, "ioapic", driver=_CHIPS[chip])
    elif chip is not None:
        writing.lose(f"kernel-irqchip={chip} of the machine")
    dump = said.flag("dump-guest-core")
    if dump == "on":
        writing.child("memory", dumpCore="on")
    for prop, tag in _STATES.items():
        state = said.flag(prop)
        if state is not None:
            writing.element(features, tag, state=state)
        elif said.take(prop) not in (None, "auto"):
            writing.lose(f"{prop}={guest.machine.text(prop)} of the machine")
    for prop, (tag, attribute) in _VALUES.items():
        value = said.word(prop, *_WORDS[attribute])
        if value is not None:
            writing.element(features, tag, **{attribute: value})
    for name in ("aes", "dea"):
        state = said.flag(f"{name}-key-wrap")
        if state is not None:
            writing.element(writing.child("keywrap"), "cipher", name=name, state=state)
    hpet = said.flag("hpet") or ("off" if guest.has("no-hpet") else None)
    if hpet is not None:
        _timer(writing, "hpet", present="yes" if hpet == "on" else "no")
    if said.take("iommu") == "smmuv3":
        writing.device("iommu", model="smmuv3")
    for name, value in said.left.items():
        writing.lose(f"{name}={shown(value)} of the machine")
    writing.used.add(guest.machine.key)


def _timer(writing: Writing, name: str, **attributes: str) -> None:
    clock = writing.child("clock")
    clock.attributes.setdefault("offset", "utc")
    found = next((node for node in clock.children if node.attributes.get("name") == name), None)
    if found is None:
        writing.element(clock, "timer", name=name, **attributes)
    else:
        found.attributes.update(attributes)


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
            _timer(writing, name, present="yes" if state == "on" else "no")
    frequency = said.number("tsc-frequency")
    if frequency is not None:
        _timer(writing, "tsc", frequency=frequency)
    said.drop("enforce", "check")
    _address_width(said, cpu)
    _caches(said, cpu)
    beside = {name: said.left.pop(name) for name in _NOT_FEATURES if name in said.left}
    for name in list(said.left):
        state = said.flag(name) if kind and _MACHINE.fullmatch(name) else None
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
            writing.element(_in_features(writing, "kvm"), tag, state=meant)
    for prop, tag in _HYPERV.items():
        state_ = said.flag(prop)
        if state_ is not None:
            writing.element(_hyperv(writing), tag, state=state_)
    for tag, (attribute, prop) in cpu_reader.HYPERV_VALUES.items():
        value = said.number(prop) if tag == "spinlocks" else said.take(prop)
        if value is not None:
            writing.element(_hyperv(writing), tag, state="on", **{attribute: value})


def _hyperv(writing: Writing) -> Node:
    node = _in_features(writing, "hyperv")
    node.attributes.setdefault("mode", "custom")
    return node


def boot(writing: Writing, os_element: Node) -> None:
    """Write firmware, kernel and boot order."""
    guest = writing.guest
    flash = any(image.use is Use.FLASH for image in firmware(guest))
    for image in firmware(guest):
        form = image.format if image.format not in ("", "raw") else None
        writing.speak_for(image.part)
        if not image.path:
            writing.lose(f"{image.use.value} of {image.part.label()}")
        elif image.use is Use.ROM and flash:
            writing.lose(f"-bios {image.path}: QEMU does not look at it beside a flash")
        elif image.use is Use.ROM:
            path = writing.path(image.path, "the firmware")
            writing.element(os_element, "loader", path, type="rom", stateless="yes")
        elif image.use is Use.FLASH:
            alone = not any(other.use is Use.VARIABLES for other in firmware(guest))
            stateless = "yes" if alone and not image.writable else None
            secure = None
            for part in guest.of("global"):
                if part.type == "cfi.pflash01" and part.flag("secure") is not None:
                    writing.used.add(part.key)
                    secure = "yes" if part.flag("secure") else None
            writing.element(
                os_element,
                "loader",
                writing.path(image.path, "the firmware"),
                readonly="no" if image.writable else "yes",
                secure=secure,
                type="pflash",
                stateless=stateless,
                format=form,
            )
        elif image.use is Use.VARIABLES:
            writing.element(os_element, "nvram", writing.path(image.path, "the variables"), format=form)
        else:
            writing.lose(f"{image.use.value}: {image.path}")
    for tag, option in (
        ("kernel", "kernel"),
        ("initrd", "initrd"),
        ("cmdline", "append"),
        ("shim", "shim"),
        ("dtb", "dtb"),
    ):
        given = guest.one(option)
        text = given.type if given is not None else guest.machine.text(option)
        if text:
            writing.element(os_element, tag, text if tag == "cmdline" else writing.path(text, f"the {tag}"))
    _boot_option(writing, os_element)


def _boot_option(writing: Writing, os_element: Node) -> None:
    for part in writing.guest.of("boot"):
        said = Said(part)
        order = part.type or said.take("order") or ""
        if not any("bootindex" in device.properties for device in writing.guest.devices):
            for letter in order:
                if letter in _BOOT_LETTERS:
                    writing.element(os_element, "boot", dev=_BOOT_LETTERS[letter])
        menu = said.flag("menu")
        if menu is not None:
            timeout = said.number("splash-time")
            writing.element(os_element, "bootmenu", enable="yes" if menu == "on" else "no", timeout=timeout)
        reboot = said.number("reboot-timeout")
        if reboot is not None:
            writing.element(os_element, "bios", rebootTimeout=reboot)
        said.drop("strict")
        writing.finish(said)


def clock_and_events(writing: Writing) -> None:
    """Write the clock, and what follows a reboot or a panic."""
    guest = writing.guest
    for part in guest.of("rtc"):
        said = Said(part)
        base = said.take("base") or "utc"
        clock = writing.child("clock", offset="localtime" if base == "localtime" else "utc")
        clock.attributes["offset"] = "localtime" if base == "localtime" else "utc"
        if base not in ("utc", "localtime"):
            writing.lose(f"rtc base={base}")
        if said.take("driftfix") == "slew":
            _timer(writing, "rtc", tickpolicy="catchup")
        if said.take("clock") not in (None, "host"):
            writing.lose("rtc clock of the guest")
        writing.finish(said)
    if guest.has("no-reboot"):
        writing.child("on_reboot").text = "destroy"
    for part in guest.of("action"):
        said = Said(part)
        if said.take("reboot") == "shutdown":
            writing.child("on_reboot").text = "destroy"
        if said.take("panic") in ("pause", "none"):
            writing.child("on_crash").text = "preserve"
        said.drop("shutdown")
        writing.finish(said)


GLOBALS = {
    ("kvm-pit", "lost_tick_policy"): "pit",
    ("ICH9-LPC", "disable_s3"): "suspend-to-mem",
    ("ICH9-LPC", "disable_s4"): "suspend-to-disk",
    ("PIIX4_PM", "disable_s3"): "suspend-to-mem",
    ("PIIX4_PM", "disable_s4"): "suspend-to-disk",
}
"""``-global`` properties that have elements of their own."""


def global_property(writing: Writing, part: Part) -> None:
    """Write a ``-global`` property that has an element of its own."""
    (name, value), *_ = part.properties.items()
    tag = GLOBALS.get((part.type, name))
    if tag == "pit" and shown(value) in ("delay", "discard"):
        _timer(writing, "pit", tickpolicy=shown(value))
    elif tag is not None and tag != "pit":
        writing.element(writing.child("pm"), tag, enabled="no" if shown(value) == "1" else "yes")
    elif (part.type, name) == ("mch", "extended-tseg-mbytes"):
        smm = _in_features(writing, "smm")
        smm.attributes.setdefault("state", "on")
        writing.element(smm, "tseg", shown(value), unit="MiB")
    elif (part.type, name) != ("ICH9-LPC", "noreboot"):
        writing.lose(f"-global {part.type}.{name}={shown(value)}")
