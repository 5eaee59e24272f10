"""From a QEMU's answers to the guest as the rules know it: every part with the properties that it really has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sequester.audit.asking import Seen, boolean, command, integer, record, records, string
from sequester.audit.doors import add_chardevs, add_displays
from sequester.audit.parts import Parts
from sequester.audit.questions import (
    ALWAYS,
    ANONYMOUS,
    BY_KIND,
    BY_TRANSPORT,
    BY_TYPE,
    LINK,
    MACHINE,
    NODES,
    OBJECTS,
    PERIPHERAL,
    Answered,
    Place,
    cpu_features,
    protection_properties,
    transport_bus,
)
from sequester.guest.guest import Guest, complete
from sequester.guest.part import Part, Value
from sequester.guest.virtio import kind, transport
from sequester.platforms.registry import object_types

_MACHINE_SUFFIX, _CPU_SUFFIX = "-machine", "-cpu"
_DEFAULT_FIRMWARE = frozenset(
    {
        "",
        "bios.bin",
        "bios-256k.bin",
        "bios-microvm.bin",
        "qboot.rom",
        "slof.bin",
        "skiboot.lid",
        "s390-ccw.img",
    }
)
"""What the machine's property says where nobody named firmware (MachineClass.default_firmware of 7.2 to 11.1)."""
_SWITCHES = ("smm", "pic", "aux-ram-share", "iommu")
_BOOT = ("kernel", "initrd", "append", "shim")
_UNSAID = (None, "", "auto")
_FROM_MEMDEV = ("share", "prealloc", "policy", "host-nodes")
_FROM_MEMDEV_UNSAID: tuple[Value, ...] = (False, "default", [])
_PLAIN = frozenset({"hotplugged", "parent_bus"})


def guest_of(told: Answered, mergeable: bool | None) -> tuple[Guest, dict[str, int]]:
    """Return the guest, and the keys of its devices by path in QEMU's tree.

    `mergeable` is what the kernel says of KSM, where it says it: QEMU's own word on that is not to be trusted.
    Raises GuestError for answers that are none.
    """
    parts = Parts()
    _machine(parts, told, mergeable)
    devices = {place.path: parts.add("device", place.type, *_device(told, place)) for place in told.devices}
    add_chardevs(parts, told)  # before objects: a monitor's object has its character device's id
    _objects(parts, told)
    _transports(parts, told)
    add_displays(parts, told.seen)
    return complete(told.arch, "", parts.made), devices


def says_mergeable(seen: Seen) -> bool:
    """Tell whether QEMU's own answers have KSM on for main memory."""
    main = seen.text(MACHINE, "memory-backend").rpartition("/")[2]
    backend = next((one for one in _memdevs(seen) if one.get("id") == main), {})
    return bool(backend.get("merge")) or seen.property(MACHINE, "mem-merge") is True


def protection_path(seen: Seen) -> str:
    """Return the path of the object that the machine names as its protection, '' for none."""
    return seen.text(MACHINE, LINK)


def _machine(parts: Parts, told: Answered, mergeable: bool | None) -> None:
    seen = told.seen
    said = {name: seen.property(MACHINE, name) for name in _SWITCHES}
    properties = {name: value for name, value in said.items() if value not in _UNSAID}
    path = protection_path(seen)
    if path:
        properties[LINK] = path.rpartition("/")[2]
    merge = says_mergeable(seen) if mergeable is None else mergeable
    properties["mem-merge"] = merge
    dump = seen.property(MACHINE, "dump-guest-core")
    if dump is not None:
        properties["dump-guest-core"] = boolean(dump)
    backend = seen.text(MACHINE, "memory-backend")
    if backend:
        properties["memory-backend"] = backend.rpartition("/")[2]
    igvm = seen.text(MACHINE, "igvm-cfg")
    if igvm:
        properties["igvm-cfg"] = igvm.rpartition("/")[2]
    flashes = [(name, node) for name in ("pflash0", "pflash1") if (node := seen.text(MACHINE, name))]
    properties.update(flashes)
    parts.add("machine", seen.text(MACHINE, "type").removesuffix(_MACHINE_SUFFIX), properties, path=MACHINE)
    parts.add("accel", _accelerator(seen))
    _processor(parts, told)
    _memory(parts, seen)
    for name in _BOOT:
        if given := seen.text(MACHINE, name):
            parts.add(name, given)
    firmware = seen.text(MACHINE, "firmware")
    if firmware not in _DEFAULT_FIRMWARE and not flashes:
        parts.add("bios", firmware)
    for _, node in flashes:
        parts.add("blockdev", *_flash(seen, node), node)
    called = record(seen.value(command("query-name"))).get("name")
    if called:
        parts.add("name", string(called))


def _accelerator(seen: Seen) -> str:
    named = record(seen.value(command("query-accelerators"))).get("enabled")  # QEMU 10.2 and later
    if named:
        return string(named)
    return "kvm" if record(seen.value(command("query-kvm"))).get("enabled") else "tcg"


def _processor(parts: Parts, told: Answered) -> None:
    seen, cpu = told.seen, told.cpu
    cpus = records(seen.value(command("query-cpus-fast")))
    model = seen.text(cpu, "type").removesuffix(_CPU_SUFFIX)
    for arch in (told.arch, "powerpc64", "powerpc", "arm"):
        model = model.removesuffix(f"-{arch}")
    flags = {name: seen.property(cpu, name) for name in ("host-phys-bits", *cpu_features())}
    # Without KVM the property is off by default, and nobody said so.
    known = {name: boolean(value) for name, value in flags.items() if value is not None}
    if not known.get("host-phys-bits"):
        known.pop("host-phys-bits", None)
    parts.add("cpu", model, dict(known))
    smp = record(seen.property(MACHINE, "smp"))
    most = {"maxcpus": integer(smp["maxcpus"])} if "maxcpus" in smp else {}
    parts.add("smp", str(len(cpus)), dict(most))


def _memory(parts: Parts, seen: Seen) -> None:
    size = record(seen.value(command("query-memory-size-summary"))).get("base-memory")
    configured = record(seen.property(MACHINE, "memory"))
    more: dict[str, Value] = {}
    if "max-size" in configured and configured.get("slots"):
        more = {"slots": integer(configured["slots"]), "maxmem": f"{integer(configured['max-size'])}b"}
    parts.add("m", f"{integer(size)}b" if size is not None else "", more)


def _flash(seen: Seen, node: str) -> tuple[str, dict[str, Value]]:
    """Return driver and properties of the block node, or of the drive, under a flash."""
    for block in records(seen.value(NODES)):
        if block.get("node-name") == node:
            return _node(block, node)
    for drive in records(seen.value(command("query-block"))):
        if drive.get("device") == node and "inserted" in drive:
            return _node(record(drive["inserted"]), node)
    return "", {"node-name": node}


def _node(block: dict[str, Any], node: str) -> tuple[str, dict[str, Value]]:
    file, read_only = string(block.get("file", "")), boolean(block.get("ro", False))
    return string(block.get("drv", "")), {"node-name": node, "filename": file, "read-only": read_only}


def _device(told: Answered, place: Place) -> tuple[dict[str, Value], str, str]:
    part = Part("device", place.type)
    way = transport(part, told.arch)
    names = (*ALWAYS, *BY_TYPE.get(place.type, ()), *BY_TRANSPORT.get(way, ()))
    if way:
        names += BY_KIND.get(kind(part), ())
    found = {name: told.seen.property(place.path, name) for name in names if name not in _PLAIN}
    properties = {name: _link(value) for name, value in found.items() if value not in (None, "")}
    own = place.path.removeprefix(PERIPHERAL + "/")
    return properties, own if own != place.path and "/" not in own else place.path, place.path


def _link(value: Value) -> Value:
    """Return the id of the object that a property points at, or the value itself."""
    return value.rpartition("/")[2] if isinstance(value, str) and value.startswith(OBJECTS + "/") else value


def _memdevs(seen: Seen) -> list[dict[str, Any]]:
    return records(seen.value(command("query-memdev")))


def _objects(parts: Parts, told: Answered) -> None:
    seen = told.seen
    by_id = {string(one.get("id", "")): one for one in _memdevs(seen)}
    machine = parts.made[0]
    for path, type_of in told.objects:
        name = path.removeprefix(OBJECTS + "/")
        properties: dict[str, Value] = {}
        if type_of.startswith("memory-backend-"):
            properties = dict(_backend(seen, path, by_id.get(name, {}), machine))
        elif type_of.startswith("monitor-"):
            properties = {"chardev": seen.text(path, "chardev")}
        elif type_of in object_types():
            found = {given: seen.property(path, given) for given in protection_properties(type_of)}
            properties = {given: value for given, value in found.items() if value not in (None, "")}
        elif type_of == "igvm-cfg":
            properties = {"file": seen.text(path, "file")}
        parts.add("object", type_of, properties, name, path)


def _backend(seen: Seen, path: str, memdev: dict[str, Any], machine: Part) -> Iterator[tuple[str, Value]]:
    for name in ("mem-path", "hugetlb"):
        value = seen.property(path, name)
        if value:
            yield name, value
    for name in _FROM_MEMDEV:
        value = memdev.get(name)
        if value is not None and value not in _FROM_MEMDEV_UNSAID:
            yield name, value
    # Where a backend says what the machine says, nobody need have said it of the backend.
    for name, general in (("merge", "mem-merge"), ("dump", "dump-guest-core")):
        if memdev.get(name) is True and machine.get(general) is False and _not_main(path, machine, name):
            yield name, True


def _not_main(path: str, machine: Part, name: str) -> bool:
    """Tell whether a backend's word counts: the kernel's own on merging covers main memory."""
    return name != "merge" or path.rpartition("/")[2] != machine.get("memory-backend")


def _transports(parts: Parts, told: Answered) -> None:
    """Say of virtio-mmio what its transports say, where all of them agree that legacy is off."""
    seen = told.seen
    buses = [
        transport_bus(seen, place)
        for place in told.devices
        if transport(Part("device", place.type), told.arch) == "mmio"
    ]
    if buses and all(bus and seen.property(bus, "force-legacy") is False for bus in buses):
        parts.add("global", "virtio-mmio", {"force-legacy": False})


def by_place(path: str) -> bool:
    """Tell whether a device was asked for by somebody: QEMU's own boards put theirs elsewhere."""
    return path.startswith((PERIPHERAL + "/", ANONYMOUS + "/"))
