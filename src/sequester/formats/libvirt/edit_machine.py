"""Changes to the machine as a whole: features, processor, memory, firmware, kernel, what follows a reboot."""

from __future__ import annotations

from sequester.formats.libvirt import machine as reader
from sequester.formats.libvirt import processor as cpu_reader
from sequester.formats.libvirt.editing import Editing
from sequester.formats.xml_splice import Node
from sequester.guest.change import Remove, Retype, Set, Unset
from sequester.guest.part import Part, truth

Edit = Set | Unset | Retype | Remove

_STATES = {prop: tag for tag, prop in reader.FEATURE_STATES.items()}
_VALUES = {prop: (tag, "value") for tag, prop in reader.FEATURE_VALUES.items()} | {
    "resize-hpt": ("hpt", "resizing"),
    "gic-version": ("gic", "version"),
}
_CHIPS = {said: driver for driver, said in reader.IRQCHIP.items()}
_DOMAIN_TYPES = {accel: kind for kind, accel in reader.ACCELERATORS.items()}
_MODES = {"host": "host-passthrough", "max": "maximum"}
_FEATURE_NAMES = {theirs: ours for ours, theirs in cpu_reader.FEATURE_NAMES.items()}
_VALUED = {prop: tag for tag, (_, prop) in cpu_reader.HYPERV_VALUES.items()}
_HYPERV = {prop: tag for tag, prop in cpu_reader.HYPERV.items()} | _VALUED
_KVM = {prop: (tag, values) for tag, (prop, values) in cpu_reader.KVM_SWITCHES.items()}
_KERNEL = {"kernel": "kernel", "initrd": "initrd", "append": "cmdline", "dtb": "dtb", "shim": "shim"}
_DECIDED_BY_LIBVIRT = frozenset({"usb", "memory-backend", "nvdimm"})
_UNITS = {"": 1 << 20, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def machine(editing: Editing, part: Part, change: Edit) -> bool:
    """Change a property of the machine, or its type."""
    if isinstance(change, Retype):
        place = editing.splice.child(editing.top("os"), "type")
        if place is None:
            return False
        editing.splice.set(place, "machine", change.type)
        return True
    if isinstance(change, Remove):
        return False
    name = change.name
    value = editing.text(change.value) if isinstance(change, Set) else None
    on = truth(value)
    if name == "mem-merge":
        return _present(editing, "memoryBacking", "nosharepages", on is False)
    if name == "dump-guest-core":
        memory = editing.find("memory")
        if memory is not None:
            editing.splice.set(memory, "dumpCore", value)
        return memory is not None
    if name == "acpi" and editing.document.guest.arch in reader.ACPI_ARCHES:
        return _present(editing, "features", "acpi", on is not False)
    if name in _STATES:
        return _feature(editing, _STATES[name], "state", value)
    if name in _VALUES:
        return _feature(editing, *_VALUES[name], value)
    if name == "kernel-irqchip":
        if value is not None and value not in _CHIPS:
            return False
        return _feature(editing, "ioapic", "driver", None if value is None else _CHIPS[value])
    if name == "hpet":
        return _timer(editing, "hpet", None if value is None else "yes" if on else "no")
    if name in ("pflash0", "pflash1") and value is None:
        return _without_flash(editing, variables_only=name == "pflash1")
    return name in _DECIDED_BY_LIBVIRT and value == part.text(name)


def _present(editing: Editing, parent: str, tag: str, wanted: bool) -> bool:
    splice = editing.splice
    if wanted:
        splice.need(editing.top(parent), tag)
        return True
    place = editing.find(parent)
    editing.drop(place, tag)
    if parent == "memoryBacking" and place is not None and splice.is_empty(place):
        splice.remove(editing.domain, place)
    return True


def _feature(editing: Editing, tag: str, attribute: str, value: str | None) -> bool:
    if value is None:
        editing.drop(editing.find("features"), tag)
        return True
    place = editing.splice.need(editing.top("features"), tag)
    editing.splice.set(place, attribute, value)
    return True


def _timer(editing: Editing, name: str, present: str | None) -> bool:
    splice = editing.splice
    clock = editing.find("clock")
    if clock is None:
        if present is None:
            return True
        clock = editing.top("clock")
        splice.set(clock, "offset", "utc")
    timer = next((child for child in splice.children(clock) if splice.get(child, "name") == name), None)
    if present is None:
        if timer is not None:
            splice.remove(clock, timer)
        return True
    if timer is None:
        timer = splice.add(clock, Node("timer", {"name": name}))
    splice.set(timer, "present", present)
    return True


def accelerator(editing: Editing, part: Part, change: Edit) -> bool:
    """Change what runs the guest."""
    if not isinstance(change, Retype) or change.type not in _DOMAIN_TYPES:
        return False
    editing.splice.set(editing.domain, "type", _DOMAIN_TYPES[change.type])
    return True


def processor(editing: Editing, part: Part, change: Edit) -> bool:
    """Change the processor's model or one of its features."""
    if isinstance(change, Retype):
        return _model(editing, change.type)
    if isinstance(change, Remove):
        return False
    name = change.name
    value = editing.text(change.value) if isinstance(change, Set) else None
    state = None if value is None else "on" if truth(value) else "off"
    if name == "migratable":
        cpu = editing.find("cpu")
        if cpu is not None:
            editing.splice.set(cpu, "migratable", value)
        return cpu is not None
    if name in ("pmu", "kvm-pv-unhalt"):
        return _feature(editing, "pmu" if name == "pmu" else "pvspinlock", "state", state)
    if name in _HYPERV and (state is None or name not in _VALUED):
        return _nested(editing, "hyperv", _HYPERV[name], state)
    if name in _KVM:
        tag, values = _KVM[name]
        said = next((key for key, meant in values.items() if meant == state), None)
        return _nested(editing, "kvm", tag, said) if value is None or said else False
    if name == "hv-time":
        return _timer(editing, "hypervclock", None if state is None else "yes" if state == "on" else "no")
    if name == "kvmclock":
        return _timer(editing, "kvmclock", None if state is None else "yes" if state == "on" else "no")
    if value is not None and truth(value) is None:
        return False
    return _cpu_feature(editing, name, state)


def _nested(editing: Editing, parent: str, tag: str, state: str | None) -> bool:
    splice = editing.splice
    place = editing.find("features", parent)
    if state is None:
        editing.drop(place, tag)
        features = editing.find("features")
        if place is not None and features is not None and splice.is_empty(place):
            splice.remove(features, place)
        return True
    if place is None:
        place = splice.need(editing.top("features"), parent)
    splice.set(splice.need(place, tag), "state", state)
    return True


def _cpu_feature(editing: Editing, name: str, state: str | None) -> bool:
    splice = editing.splice
    cpu = editing.find("cpu")
    if cpu is None:
        return False
    theirs = {name, _FEATURE_NAMES.get(name, name)}
    feature = next(
        (c for c in splice.children(cpu) if c.tag == "feature" and splice.get(c, "name") in theirs), None
    )
    if state is None:
        if feature is not None:
            splice.remove(cpu, feature)
        return feature is not None
    if feature is None:
        feature = splice.add(cpu, Node("feature"), frozenset({"numa"}))
    splice.set(feature, "policy", "require" if state == "on" else "disable")
    splice.set(feature, "name", _FEATURE_NAMES.get(name, name))
    return True


def _model(editing: Editing, model: str) -> bool:
    splice = editing.splice
    cpu = editing.top("cpu")
    child = splice.child(cpu, "model")
    if model in _MODES:
        splice.set(cpu, "mode", _MODES[model])
        splice.set(cpu, "match", None)
        splice.set(cpu, "check", "none" if splice.get(cpu, "check") else None)
        if child is not None:
            splice.remove(cpu, child)
        editing.drop(cpu, "vendor")
        return True
    if not model:
        return False
    splice.set(cpu, "mode", "custom")
    splice.set(cpu, "match", "exact")
    splice.set(cpu, "migratable", None)
    if child is None:
        child = splice.add(cpu, Node("model"), frozenset({"topology", "feature", "numa", "vendor"}))
    splice.set(child, "fallback", "forbid")
    splice.set_text(child, model)
    return True


def memory_size(editing: Editing, part: Part, change: Edit) -> bool:
    """Change how much memory there is."""
    if not isinstance(change, Retype) or editing.find("cpu", "numa") is not None:
        return False
    text = change.type.strip().lower()
    unit = text.lstrip("0123456789.")
    number = text.removesuffix(unit)
    if unit not in _UNITS or not number.isdecimal():
        return False
    for tag in ("memory", "currentMemory"):
        place = editing.find(tag)
        if place is not None or tag == "memory":
            place = editing.top(tag)
            editing.splice.set(place, "unit", "KiB")
            editing.splice.set_text(place, str(int(number) * _UNITS[unit] >> 10))
    return True


def virtual_cpus(editing: Editing, part: Part, change: Edit) -> bool:
    """Change the number of vCPUs, or take the possibility of more away."""
    place = editing.find("vcpu")
    if isinstance(change, Retype) and change.type.isdecimal() and editing.find("cpu", "topology") is None:
        place = editing.top("vcpu")
        editing.splice.set(place, "current", None)
        editing.splice.set_text(place, change.type)
        return True
    alone = isinstance(change, Unset) and change.name == "maxcpus"
    equal = isinstance(change, Set) and change.name == "maxcpus" and editing.text(change.value) == part.type
    if place is None or not (alone or equal) or editing.find("cpu", "topology") is not None:
        return False
    editing.splice.set(place, "current", None)
    editing.splice.set_text(place, part.type)
    return True


def overcommit(editing: Editing, part: Part, change: Edit) -> bool:
    """Lock the guest's memory, or no longer."""
    if isinstance(change, (Set, Unset)) and change.name == "mem-lock":
        wanted = isinstance(change, Set) and truth(change.value) is True
        return _present(editing, "memoryBacking", "locked", wanted)
    return False


def action(editing: Editing, part: Part, change: Edit) -> bool:
    """Change what follows a reboot or a panic."""
    if isinstance(change, Remove):
        said = [_event(editing, name, None) for name in part.properties]
        return all(said)
    if isinstance(change, (Set, Unset)):
        return _event(editing, change.name, editing.text(change.value) if isinstance(change, Set) else None)
    return False


def _event(editing: Editing, name: str, value: str | None) -> bool:
    words = {
        "reboot": ("on_reboot", {None: "restart", "reset": "restart", "shutdown": "destroy"}),
        "panic": ("on_crash", {None: "destroy", "shutdown": "destroy", "pause": "preserve"}),
    }
    if name not in words or value not in words[name][1]:
        return False
    tag, said = words[name]
    editing.splice.set_text(editing.top(tag), said[value])
    return True


def global_property(editing: Editing, part: Part, change: Edit) -> bool:
    """Change one of the ``-global`` properties that libvirt's own elements make."""
    place = editing.document.elements.get(part.key)
    name, old = next(iter(part.properties.items()), ("", ""))
    if place is None or isinstance(change, Retype):
        return False
    value = editing.text(change.value) if isinstance(change, Set) else None
    if name == "secure":
        editing.splice.set(place, "secure", "yes" if value is not None and truth(value) else None)
        return True
    if name in ("disable_s3", "disable_s4"):
        editing.splice.set(place, "enabled", "yes" if value in (None, "0") else "no")
        return True
    return value == editing.text(old)


def boot_file(editing: Editing, part: Part, change: Edit) -> bool:
    """Change the path of the kernel, the firmware ..., or the kernel's command line."""
    os_element = editing.top("os")
    tag = _KERNEL.get(part.group, "loader")
    if isinstance(change, Remove):
        editing.drop(os_element, tag)
        return True
    if not isinstance(change, Retype):
        return False
    if tag == "loader":
        return use_rom(editing, change.type)
    editing.splice.set_text(editing.splice.need(os_element, tag), change.type)
    return True


def use_rom(editing: Editing, path: str) -> bool:
    """Boot a firmware image as ROM, without variables."""
    splice = editing.splice
    os_element = editing.top("os")
    splice.set(os_element, "firmware", None)
    for tag in ("firmware", "nvram"):
        editing.drop(os_element, tag)
    later = frozenset({"kernel", "initrd", "cmdline", "boot", "bootmenu"})
    loader = splice.need(os_element, "loader", later)
    for name in ("readonly", "secure", "format"):
        splice.set(loader, name, None)
    splice.set(loader, "type", "rom")
    splice.set(loader, "stateless", "yes")
    splice.set_text(loader, path)
    return True


def _without_flash(editing: Editing, *, variables_only: bool) -> bool:
    splice = editing.splice
    os_element = editing.top("os")
    loader = splice.child(os_element, "loader")
    if loader is None or splice.get(loader, "type") == "rom":
        return True  # gone with the other flash, or a ROM by now
    editing.drop(os_element, "nvram")
    if variables_only:
        splice.set(loader, "stateless", "yes")
    else:
        splice.remove(os_element, loader)
    return True


def identity(editing: Editing, part: Part, change: Edit) -> bool:
    """Change the guest's name or UUID."""
    if not isinstance(change, Retype):
        return False
    editing.splice.set_text(editing.top(part.group), change.type)
    return True
