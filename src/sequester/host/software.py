"""Checks on what runs guests: the QEMU binaries, their types and properties, firmware images, libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sequester.host.kernel import dotted
from sequester.host.printable import shown
from sequester.host.requirement import Check, Verdict, failed, passed, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from sequester.host.facts import HostFacts, QemuFacts


def qemu_type(name: str, arch: str, since: tuple[int, ...], build: str = "") -> Check:
    """A QEMU knows an object type. `since`: the release that brought it; `build`: what else it must be built with."""

    def lacking(qemu: QemuFacts) -> str:
        if qemu.version and qemu.version < since:
            return f"{qemu} is older than {dotted(since)}"
        return f"{qemu} was built without it" + (f" ({build})" if build else "")

    remedy = f"install qemu-system for {arch} {dotted(since)} or later" + (
        f", built with {build}" if build else ""
    )
    return _any_qemu(arch, f"the object type {name}", lambda qemu: name in qemu.types, lacking, remedy)


def qemu_property(type_name: str, name: str, arch: str, since: tuple[int, ...]) -> Check:
    """A QEMU's object type has a property."""

    def lacking(qemu: QemuFacts) -> str:
        return f"{qemu} has no {type_name}.{name}"

    remedy = f"install QEMU {dotted(since)} or later"
    return _any_qemu(
        arch, f"{type_name}.{name}", lambda qemu: name in qemu.properties.get(type_name, {}), lacking, remedy
    )


def qemu_machine(name: str, arch: str) -> Check:
    """A QEMU has a machine type, by name or alias."""

    def lacking(qemu: QemuFacts) -> str:
        return f"{qemu} has no machine {name}"

    return _any_qemu(arch, f"the machine {name}", lambda qemu: qemu.machine(name) is not None, lacking, "")


def _any_qemu(
    arch: str,
    what: str,
    has: Callable[[QemuFacts], bool],
    lacking: Callable[[QemuFacts], str],
    remedy: str,
) -> Check:
    def check(facts: HostFacts) -> Verdict:
        if facts.qemus is None:
            return unknown("no QEMU was asked", "", "probe with QEMU")
        qemus = facts.qemus_for(arch)
        if not qemus:
            others = ", ".join(str(qemu) for qemu in facts.qemus)
            read = f"no QEMU for {arch} found" + (f" (only {others})" if others else "")
            return failed(read, "", remedy or f"install qemu-system for {arch}")
        good = [qemu for qemu in qemus if has(qemu)]
        silent = [f"{qemu}: {shown(qemu.error, 160)}" for qemu in qemus if qemu.error and qemu not in good]
        without = [lacking(qemu) for qemu in qemus if qemu not in good and not qemu.error]
        rest = "; ".join(without + silent)
        if good:
            names = ", ".join(str(qemu) for qemu in good)
            return passed(f"{what}: {names}" + (f"; {rest}" if rest else ""))
        if silent:
            return unknown(f"{what}: {rest}", "", "see why that QEMU does not answer: run it with -version")
        return failed(f"{what}: {rest}", "", remedy)

    return check


def firmware_installed(feature: str, arch: str, package: str) -> Check:
    """A firmware image with a feature is installed, by QEMU's firmware descriptors. `package`: what brings one."""

    def check(facts: HostFacts) -> Verdict:
        claimed = [
            image for image in facts.firmware if feature in image.features and arch in image.architectures
        ]
        usable = [image for image in claimed if image.usable]
        if usable:
            names = ", ".join(dict.fromkeys(shown(image.filename) for image in usable))
            return passed(f"firmware with {feature}: {names}")
        for image in claimed:
            if not image.present:
                why = f"{shown(image.descriptor)} names it, but it is not there"
                return failed(f"no {shown(image.filename)}", why, f"install {package} again")
            return failed(
                f"{shown(image.descriptor)} is masked by {shown(image.masked_by)}", "", "take the mask away"
            )
        odd = [f"{shown(image.descriptor)}: {shown(image.error)}" for image in facts.firmware if image.error]
        read = f"{len(facts.firmware)} firmware descriptors, none with {feature} for {arch}"
        return failed(read + (f" ({'; '.join(odd)})" if odd else ""), "", f"install {package}")

    return check


def libvirt_offers(sectype: str, since: str) -> Check:
    """libvirt offers a launch security type in its domain capabilities."""

    def check(facts: HostFacts) -> Verdict:
        libvirt = facts.libvirt
        version = f"libvirt {shown(libvirt.version)}" if libvirt.version else "libvirt"
        if libvirt.asked and not libvirt.error:
            offers = sectype in libvirt.sectypes or libvirt.features.get(sectype, False)
            if offers:
                return passed(f"{version} offers launchSecurity type '{sectype}'")
            listed = ", ".join(sorted(libvirt.sectypes)) or "none"
            return failed(
                f"{version} offers launchSecurity types: {listed}", "", f"libvirt {since} or later has it"
            )
        if not libvirt.binaries:
            return unknown("no libvirt found", "", "")
        if libvirt.asked:
            return unknown(
                f"{version}: {shown(libvirt.error, 300)}", "", "start it, and join its group (libvirt)"
            )
        return unknown(f"{version} was not asked", "", "probe with --libvirt")

    return check
