"""Which questions tell what a running guest is, in as few rounds as they depend on each other.

All of them only read, and are known to harm no QEMU from 7.2 to 11.1. `qom-list-get`, which reads every property there
is, is not among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sequester.audit.asking import Command, Seen, children, command, integer, prop, record, records, string
from sequester.errors import GuestError
from sequester.findings.case import Version
from sequester.guest.part import Part
from sequester.guest.virtio import kind, transport
from sequester.platforms.registry import object_types, platforms

MACHINE, OBJECTS, CHARDEVS = "/machine", "/objects", "/chardevs"
PERIPHERAL, ANONYMOUS, UNATTACHED = "/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached"
PARENTS = (PERIPHERAL, ANONYMOUS, UNATTACHED)
BACKEND = "/virtio-backend"
LINK = "confidential-guest-support"
STATUS_SAFE = ((7, 2), (10, 1))
"""From the first to before the second of these releases `x-query-virtio-status` is asked: 11.1.2 dies of it."""

_MOST_DEVICES = 4096
_CHILD = re.compile(r"child<([A-Za-z0-9_.,+-]{1,64})>")
_PATH = re.compile(r"/machine/[\x21-\x7e]{1,400}")

_VERSION = command("query-version")
_ONCE = (
    *("query-target", "query-status", "query-name", "query-kvm", "query-accelerators", "query-memdev"),
    *(
        "query-memory-size-summary",
        "query-migrate",
        "query-migrate-capabilities",
        "query-chardev",
        "query-vnc",
    ),
    *("query-spice", "query-sev", "query-cpus-fast", "query-block", "x-query-virtio"),
)
_MACHINE = (
    *(
        "type",
        LINK,
        "mem-merge",
        "dump-guest-core",
        "memory-backend",
        "memory",
        "smp",
        "smm",
        "pic",
        "kernel",
    ),
    *("initrd", "append", "shim", "firmware", "pflash0", "pflash1", "igvm-cfg", "aux-ram-share", "iommu"),
)
NODES = command("query-named-block-nodes", flat=True)

ALWAYS = ("hotplugged",)
BY_TRANSPORT = {
    "pci": ("iommu_platform", "disable-legacy", "disable-modern"),
    "ccw": ("iommu_platform", "max_revision"),
    "mmio": ("iommu_platform", "parent_bus"),
}
BY_KIND = {
    "balloon": ("free-page-reporting",),
    "blk": ("scsi",),
    "gpu": ("blob",),
    "vga": ("blob",),
    "9p": ("fsdev",),
}
BY_TYPE = {
    "virtserialport": ("name", "chardev"),
    "virtconsole": ("name", "chardev"),
    "isa-serial": ("chardev",),
    "spapr-vty": ("chardev",),
    "sclpconsole": ("chardev",),
    "pci-serial": ("chardev",),
    "vfio-pci": ("iommufd",),
    "nvdimm": ("memdev",),
    "pc-dimm": ("memdev",),
    "virtio-mem-pci": ("memdev",),
    "virtio-pmem-pci": ("memdev",),
    "ivshmem-plain": ("memdev",),
}
BACKEND_OBJECT = ("mem-path", "hugetlb")
"""What `query-memdev` does not tell of a memory backend."""
CPU_ALWAYS = ("type", "host-phys-bits")


@dataclass(frozen=True, slots=True)
class Place:
    """One device in QEMU's tree: its path, its type, and the path of the virtio device behind it ('' for none)."""

    path: str
    type: str
    behind: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """Everything that was asked, and where the devices and objects are.

    `objects` are pairs of path and type under ``/objects``; `cpu` is the path of the first vCPU, '' for none.
    """

    seen: Seen
    version: Version
    arch: str
    devices: tuple[Place, ...]
    objects: tuple[tuple[str, str], ...]
    cpu: str
    status_asked: bool


def ask(seen: Seen) -> Answered:
    """Ask a QEMU what its guest is. Raises GuestError for answers that are none."""
    once = [command(name) for name in _ONCE]
    machine = [prop(MACHINE, name) for name in _MACHINE]
    places = [children(path) for path in (PERIPHERAL, ANONYMOUS, UNATTACHED, OBJECTS, CHARDEVS)]
    seen.ask((_VERSION, *once, NODES, *machine, *places))
    qemu = record(record(seen.value(_VERSION)).get("qemu"))
    version = tuple(integer(qemu.get(part)) for part in ("major", "minor", "micro"))
    if not seen.answered(command("query-target")):  # it is not permitted before
        raise GuestError(
            "this QEMU has not made its machine yet",
            code="audit.preconfig",
            remedy="audit it once `x-exit-preconfig` has let it go on",
        )
    arch = string(record(seen.value(command("query-target"))).get("arch"))
    backends = _virtio(seen)
    listed = {path for parent in PARENTS for path, _ in _children(seen, parent)}
    seen.ask(prop(path, "type") for path in backends if path not in listed)
    devices = tuple(_devices(seen, arch, backends))
    if len(devices) > _MOST_DEVICES:
        raise GuestError(f"this QEMU says that it has {len(devices)} devices", code="qmp.answer")
    objects = tuple(_children(seen, OBJECTS))
    cpus = records(seen.value(command("query-cpus-fast")))
    cpu = string(cpus[0].get("qom-path", "")) if cpus else ""
    status = STATUS_SAFE[0] <= version < STATUS_SAFE[1]
    seen.ask(
        (
            *_of_devices(devices, arch, status),
            *_of_objects(objects),
            *_of_cpu(cpu),
        )
    )
    seen.ask(_of_mmio(seen, devices, arch))
    return Answered(seen, version, arch, devices, objects, cpu, status)


def status_of(place: Place) -> Command:
    """Return the question for what the driver of a virtio device negotiated."""
    return command("x-query-virtio-status", path=place.behind)


def transport_bus(seen: Seen, place: Place) -> str:
    """Return the path of the virtio-mmio transport that a device is on, '' where it is on none."""
    bus = seen.text(place.path, "parent_bus")
    return bus.rpartition("/")[0] if _PATH.fullmatch(bus) else ""


def _virtio(seen: Seen) -> dict[str, str]:
    """Return the paths of all virtio devices: the one on the bus, and the one behind it."""
    found = {}
    for entry in records(seen.value(command("x-query-virtio"))):
        path = string(entry.get("path"))
        if not _PATH.fullmatch(path):
            raise GuestError(f"this QEMU has a device at '{path[:80]}'", code="qmp.answer")
        found[path.removesuffix(BACKEND)] = path
        if len(found) > _MOST_DEVICES:
            raise GuestError(f"this QEMU has more than {_MOST_DEVICES} virtio devices", code="qmp.answer")
    return found


def _children(seen: Seen, parent: str) -> Iterator[tuple[str, str]]:
    for entry in records(seen.value(children(parent))):
        found = _CHILD.fullmatch(string(entry.get("type")))
        if found is not None:
            yield f"{parent}/{string(entry.get('name'))}", found[1]


def _devices(seen: Seen, arch: str, backends: dict[str, str]) -> Iterator[Place]:
    told = set()
    for parent in PARENTS:
        for path, kind_of in _children(seen, parent):
            behind = backends.get(path, "")
            ours = parent != UNATTACHED or behind or transport(Part("device", kind_of), arch)
            if ours and _PATH.fullmatch(path):
                told.add(path)
                yield Place(path, kind_of, behind or path + BACKEND)
    for path, behind in backends.items():
        if path not in told:
            yield Place(path, seen.text(path, "type"), behind)


def _of_devices(devices: tuple[Place, ...], arch: str, status: bool) -> Iterator[Command]:
    for place in devices:
        part = Part("device", place.type)
        way = transport(part, arch)
        for name in (*ALWAYS, *BY_TYPE.get(place.type, ()), *BY_TRANSPORT.get(way, ())):
            yield prop(place.path, name)
        if way:
            for name in BY_KIND.get(kind(part), ()):
                yield prop(place.path, name)
            if status:
                yield status_of(place)


def _of_objects(objects: tuple[tuple[str, str], ...]) -> Iterator[Command]:
    for path, type_of in objects:
        if type_of.startswith("memory-backend-"):
            yield from (prop(path, name) for name in BACKEND_OBJECT)
        elif type_of.startswith("monitor-"):
            yield prop(path, "chardev")
        elif type_of == "igvm-cfg":
            yield prop(path, "file")
        elif type_of in object_types():
            yield from (prop(path, name) for name in protection_properties(type_of))


def protection_properties(type_of: str) -> tuple[str, ...]:
    """Return the names of all properties of a protection object."""
    names = (
        given.name
        for platform in platforms()
        if platform.object_type == type_of
        for given in platform.properties
    )
    return tuple(dict.fromkeys(names))


def cpu_features() -> tuple[str, ...]:
    """Return the CPU features that any platform needs or refuses."""
    wanted = (
        feature
        for platform in platforms()
        for feature in (*platform.demands.cpu_required, *platform.demands.cpu_forbidden)
    )
    return tuple(dict.fromkeys(wanted))


def _of_cpu(path: str) -> Iterator[Command]:
    if _PATH.fullmatch(path):
        yield from (prop(path, name) for name in (*CPU_ALWAYS, *cpu_features()))


def _of_mmio(seen: Seen, devices: tuple[Place, ...], arch: str) -> Iterator[Command]:
    for place in devices:
        if transport(Part("device", place.type), arch) == "mmio":
            bus = transport_bus(seen, place)
            if bus:
                yield prop(bus, "force-legacy")
