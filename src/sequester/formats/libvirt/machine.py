"""The machine: ``<os><type>``, ``<features>``, ``<clock>``, ``<pm>`` and what happens on reboot.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildMachineCommandLine`, `qemuBuildClockCommandLine`,
`qemuBuildPMCommandLine`), compared with the command lines that libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading, first_children
from sequester.guest.part import Part

ACCELERATORS = {"kvm": "kvm", "qemu": "tcg", "hvf": "hvf"}
"""``<domain type=...>`` of the guests that QEMU runs."""

QEMU_ARCH = {"i686": "i386", "armv7l": "arm", "armv6l": "arm", "ppc64le": "ppc64"}
"""libvirt's names of architectures where they are not QEMU's."""

DEFAULT_MACHINE = {
    "x86_64": "pc",
    "i386": "pc",
    "s390x": "s390-ccw-virtio",
    "ppc64": "pseries",
    "aarch64": "virt",
    "riscv64": "virt",
    "loongarch64": "virt",
}
"""What libvirt takes where ``<type>`` names no machine."""

RAM_IDS = (
    ("pc", "pc.ram"),
    ("q35", "pc.ram"),
    ("isapc", "pc.ram"),
    ("microvm", "microvm.ram"),
    ("s390-ccw-virtio", "s390.ram"),
    ("pseries", "ppc_spapr.ram"),
    ("powernv", "pnv.ram"),
)
"""The id under which each machine knows its main memory (MachineClass.default_ram_id)."""

_VIRT_RAM = {
    "aarch64": "mach-virt.ram",
    "arm": "mach-virt.ram",
    "riscv64": "riscv_virt_board.ram",
    "loongarch64": "loongarch.ram",
}
ACPI_ARCHES = frozenset({"x86_64", "i386", "aarch64"})

FEATURE_STATES = {
    "vmport": "vmport",
    "smm": "smm",
    "ps2": "i8042",
    "ras": "ras",
    "htm": "cap-htm",
    "nested-hv": "cap-nested-hv",
    "ccf-assist": "cap-ccf-assist",
}
"""``<features><NAME state='on|off'>`` and the machine property it becomes."""

FEATURE_VALUES = {"cfpc": "cap-cfpc", "sbbc": "cap-sbbc", "ibs": "cap-ibs"}
"""``<features><NAME value='...'>`` and the machine property it becomes."""

IRQCHIP = {"qemu": "split", "kvm": "on"}
"""``<features><ioapic driver=...>`` as ``kernel-irqchip``."""

_PM = {"suspend-to-mem": "disable_s3", "suspend-to-disk": "disable_s4"}


def ram_id(arch: str, machine: str) -> str:
    """Return the id of the machine's main memory, '' where it is not known."""
    stem = machine.split("-")[0] if not machine.startswith("s390") else "s390-ccw-virtio"
    if stem == "virt":
        return _VIRT_RAM.get(arch, "")
    return next((ram for prefix, ram in RAM_IDS if stem == prefix), "")


def machine(reading: Reading, top: dict[str, Element], features: dict[str, Element]) -> Part:
    """Add the machine with the properties that ``<features>``, ``<clock>`` and ``<memoryBacking>`` give it."""
    properties: Props = {"usb": "off"}
    _features(reading, features, properties)
    memory = top.get("memory")
    properties["dump-guest-core"] = (memory.get("dumpCore") if memory is not None else None) or "off"
    backing = top.get("memoryBacking")
    if backing is not None and backing.find("nosharepages") is not None:
        properties["mem-merge"] = "off"
    _key_wrap(top.get("keywrap"), properties)
    _timers(top.get("clock"), properties)
    if reading.arch in ACPI_ARCHES:
        properties["acpi"] = "on" if "acpi" in features else "off"
    os_element = top.get("os")
    kind = os_element.find("type") if os_element is not None else None
    return reading.add("machine", reading.machine, properties, kind)


def _features(reading: Reading, features: dict[str, Element], properties: Props) -> None:
    for tag, feature in features.items():
        if tag in FEATURE_STATES:
            state = feature.get("state")
            if state:
                properties[FEATURE_STATES[tag]] = state
            if tag == "smm":
                _tseg(reading, feature)
        elif tag in FEATURE_VALUES:
            if feature.get("value"):
                properties[FEATURE_VALUES[tag]] = feature.get("value")
        elif tag == "ioapic":
            driver = feature.get("driver", "")
            if driver in IRQCHIP:
                properties["kernel-irqchip"] = IRQCHIP[driver]
        elif tag == "hpt" and feature.get("resizing"):
            properties["resize-hpt"] = feature.get("resizing")
        elif tag == "gic":
            properties["gic-version"] = feature.get("version") or "2"
    if (
        "gic" not in features
        and not reading.uses_kvm
        and reading.arch in ("aarch64", "arm")
        and reading.machine.startswith("virt")
    ):
        properties["gic-version"] = "2"


def _tseg(reading: Reading, smm: Element) -> None:
    tseg = smm.find("tseg")
    if tseg is not None:
        from sequester.formats.libvirt.units import MIB, size

        amount = size(reading, tseg, "MiB")
        reading.add("global", "mch", {"extended-tseg-mbytes": str(amount // MIB)}, tseg)


def _key_wrap(keywrap: Element | None, properties: Props) -> None:
    if keywrap is not None:
        for cipher in keywrap:
            if cipher.get("name") in ("aes", "dea") and cipher.get("state"):
                properties[f"{cipher.get('name')}-key-wrap"] = cipher.get("state")


def _timers(clock: Element | None, properties: Props) -> None:
    if clock is not None:
        for timer in clock:
            if timer.get("name") == "hpet" and timer.get("present"):
                properties["hpet"] = "on" if timer.get("present") == "yes" else "off"


def clock(reading: Reading, element: Element | None) -> None:
    """Add the real-time clock and what the timers ask of it."""
    properties: Props = {"base": "utc"}
    if element is not None:
        offset = element.get("offset", "utc")
        if offset == "localtime":
            properties["base"] = "localtime"
        elif offset != "utc":
            reading.leave_out(f"<clock offset='{offset}'>: the clock starts at the host's UTC", element)
        for timer in element:
            name, policy = timer.get("name"), timer.get("tickpolicy")
            if name == "rtc":
                if policy == "catchup":
                    properties["driftfix"] = "slew"
                if timer.get("track") in ("guest", "wall"):
                    properties["clock"] = {"guest": "vm", "wall": "host"}[timer.get("track", "")]
            elif name == "pit" and reading.arch in ("x86_64", "i386") and policy in ("delay", "discard"):
                reading.add("global", "kvm-pit", {"lost_tick_policy": policy}, timer)
    reading.add("rtc", "", properties, element)


def power(reading: Reading, element: Element | None) -> None:
    """Add the sleep states that ``<pm>`` takes away."""
    if element is None or reading.arch not in ("x86_64", "i386"):
        return
    driver = "ICH9-LPC" if "q35" in reading.machine else "PIIX4_PM"
    for tag, prop in _PM.items():
        state = element.find(tag)
        if state is not None and state.get("enabled"):
            reading.add("global", driver, {prop: "0" if state.get("enabled") == "yes" else "1"}, state)


def events(reading: Reading, top: dict[str, Element]) -> None:
    """Add what follows a reboot or a panic, where that is not QEMU's default."""
    reboot = top.get("on_reboot")
    if reboot is not None:
        what = (reboot.text or "").strip()
        if what == "destroy":
            reading.add("action", "", {"reboot": "shutdown"}, reboot)
        elif what != "restart":
            reading.leave_out(f"<on_reboot>{what}", reboot)
    crash = top.get("on_crash")
    if crash is not None:
        what = (crash.text or "").strip()
        if what == "preserve":
            reading.add("action", "", {"panic": "pause"}, crash)
        elif what not in ("destroy", "restart", ""):
            reading.leave_out(f"<on_crash>{what}", crash)
    poweroff = top.get("on_poweroff")
    if poweroff is not None and (poweroff.text or "").strip() not in ("destroy", ""):
        reading.leave_out(f"<on_poweroff>{(poweroff.text or '').strip()}", poweroff)


def top_and_features(domain: Element) -> tuple[dict[str, Element], dict[str, Element]]:
    """Return a domain's children, and those of its ``<features>``, by tag."""
    top = first_children(domain)
    features = top.get("features")
    return top, {} if features is None else first_children(features)
