"""Which elements and attributes of a domain the guest model holds. All others are named, so that nothing is
dropped in silence when a guest leaves for another format.

A name stands here when `libvirt_read` makes something of it, when it only describes (titles, metadata), or when
it says what libvirt does and QEMU is not told. Source: libvirt docs/formatdomain.rst, schemas/domaincommon.rng.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.carried_devices import ANY, BARE, DEVICES, STATE, TEXT, Known, known
from sequester.formats.libvirt.reading import Reading

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
COMMANDLINE = f"{{{QEMU_NAMESPACE}}}commandline"
OVERRIDE = f"{{{QEMU_NAMESPACE}}}override"

_CPU = known(
    "mode match check migratable",
    {
        "model": known("fallback vendor_id"),
        "vendor": TEXT,
        "topology": known("sockets dies clusters cores threads"),
        "feature": known("policy name"),
        "cache": known("mode level"),
        "maxphysaddr": known("mode bits limit"),
        "numa": known("", {"cell": known("id cpus memory unit memAccess discard"), "interconnects": ANY}),
    },
)

_FEATURES = known(
    "",
    {
        "acpi": BARE,
        "apic": known("eoi"),
        "pae": BARE,
        "hyperv": known(
            "mode",
            {
                **dict.fromkeys(
                    ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset"), STATE
                ),
                **dict.fromkeys(
                    ("frequencies", "reenlightenment", "tlbflush", "ipi", "evmcs", "avic"), STATE
                ),
                **dict.fromkeys(("emsr_bitmap", "xmm_input"), STATE),
                "spinlocks": known("state retries"),
                "vendor_id": known("state value"),
            },
        ),
        "kvm": known(
            "",
            {
                "hidden": STATE,
                "hint-dedicated": STATE,
                "poll-control": STATE,
                "pv-ipi": STATE,
                "dirty-ring": known("state size"),
            },
        ),
        "pvspinlock": STATE,
        "pmu": STATE,
        "vmport": STATE,
        "smm": known("state", {"tseg": known("unit")}),
        "ps2": STATE,
        "ioapic": known("driver"),
        "gic": known("version"),
        "ras": STATE,
        "hpt": known("resizing"),
        "htm": STATE,
        "nested-hv": STATE,
        "ccf-assist": STATE,
        "cfpc": known("value"),
        "sbbc": known("value"),
        "ibs": known("value"),
        "vmcoreinfo": STATE,
    },
)

_OS = known(
    "firmware",
    {
        "type": known("arch machine"),
        "firmware": ANY,
        "loader": known("readonly secure type stateless format"),
        "nvram": known("template type format templateFormat", {"source": ANY}),
        "kernel": TEXT,
        "initrd": TEXT,
        "cmdline": TEXT,
        "dtb": TEXT,
        "shim": TEXT,
        "boot": known("dev"),
        "bootmenu": known("enable timeout"),
        "bios": known("rebootTimeout"),
        "acpi": ANY,
    },
)

_UNKNOWN: Known = (frozenset(), None)

DOMAIN = known(
    "type id",
    {
        "name": TEXT,
        "uuid": TEXT,
        "genid": TEXT,
        "title": TEXT,
        "description": TEXT,
        "metadata": ANY,
        "memory": known("unit dumpCore"),
        "currentMemory": known("unit"),
        "maxMemory": known("unit slots"),
        "memoryBacking": known(
            "",
            {
                "hugepages": known("", {"page": known("size unit nodeset")}),
                "nosharepages": BARE,
                "locked": BARE,
                "source": known("type"),
                "access": known("mode"),
                "allocation": known("mode threads"),
                "discard": BARE,
            },
        ),
        "vcpu": known("placement current"),
        "iothreads": TEXT,
        "iothreadids": known("", {"iothread": known("id")}),
        "os": _OS,
        "features": _FEATURES,
        "cpu": _CPU,
        "clock": known(
            "offset adjustment basis timezone start",
            {"timer": known("name tickpolicy present frequency track")},
        ),
        "pm": known("", {"suspend-to-mem": known("enabled"), "suspend-to-disk": known("enabled")}),
        "on_poweroff": TEXT,
        "on_reboot": TEXT,
        "on_crash": TEXT,
        "on_lockfailure": TEXT,
        "resource": ANY,
        "keywrap": known("", {"cipher": known("name state")}),
        "devices": known("", DEVICES),
        "seclabel": ANY,
        "launchSecurity": ANY,
        COMMANDLINE: ANY,
        OVERRIDE: ANY,
    },
)


def leave_out_unknown(reading: Reading) -> None:
    """Name every element and attribute of the domain that is not in `DOMAIN`."""
    _attributes(reading, reading.domain, DOMAIN[0])
    waiting: list[tuple[Element, Known]] = [(reading.domain, DOMAIN)]
    for element, (_, children) in waiting:
        if children is None:
            continue
        for child in element:
            held = children.get(child.tag, _UNKNOWN)
            if held is None:
                continue
            if held is _UNKNOWN:
                reading.leave_out(f"<{_local(child)}> in {_path(element)}", child)
                continue
            given = child.attrib
            if given and not held[0].issuperset(given):
                _attributes(reading, child, held[0])
            if len(child):
                waiting.append((child, held))


def _attributes(reading: Reading, element: Element, held: frozenset[str]) -> None:
    for name, value in element.attrib.items():
        if name not in held and not name.startswith("{"):
            reading.leave_out(f"{_path(element)} {name}='{value[:60]}'", element)


def _path(element: Element) -> str:
    return f"<{_local(element)}>"


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2][:60]
