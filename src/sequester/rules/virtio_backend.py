"""SQ3xx, second half: what is behind a virtio device, and what a device offers beside its rings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Remove, Unset
from sequester.guest.guest import Guest
from sequester.guest.part import Part, truth
from sequester.guest.virtio import is_vhost_user, kind
from sequester.platforms.limitation import Engagement, Limits
from sequester.platforms.registry import platforms
from sequester.rules.virtio_setting import globals_of, setting

_READ = int(Limits.READ_MEMORY)
_REFUSED = {"fs": (6, 0), "blk": (6, 0), "net": (6, 0), "rng": (10, 0), "i2c": (10, 0), "input": (10, 0)}
"""vhost-user devices that QEMU refuses with iommu_platform=on unless their backend offers it, by the first release
seen to: tried on 7.2, 10.0 and 11.1 with a backend that does not. vhost-user-scsi, -vsock and -gpu start."""
_NIC_SCAN_SINCE = (10, 0)
"""The first release seen to make an object of every network card's type when a PCI machine starts (7.2 does not)."""
_NO_PCI_NIC_SCAN = frozenset({"s390x"})
_NETWORK_CARDS = ("virtio-net", "e1000", "rtl8139", "i8255", "ne2k_pci", "pcnet", "vmxnet3", "tulip", "igb")


def _vhost_user(case: Case) -> Iterator[Breach]:
    guest, version = case.guest, case.qemu_version
    for part, way in guest.virtio_devices:
        if way != "pci" or not ("netdev" in part.properties or is_vhost_user(part)):
            continue
        what = kind(part)
        since = _REFUSED.get(what)
        if since is None or version < since or not (is_vhost_user(part) or _by_vhost_user(guest, part)):
            continue
        if what == "fs":
            yield Breach(
                f"{part.label()}: virtiofsd does not offer VIRTIO_F_ACCESS_PLATFORM, and QEMU refuses it so",
                part,
                severity=Severity.ERROR,
                remedy="share files by a virtio-blk disk or over the network instead, or by virtio-9p",
            )
        else:
            yield Breach(
                f"{part.label()} is served by a vhost-user backend, which QEMU refuses unless that offers "
                "VIRTIO_F_ACCESS_PLATFORM",
                part,
            )


def _by_vhost_user(guest: Guest, part: Part) -> bool:
    """Tell whether a virtio-net device's network backend is a vhost-user process."""
    netdev = part.text("netdev")
    backend = guest.by_id.get(netdev) if netdev else None
    return backend is not None and backend.group == "netdev" and backend.type == "vhost-user"


def _refused_global(case: Case) -> Iterator[Breach]:
    guest = case.guest
    if case.qemu_version < _NIC_SCAN_SINCE or guest.arch in _NO_PCI_NIC_SCAN:
        return
    for option in guest.of("global"):
        if option.type == "virtio-pci":
            for name in option.properties:
                if name in ("disable-legacy", "disable-modern"):
                    said = f"-global virtio-pci.{name}={option.text(name)}"
                    yield Breach(
                        f"{said}: this QEMU refuses it, whatever the devices",
                        option,
                        (Remove(option.key),),
                        f"without {said}",
                    )


def _scsi_passthrough(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if "scsi" in part.properties and kind(part) == "blk" and part.flag("scsi"):
            yield Breach(
                f"{part.label()} has scsi={part.text('scsi')}, which only legacy virtio had",
                part,
                (Unset(part.key, "scsi"),),
                f"{part.label()} without scsi",
            )


def _blob(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if "blob" in part.properties and part.flag("blob") and part.type.startswith("virtio-"):
            yield Breach(
                f"{part.label()} has blob=on: the host would read pictures from the guest's memory", part
            )


def _switchable(case: Case) -> Iterator[Breach]:
    guest = case.guest
    if guest.limitation is not None:
        return
    title = next(
        (
            title
            for arch, features, title in _switching()
            if arch == guest.arch and all(guest.cpu.flag(feature) for feature in features)
        ),
        "",
    )
    if not title:
        return
    given = globals_of(guest, "iommu_platform")
    for part, way in guest.virtio_devices:
        value, _ = setting(part, way, "iommu_platform", given, guest.arch)
        if truth(value) is not True:
            yield Breach(
                f"the guest may switch over to {title} by itself, and {part.label()} would stop working then",
                part,
            )


@cache
def _switching() -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """Return architecture, CPU features and title of each platform to which a guest can switch by itself."""
    return tuple(
        (arch, platform.demands.cpu_required, platform.title)
        for platform in platforms()
        if platform.engages is Engagement.AT_SWITCHOVER and platform.demands.cpu_required
        for arch in platform.architectures
    )


def _network_boot(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.demands.firmware:
        return
    for part in case.guest.devices:
        if "bootindex" not in part.properties or not part.type.startswith(_NETWORK_CARDS):
            continue
        if "romfile" not in part.properties and part.text("rombar") not in ("0", "off"):
            yield Breach(
                f"{part.label()} is among the boot devices and brings QEMU's option ROM, which is the host's code",
                part,
                remedy="add romfile= (libvirt: <rom enabled='no'/>); OVMF has its own virtio-net driver",
            )


BACKEND_RULES = (
    Rule(
        "SQ306",
        "A vhost-user backend that has to offer access-platform",
        Severity.WARNING,
        _vhost_user,
        why="iommu_platform=on is offered to the guest only when the process behind the device agrees, and QEMU asks "
        "for its reply-ack and backend-request protocol features too.",
        broken='QEMU refuses to start: "iommu_platform=true is not supported by the device"; or "IOMMU support '
        'requires reply-ack and backend-req protocol features". Tried with 7.2, 10.0 and 11.1: virtiofsd 1.14 and the '
        "one of QEMU 7.2 are refused always; a backend without the feature is for vhost-user-blk and -netdev "
        "vhost-user, from 10.0 on for vhost-user-rng, -i2c and -input. With iommu_platform=off QEMU starts, and the "
        "guest's driver refuses the device (SQ301). virtiofsd behind virtio-ccw or virtio-mmio is not refused.",
        remedy="use a backend that offers VIRTIO_F_ACCESS_PLATFORM, or a device that QEMU serves itself",
        references=(
            "https://github.com/AMDESE/AMDSEV/issues/269",
            "https://gitlab.com/virtio-fs/virtiofsd/-/issues/68",
            "QEMU hw/virtio/virtio-bus.c, virtio_bus_device_plugged",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ307",
        "A -global for virtio-pci that QEMU no longer takes",
        Severity.ERROR,
        _refused_global,
        why="The non-transitional models are virtio-pci too and do not have these properties; a PCI machine now makes "
        "one of each network card's type when it starts, to learn their names.",
        broken="QEMU 10.0 and 11.1 refuse to start: \"can't apply global virtio-pci.disable-legacy=on: Property "
        "'virtio-net-pci-non-transitional.disable-legacy' not found\"; on pc, q35, pseries and virt, with -nic none "
        "and without a virtio device as well. 7.2 and, on s390x, all of them take it.",
        remedy="remove it: a protected guest has that default; otherwise name the devices' own types "
        "(-global virtio-net-pci.disable-legacy=on)",
        limits=_READ,
    ),
    Rule(
        "SQ308",
        "SCSI commands passed through a virtio disk",
        Severity.ERROR,
        _scsi_passthrough,
        why="The feature was left out of virtio 1, which a protected guest needs.",
        broken='QEMU 7.2 refuses to start: "Please set scsi=off for virtio-blk devices in order to use virtio 1.0"; '
        "10.0 and 11.1 no longer have the property.",
        remedy="remove scsi=on; use virtio-scsi with scsi-block for this",
        limits=_READ,
    ),
    Rule(
        "SQ309",
        "A graphics card that reads the guest's memory",
        Severity.WARNING,
        _blob,
        why="blob=on has the host map the pages of a picture (by udmabuf) instead of copying it, and those pages are "
        "the guest's private memory or a bounce buffer of one moment.",
        broken="From reading QEMU hw/display/virtio-gpu-udmabuf.c and Linux drivers/gpu/drm/virtio; not tried with "
        "hardware. QEMU 7.2, 10.0 and 11.1 ask for /dev/udmabuf beside the machine property, and for nothing else.",
        remedy="remove blob=on",
        limits=_READ,
    ),
    Rule(
        "SQ310",
        "A guest that can switch over, with devices that cannot",
        Severity.NOTE,
        _switchable,
        why="With the CPU feature alone a guest's image can ask for protection, and QEMU gives iommu_platform as a "
        "default only when the machine names a protection object.",
        broken="Without the machine property QEMU 7.2, 10.0 and 11.1 leave iommu_platform off, and QEMU's manual wants "
        'the IOMMU for all I/O devices of such guests. Once protected, Linux refuses the device: "device must '
        'provide VIRTIO_F_ACCESS_PLATFORM" (from its source).',
        remedy="name a protection object in -machine, or set iommu_platform=on on each virtio device; or turn the CPU "
        "feature off",
        references=("https://www.qemu.org/docs/master/system/s390x/protvirt.html",),
        unlimited=True,
    ),
    Rule(
        "SQ311",
        "Network boot by an option ROM",
        Severity.NOTE,
        _network_boot,
        why="The ROM is code that the host supplies and no launch measures.",
        broken='OVMF before 2023 runs it: an SEV guest then stopped at "Invalid MMIO opcode (F6)" '
        "(edk2 issue 9183). Later ones ignore option ROMs in TDX (since May 2022) and SEV guests (since February "
        "2023), so that the ROM only costs time. From edk2's history; not tried.",
        remedy="add romfile= to the card",
        references=(
            "https://github.com/tianocore/edk2/issues/9183",
            "https://libvirt.org/kbase/launch_security_sev.html",
        ),
        limits=_READ,
    ),
)
