"""The processor: ``<cpu>``, ``<vcpu>``, and the features that sit under ``<features>`` and ``<clock>``.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildCpuCommandLine`, `qemuBuildSmpCommandLine`),
src/qemu/qemu_capabilities.c (translation of feature names), docs/formatdomain.rst.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading

MODES = {"host-passthrough": "host", "host-model": "host", "maximum": "max"}
"""``<cpu mode>`` and the model it means; host-model is the nearest that QEMU itself can say."""

POLICIES = {"force": "on", "require": "on", "disable": "off", "forbid": "off"}

FEATURE_NAMES = {
    "cmp_legacy": "cmp-legacy",
    "ds_cpl": "ds-cpl",
    "fxsr_opt": "fxsr-opt",
    "kvm_pv_eoi": "kvm-pv-eoi",
    "kvm_pv_unhalt": "kvm-pv-unhalt",
    "lahf_lm": "lahf-lm",
    "nodeid_msr": "nodeid-msr",
    "pclmuldq": "pclmulqdq",
    "perfctr_core": "perfctr-core",
    "perfctr_nb": "perfctr-nb",
    "tsc_adjust": "tsc-adjust",
    "vmx-invvpid-single-noglobals": "vmx-invept-single-context-noglobals",
}
"""libvirt's names of CPU features where they are not QEMU's (`virQEMUCapsCPUFeatures*`)."""

HYPERV = {
    "relaxed": "hv-relaxed",
    "vapic": "hv-vapic",
    "vpindex": "hv-vpindex",
    "runtime": "hv-runtime",
    "synic": "hv-synic",
    "stimer": "hv-stimer",
    "reset": "hv-reset",
    "frequencies": "hv-frequencies",
    "reenlightenment": "hv-reenlightenment",
    "tlbflush": "hv-tlbflush",
    "ipi": "hv-ipi",
    "evmcs": "hv-evmcs",
    "avic": "hv-avic",
    "emsr_bitmap": "hv-emsr-bitmap",
    "xmm_input": "hv-xmm-input",
}
HYPERV_VALUES = {"vendor_id": ("value", "hv-vendor-id"), "spinlocks": ("retries", "hv-spinlocks")}

KVM_SWITCHES = {
    "hidden": ("kvm", {"on": "off"}),
    "hint-dedicated": ("kvm-hint-dedicated", {"on": "on"}),
    "poll-control": ("kvm-poll-control", {"on": "on"}),
    "pv-ipi": ("kvm-pv-ipi", {"off": "off"}),
}
"""``<features><kvm><NAME state>``: the CPU property, and its value for each state that has one."""

_TIMERS = {
    "kvmclock": "kvmclock",
    "hypervclock": "hv-time",
    "armvtimer": "kvm-no-adjvtime",
}
_CACHE = {
    "passthrough": {"host-cache-info": "on", "l3-cache": "off"},
    "emulate": {"l3-cache": "on", "host-cache-info": "off"},
    "disable": {"l3-cache": "off", "host-cache-info": "off"},
}


def processor(reading: Reading, top: dict[str, Element], features: dict[str, Element]) -> None:
    """Add the CPU model with its features."""
    cpu = top.get("cpu")
    properties: Props = {}
    kind = ""
    if cpu is not None:
        kind = _model(reading, cpu, properties)
    _from_features(features, properties)
    clock = top.get("clock")
    if clock is not None:
        _from_timers(clock, properties)
    if kind or properties or cpu is not None:
        reading.add("cpu", kind, properties, cpu)


def _model(reading: Reading, cpu: Element, properties: Props) -> str:
    mode = cpu.get("mode")
    model = cpu.find("model")
    kind = MODES.get(mode or "", "")
    if mode == "host-model":
        reading.leave_out("<cpu mode='host-model'>: libvirt works the model out on the host", cpu)
    elif mode in (None, "custom") and model is not None:
        kind = (model.text or "").strip()
    if kind == "host" and cpu.get("migratable"):
        properties["migratable"] = cpu.get("migratable")
    for child in cpu:
        tag = child.tag
        if tag == "feature":
            name = child.get("name", "")
            said = POLICIES.get(child.get("policy", "require"))
            if said:
                properties[FEATURE_NAMES.get(name, name)] = said
            else:
                reading.leave_out(f"<cpu><feature policy='{child.get('policy')}' name='{name}'>", child)
        elif tag == "cache":
            properties.update(_CACHE.get(child.get("mode", ""), {}))
        elif tag == "maxphysaddr":
            if child.get("mode") == "passthrough":
                properties["host-phys-bits"] = "on"
                if child.get("limit"):
                    properties["host-phys-bits-limit"] = child.get("limit")
            elif child.get("bits"):
                properties["phys-bits"] = child.get("bits")
    return kind


def _from_features(features: dict[str, Element], properties: Props) -> None:
    hyperv = features.get("hyperv")
    if hyperv is not None:
        if hyperv.get("mode") == "passthrough":
            properties["hv-passthrough"] = "on"
        for child in hyperv:
            if child.get("state") != "on":
                continue
            if child.tag in HYPERV:
                properties[HYPERV[child.tag]] = "on"
            elif child.tag in HYPERV_VALUES:
                attribute, prop = HYPERV_VALUES[child.tag]
                properties[prop] = child.get(attribute, "")
    kvm = features.get("kvm")
    if kvm is not None:
        for child in kvm:
            if child.tag in KVM_SWITCHES:
                prop, values = KVM_SWITCHES[child.tag]
                if child.get("state") in values:
                    properties[prop] = values[child.get("state", "")]
    for tag, prop in (("pmu", "pmu"), ("pvspinlock", "kvm-pv-unhalt")):
        state = features[tag].get("state") if tag in features else None
        if state:
            properties[prop] = state
    apic = features.get("apic")
    if apic is not None and apic.get("eoi"):
        properties["kvm-pv-eoi"] = apic.get("eoi")


def _from_timers(clock: Element, properties: Props) -> None:
    for timer in clock:
        name, present = timer.get("name", ""), timer.get("present")
        if name in _TIMERS and present:
            on = (present == "yes") != (name == "armvtimer")
            properties[_TIMERS[name]] = "on" if on else "off"
        elif name == "tsc" and timer.get("frequency"):
            properties["tsc-frequency"] = timer.get("frequency")


def topology(reading: Reading, top: dict[str, Element]) -> None:
    """Add the number of vCPUs and how they are laid out."""
    vcpu = top.get("vcpu")
    text = (vcpu.text or "1").strip() if vcpu is not None else "1"
    most = reading.to_int(vcpu, text or "1", "vcpu") if vcpu is not None else 1
    now = reading.number(vcpu, "current", most) if vcpu is not None else most
    properties: Props = {}
    if now != most:
        properties["maxcpus"] = str(most)
    cpu = top.get("cpu")
    laid_out = cpu.find("topology") if cpu is not None else None
    if laid_out is None:
        properties.update(sockets=str(most), cores="1", threads="1")
    else:
        for name in ("sockets", "dies", "clusters", "cores", "threads"):
            default = "1" if name in ("sockets", "cores", "threads") or reading.arch == "x86_64" else None
            value = laid_out.get(name, default)
            if value is not None:
                properties[name] = value
    reading.add("smp", str(now), properties, vcpu)
