"""SQ3xx: virtio: every device must reach guest memory through the guest's own say.

Feature bit 33, VIRTIO_F_ACCESS_PLATFORM (QEMU's ``iommu_platform``), makes a driver use the platform's DMA
interface, which bounces data through memory that the host may read; it needs virtio 1, so no legacy mode.
"""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case, machine_version
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Add, Change, Remove, Retype, Set
from sequester.guest.guest import Guest
from sequester.guest.part import Part, Value, truth
from sequester.guest.virtio import variant
from sequester.platforms.limitation import Limits
from sequester.rules.virtio_backend import BACKEND_RULES
from sequester.rules.virtio_setting import defaults_given, globals_of, setting

_READ = int(Limits.READ_MEMORY)
_LAST_LEGACY_PCI = (2, 6)
"""Machine types up to this one give virtio-pci devices ``disable-modern=on`` (hw/core/machine.c, hw_compat_2_6)."""
_LAST_LEGACY_CCW = (2, 4)
"""Machine types up to this one give virtio-ccw devices ``max_revision=0`` (read back on QEMU 7.2)."""
_WITH_CHANNELS = ("s390x",)
"""Architectures with channel devices (ccw)."""
_EXPRESS_PORTS = frozenset({"pcie-root-port", "ioh3420", "xio3130-downstream", "cxl-rp"})
"""Where ``disable-legacy=auto`` means on: below a PCI Express port (hw/virtio/virtio-pci.c)."""
_CGS_DOC = "https://www.qemu.org/docs/master/system/confidential-guest-support.html"
_VIRTIO = "Virtual I/O Device (VIRTIO) 1.2, section 6, VIRTIO_F_ACCESS_PLATFORM"
_LINUX = "Linux drivers/virtio/virtio.c, virtio_features_ok"


def _access_platform(case: Case) -> Iterator[Breach]:
    guest, name = case.guest, "iommu_platform"
    given = globals_of(guest, name)
    default = defaults_given(case)
    reached: dict[int, list[Part]] = {}
    for part, way in guest.virtio_devices:
        value, source = setting(part, way, name, given, guest.arch)
        if source is None:
            if not default:
                yield Breach(
                    f"{part.label()} has no {name}=on, and nothing makes it the default here",
                    part,
                    (Set(part.key, name, True),),
                    f"{part.label()} {name}=on",
                )
        elif truth(value) is not True:
            if source is part:
                yield Breach(
                    f"{part.label()} has {name}={_shown(value)}: its driver would pass it memory that the host "
                    "cannot read",
                    part,
                    (Set(part.key, name, True),),
                    f"{part.label()} {name}=on",
                )
            else:
                reached.setdefault(source.key, []).append(part)
    for option, devices in _by_global(guest, reached):
        yield Breach(
            f"-global {option.type}.{name}={option.text(name)} reaches {_listed(devices)}",
            option,
            (Set(option.key, name, True),),
            f"-global {option.type}.{name}=on",
        )


def _legacy(case: Case) -> Iterator[Breach]:
    guest, name = case.guest, "disable-legacy"
    given = globals_of(guest, name)
    default = defaults_given(case)
    reached: dict[int, list[Part]] = {}
    for part, way in guest.virtio_devices:
        if way != "pci" or (default and not given and name not in part.properties and not variant(part)):
            continue
        model = variant(part)
        if model == "transitional":
            better = part.type.removesuffix("-transitional") + "-non-transitional"
            yield Breach(
                f"{part.label()} is a transitional device, which speaks legacy virtio too",
                part,
                (Retype(part.key, better),),
                f"{better} instead of {part.type}",
                remedy=f"use {better}",
            )
        elif not model:
            value, source = setting(part, way, name, given, guest.arch)
            if truth(value) is True or (value in (None, "auto") and _below_express_port(guest, part)):
                continue
            if source is None:
                if not default:
                    yield Breach(
                        f"{part.label()} has no {name}=on, and nothing makes it the default here",
                        part,
                        (Set(part.key, name, "on"),),
                        f"{part.label()} {name}=on",
                    )
            elif source is part:
                yield Breach(
                    f"{part.label()} has {name}={_shown(value)}",
                    part,
                    (Set(part.key, name, "on"),),
                    f"{part.label()} {name}=on",
                )
            else:
                reached.setdefault(source.key, []).append(part)
    yield from _without_global(guest, name, reached)


def _modern(case: Case) -> Iterator[Breach]:
    guest, name = case.guest, "disable-modern"
    given = globals_of(guest, name)
    version = machine_version(guest.machine.type)
    old = bool(version) and version <= _LAST_LEGACY_PCI
    if not old and not given and not any(name in part.properties for part in guest.devices):
        return
    reached: dict[int, list[Part]] = {}
    for part, way in guest.virtio_devices:
        if way != "pci" or variant(part):
            continue
        value, source = setting(part, way, name, given, guest.arch)
        if source is None:
            if old:
                yield Breach(
                    f"{part.label()} has no virtio 1: machine {guest.machine.type} turns it off",
                    part,
                    (Set(part.key, name, False),),
                    f"{part.label()} {name}=off",
                    remedy=f"add {name}=off, or use a machine later than {_LAST_LEGACY_PCI[0]}.{_LAST_LEGACY_PCI[1]}",
                )
        elif truth(value) is True:
            if source is part:
                yield Breach(
                    f"{part.label()} has {name}=on",
                    part,
                    (Set(part.key, name, False),),
                    f"{part.label()} {name}=off",
                )
            else:
                reached.setdefault(source.key, []).append(part)
    yield from _without_global(guest, name, reached)


def _mmio(case: Case) -> Iterator[Breach]:
    guest = case.guest
    devices = [part for part, way in guest.virtio_devices if way == "mmio"]
    if not devices:
        return
    option = guest.globals.get(("virtio-mmio", "force-legacy"))
    if option is not None and option.flag("force-legacy") is False:
        return
    fix: tuple[Change, ...] = ()
    if option is not None:
        fix = (Set(option.key, "force-legacy", "off"),)
    elif guest.dialect == "qemu":
        fix = (Add(Part("global", "virtio-mmio", {"force-legacy": "off"}, guest.next_key)),)
    yield Breach(
        f"virtio-mmio speaks legacy virtio unless told otherwise, and {_listed(devices)} "
        f"{'is' if len(devices) == 1 else 'are'} on it",
        devices[0],
        fix,
        "-global virtio-mmio.force-legacy=off",
    )


def _ccw(case: Case) -> Iterator[Breach]:
    guest, name = case.guest, "max_revision"
    if guest.arch not in _WITH_CHANNELS:
        return
    given = globals_of(guest, name)
    version = machine_version(guest.machine.type)
    old = bool(version) and version <= _LAST_LEGACY_CCW
    for part, way in guest.virtio_devices:
        if way != "ccw":
            continue
        value, source = setting(part, way, name, given, guest.arch)
        if str(value) == "0" or (source is None and old):
            where = (
                f"machine {guest.machine.type}"
                if source is None
                else "it"
                if source is part
                else source.spelled
            )
            yield Breach(
                f"{part.label()} speaks legacy virtio only: {where} says {name}=0",
                part,
                (Set(part.key, name, 2),),
                f"{part.label()} {name}=2",
            )


def _below_express_port(guest: Guest, part: Part) -> bool:
    bus = part.text("bus")
    port = guest.by_id.get(bus) if bus else None
    return port is not None and port.type in _EXPRESS_PORTS


def _by_global(guest: Guest, reached: dict[int, list[Part]]) -> Iterator[tuple[Part, list[Part]]]:
    for key, devices in reached.items():
        yield guest.by_key[key], devices


def _without_global(guest: Guest, name: str, reached: dict[int, list[Part]]) -> Iterator[Breach]:
    for option, devices in _by_global(guest, reached):
        said = f"-global {option.type}.{name}={option.text(name)}"
        yield Breach(
            f"{said} reaches {_listed(devices)}",
            option,
            (Remove(option.key),),
            f"without {said}",
            remedy="remove it",
        )


def _listed(devices: list[Part]) -> str:
    more = len(devices) - 1
    return devices[0].label() + (f" and {more} more" if more else "")


def _shown(value: Value) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


RULES = (
    Rule(
        "SQ301",
        "A virtio device that does not go through the platform's DMA interface",
        Severity.ERROR,
        _access_platform,
        why="Without iommu_platform=on a driver hands the device the addresses of its private buffers, and the "
        "host would read ciphertext from them, or nothing. QEMU 6.0 and later make it the default when the "
        "machine names a protection object, but whatever is said of a device, by -set or by -global, wins.",
        broken="QEMU 7.2, 10.0 and 11.1 start such a guest without a word, even with disable-legacy=off beside it "
        "(tried with the machine property under TCG, up to the point where the hardware is missing). In the "
        'guest Linux refuses the device: "device must provide VIRTIO_F_ACCESS_PLATFORM" (s390 since 5.10, SEV '
        "since 5.13, TDX since 5.19; from the kernel's source); an older kernel or another system hangs on its "
        "first request.",
        remedy="remove the setting, or set iommu_platform=on",
        references=(_CGS_DOC, _VIRTIO, _LINUX),
        limits=_READ,
    ),
    Rule(
        "SQ302",
        "A virtio-pci device that speaks legacy virtio",
        Severity.ERROR,
        _legacy,
        why="iommu_platform needs virtio 1, and a device that also offers the legacy interface cannot have it.",
        broken='QEMU 7.2, 10.0 and 11.1 refuse to start: "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy '
        'nor transitional device"; for disable-legacy=off, for every -transitional model, and for '
        "disable-legacy=auto anywhere but below a PCI Express port.",
        remedy="set disable-legacy=on, or use the -non-transitional model",
        references=(_CGS_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ303",
        "A virtio-pci device without virtio 1",
        Severity.ERROR,
        _modern,
        why="A protected guest needs the modern interface: the legacy one has no way to offer iommu_platform. "
        "Machine types up to 2.6 turn it off for every device.",
        broken='QEMU 7.2, 10.0 and 11.1 refuse to start: "device cannot work as neither modern nor legacy mode is '
        'enabled", with the hint "Set either disable-modern or disable-legacy to off", of which only the first '
        "helps. The same with machine pc-i440fx-2.6, pc-q35-2.6 and pseries-2.6 and no such option at all "
        "(7.2; the pc machines also 10.0).",
        remedy="remove disable-modern=on",
        references=(_CGS_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ304",
        "virtio-mmio left in its legacy mode",
        Severity.ERROR,
        _mmio,
        why="virtio-mmio's property force-legacy is on by default, on every machine, and no protection object "
        "changes that; a legacy transport shows the guest no feature beyond bit 31.",
        broken="QEMU 7.2, 10.0 and 11.1 start without a word, although iommu_platform reads on: on microvm and on "
        "aarch64's virt (10.0, 11.1) the transport's version register says 1, and 2 with "
        '-global virtio-mmio.force-legacy=off. Linux then refuses the device: "device must provide '
        'VIRTIO_F_VERSION_1" (from its source).',
        remedy="add -global virtio-mmio.force-legacy=off",
        references=("https://www.qemu.org/docs/master/system/i386/microvm.html", _LINUX),
        limits=_READ,
    ),
    Rule(
        "SQ305",
        "A virtio-ccw device held at the legacy revision",
        Severity.ERROR,
        _ccw,
        why="Revision 0 is legacy virtio: the device no longer offers virtio 1, on which iommu_platform rests.",
        broken="QEMU 7.2, 10.0 and 11.1 start without a word; x-query-virtio-status of 7.2 and 10.0 still lists "
        "VIRTIO_F_IOMMU_PLATFORM and no longer VIRTIO_F_VERSION_1. Machine s390-ccw-virtio-2.4 has revision 0 as "
        'its default (7.2). Linux in the protected guest refuses the device: "device must provide '
        'VIRTIO_F_VERSION_1" (from its source).',
        remedy="remove max_revision=0",
        references=(_VIRTIO, _LINUX),
        limits=_READ,
    ),
    *BACKEND_RULES,
)
