"""Writes what the guest is as a whole: machine, processor, memory, firmware, kernel, clock, events."""

from __future__ import annotations

import re

from sequester.formats.libvirt import machine as reader
from sequester.formats.libvirt.writing import Said, Writing, shown
from sequester.formats.xml_splice import Node
from sequester.guest.firmware import Use, firmware
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.part import Part

_MACHINE = re.compile(r"[a-zA-Z0-9_.\-]+")
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
_DOMAIN_TYPES = {accel: kind for kind, accel in reader.ACCELERATORS.items()}
_LIBVIRT_ARCH = {"i386": "i686", "arm": "armv7l"}
_SILENT = ("type", "accel", "usb", "memory-backend", "graphics", "nvdimm", "hmat")
"""Machine properties that libvirt decides by itself from the rest of the domain."""

_BOOT_LETTERS = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}


def domain_type(writing: Writing) -> str:
    """Return the domain's type from the first accelerator that libvirt knows."""
    accelerators = writing.guest.accelerators
    for spare in accelerators[1:]:
        writing.lose(f"accelerator {spare} as a fallback")
    for part in writing.guest.of("accel"):
        said = Said(part)
        ring = said.number("dirty-ring-size")
        if ring:
            kvm = writing.feature("kvm")
            writing.element(kvm, "dirty-ring", state="on", size=ring)
        writing.finish(said)
    kind = _DOMAIN_TYPES.get(accelerators[0])
    if kind is None:
        writing.lose(f"accelerator {accelerators[0]}")
    return kind or "qemu"


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
        writing.timer("hpet", present="yes" if hpet == "on" else "no")
    if said.take("iommu") == "smmuv3":
        writing.device("iommu", model="smmuv3")
    for name, value in said.left.items():
        writing.lose(f"{name}={shown(value)} of the machine")
    writing.used.add(guest.machine.key)


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
            writing.timer("rtc", tickpolicy="catchup")
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
        writing.timer("pit", tickpolicy=shown(value))
    elif tag is not None and tag != "pit":
        writing.element(writing.child("pm"), tag, enabled="no" if shown(value) == "1" else "yes")
    elif (part.type, name) == ("mch", "extended-tseg-mbytes"):
        smm = writing.feature("smm")
        smm.attributes.setdefault("state", "on")
        writing.element(smm, "tseg", shown(value), unit="MiB")
    elif (part.type, name) != ("ICH9-LPC", "noreboot"):
        writing.lose(f"-global {part.type}.{name}={shown(value)}")
