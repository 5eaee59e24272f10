"""Which elements and attributes of a domain the guest model holds. All others are named, so that nothing is
dropped in silence when a guest leaves for another format.

A name stands here when `libvirt_read` makes something of it, when it only describes (titles, metadata), or when
it says what libvirt does and QEMU is not told. Source: libvirt docs/formatdomain.rst, schemas/domaincommon.rng.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.passthrough import COMMANDLINE, OVERRIDE
from sequester.formats.libvirt.reading import Reading

Known = tuple[frozenset[str], dict[str, "Known | None"] | None]
"""The attributes and children of an element; None for children: anything goes."""


def _known(attributes: str = "", children: dict[str, Known | None] | None = None) -> Known:
    return frozenset(attributes.split()), children if children is not None else {}


_ANY: None = None
_BARE = _known()
_TEXT = _known()
_STATE = _known("state")
_VIRTIO = "iommu ats packed page_per_vq"
_ADDRESS = _ANY
_COMMON: dict[str, Known | None] = {"address": _ADDRESS, "alias": _known("name")}
_BOOT = _known("order loadparm")
_RECONNECT = _known("enabled timeout")
_DRIVER = _known(_VIRTIO)

_SOURCE = _known(
    "file dev dir protocol name pool volume mode type path startupPolicy index managed namespace query "
    "socket tls snapshot",
    {
        "host": _known("name port transport socket"),
        "address": _ANY,
        "snapshot": _known("name"),
        "config": _known("file"),
        "identity": _known("username"),
        "initiator": _ANY,
        "readahead": _known("size"),
        "timeout": _known("seconds"),
        "reconnect": _RECONNECT,
        "auth": _ANY,
        "encryption": _ANY,
        "cookies": _ANY,
        "slices": _ANY,
        "privateData": _ANY,
        "seclabel": _ANY,
    },
)
_BACKING_CHILDREN: dict[str, Known | None] = {
    "format": _known("type"),
    "source": _SOURCE,
}
_BACKING = _known("type index", _BACKING_CHILDREN)
_BACKING_CHILDREN["backingStore"] = _BACKING

_DISK = _known(
    "type device model snapshot rawio sgio",
    _COMMON
    | {
        "driver": _known(
            f"name type cache io error_policy rerror_policy discard detect_zeroes copy_on_read iothread ioeventfd "
            f"event_idx queues queue_size {_VIRTIO}"
        ),
        "source": _SOURCE,
        "target": _known("dev bus tray removable rotation_rate"),
        "backingStore": _BACKING,
        "serial": _TEXT,
        "wwn": _TEXT,
        "vendor": _TEXT,
        "product": _TEXT,
        "readonly": _BARE,
        "shareable": _BARE,
        "boot": _BOOT,
        "blockio": _known("logical_block_size physical_block_size discard_granularity"),
        "iotune": _ANY,
        "privateData": _ANY,
    },
)

_CHARACTER_SOURCE = _known(
    "mode path append host service channel tls dev",
    {
        "reconnect": _RECONNECT,
        "clipboard": _known("copypaste"),
        "mouse": _known("mode"),
        "seclabel": _ANY,
    },
)
_CHARACTER = _known(
    "type tty mode",
    _COMMON
    | {
        "source": _CHARACTER_SOURCE,
        "protocol": _known("type"),
        "log": _known("file append"),
        "target": _known("type port name state", {"model": _known("name")}),
        "boot": _BOOT,
    },
)

_OFFLOADS = _known("csum gso tso4 tso6 ecn ufo mrg_rxbuf")
_INTERFACE = _known(
    "type managed trustGuestRxFilters",
    _COMMON
    | {
        "mac": _known("address type check"),
        "source": _ANY,
        "target": _known("dev managed"),
        "model": _known("type"),
        "driver": _known(
            f"name txmode ioeventfd event_idx queues rx_queue_size tx_queue_size rss rss_hash_report {_VIRTIO}",
            {"host": _OFFLOADS, "guest": _OFFLOADS},
        ),
        "ip": _known("family address prefix"),
        "backend": _known("type"),
        "rom": _known("enabled bar file"),
        "boot": _BOOT,
        "mtu": _known("size"),
        "acpi": _known("index"),
        "link": _known("state"),
        "teaming": _known("type"),
        "bandwidth": _ANY,
        "filterref": _ANY,
        "vlan": _ANY,
        "virtualport": _ANY,
        "tune": _ANY,
        "portForward": _ANY,
    },
)

_CONTROLLER = _known(
    "type index model ports vectors",
    _COMMON
    | {
        "driver": _known(f"queues iothread cmd_per_lun max_sectors ioeventfd {_VIRTIO}"),
        "master": _known("startport"),
        "model": _known("name"),
        "target": _known("port chassis chassisNr busNr index hotplug", {"node": _TEXT}),
        "serial": _TEXT,
    },
)

_HOSTDEV = _known(
    "mode type managed model display ramfb rawio sgio",
    _COMMON
    | {
        "source": _ANY,
        "driver": _known(f"name model iommufd {_VIRTIO}"),
        "boot": _BOOT,
        "rom": _known("enabled bar file"),
        "readonly": _BARE,
    },
)

_GRAPHICS = _known(
    "type port autoport listen websocket passwd passwdValidTo connected sharePolicy powerControl tlsPort socket "
    "p2p address display xauth fullscreen keymap defaultMode",
    {
        "listen": _known("type address network socket"),
        "image": _known("compression"),
        "jpeg": _known("compression"),
        "zlib": _known("compression"),
        "playback": _known("compression"),
        "streaming": _known("mode"),
        "mouse": _known("mode"),
        "clipboard": _known("copypaste"),
        "filetransfer": _known("enable"),
        "gl": _known("enable rendernode"),
        "channel": _ANY,
    },
)

_VIDEO = _known(
    "",
    _COMMON
    | {
        "driver": _known(f"name vgaconf {_VIRTIO}"),
        "model": _known(
            "type heads primary vram ram vgamem vram64 blob device",
            {"acceleration": _known("accel3d accel2d"), "resolution": _known("x y")},
        ),
    },
)

_DEVICES: dict[str, Known | None] = {
    "emulator": _TEXT,
    "disk": _DISK,
    "controller": _CONTROLLER,
    "interface": _INTERFACE,
    "hostdev": _HOSTDEV,
    "serial": _CHARACTER,
    "console": _CHARACTER,
    "parallel": _CHARACTER,
    "channel": _CHARACTER,
    "redirdev": _known(
        "type bus",
        _COMMON
        | {
            "source": _CHARACTER_SOURCE,
            "protocol": _known("type"),
            "boot": _BOOT,
            "log": _known("file append"),
        },
    ),
    "smartcard": _known("mode type", _COMMON | {"source": _CHARACTER_SOURCE, "protocol": _known("type")}),
    "filesystem": _known(
        "type accessmode model",
        _COMMON
        | {
            "driver": _known(f"type wrpolicy queue {_VIRTIO}"),
            "binary": _ANY,
            "source": _known("dir socket"),
            "target": _known("dir"),
            "readonly": _BARE,
        },
    ),
    "input": _known(
        "type bus model",
        _COMMON | {"driver": _DRIVER, "source": _known("evdev dev grab repeat grabToggle")},
    ),
    "graphics": _GRAPHICS,
    "video": _VIDEO,
    "audio": _known("id type serverName path driver"),
    "sound": _known(
        "model streams",
        _COMMON | {"codec": _known("type"), "audio": _known("id"), "driver": _DRIVER},
    ),
    "rng": _known(
        "model",
        _COMMON | {"backend": _ANY, "rate": _known("bytes period"), "driver": _DRIVER},
    ),
    "memballoon": _known(
        "model autodeflate freePageReporting",
        _COMMON | {"stats": _known("period"), "driver": _DRIVER},
    ),
    "tpm": _known(
        "model",
        _COMMON
        | {
            "backend": _known(
                "type version",
                {"device": _known("path"), "source": _known("path type mode")},
            )
        },
    ),
    "vsock": _known("model", _COMMON | {"cid": _known("auto address"), "driver": _DRIVER}),
    "crypto": _known("model type", _COMMON | {"backend": _known("model queues"), "driver": _DRIVER}),
    "watchdog": _known("model action", _COMMON),
    "panic": _known("model", _COMMON),
    "hub": _known("type", _COMMON),
    "iommu": _known(
        "model",
        _COMMON
        | {"driver": _known("intremap caching_mode eim iotlb aw_bits dma_translation xtsup passthrough")},
    ),
    "memory": _known(
        "model access discard",
        _COMMON
        | {
            "source": _known("", {"path": _TEXT, "pmem": _BARE, "pagesize": _known("unit")}),
            "target": _known(
                "",
                {
                    "size": _known("unit"),
                    "node": _TEXT,
                    "block": _known("unit"),
                    "requested": _known("unit"),
                    "current": _known("unit"),
                    "label": _known("", {"size": _known("unit")}),
                    "readonly": _BARE,
                },
            ),
        },
    ),
    "shmem": _known(
        "name role",
        _COMMON | {"model": _known("type"), "size": _known("unit"), "server": _known("path")},
    ),
}

_CPU = _known(
    "mode match check migratable",
    {
        "model": _known("fallback vendor_id"),
        "vendor": _TEXT,
        "topology": _known("sockets dies clusters cores threads"),
        "feature": _known("policy name"),
        "cache": _known("mode level"),
        "maxphysaddr": _known("mode bits limit"),
        "numa": _known("", {"cell": _known("id cpus memory unit memAccess discard"), "interconnects": _ANY}),
    },
)

_FEATURES = _known(
    "",
    {
        "acpi": _BARE,
        "apic": _known("eoi"),
        "pae": _BARE,
        "hyperv": _known(
            "mode",
            {
                **dict.fromkeys(
                    ("relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset"), _STATE
                ),
                **dict.fromkeys(
                    ("frequencies", "reenlightenment", "tlbflush", "ipi", "evmcs", "avic"), _STATE
                ),
                **dict.fromkeys(("emsr_bitmap", "xmm_input"), _STATE),
                "spinlocks": _known("state retries"),
                "vendor_id": _known("state value"),
            },
        ),
        "kvm": _known(
            "",
            {
                "hidden": _STATE,
                "hint-dedicated": _STATE,
                "poll-control": _STATE,
                "pv-ipi": _STATE,
                "dirty-ring": _known("state size"),
            },
        ),
        "pvspinlock": _STATE,
        "pmu": _STATE,
        "vmport": _STATE,
        "smm": _known("state", {"tseg": _known("unit")}),
        "ps2": _STATE,
        "ioapic": _known("driver"),
        "gic": _known("version"),
        "ras": _STATE,
        "hpt": _known("resizing"),
        "htm": _STATE,
        "nested-hv": _STATE,
        "ccf-assist": _STATE,
        "cfpc": _known("value"),
        "sbbc": _known("value"),
        "ibs": _known("value"),
        "vmcoreinfo": _STATE,
    },
)

_OS = _known(
    "firmware",
    {
        "type": _known("arch machine"),
        "firmware": _ANY,
        "loader": _known("readonly secure type stateless format"),
        "nvram": _known("template type format templateFormat", {"source": _ANY}),
        "kernel": _TEXT,
        "initrd": _TEXT,
        "cmdline": _TEXT,
        "dtb": _TEXT,
        "shim": _TEXT,
        "boot": _known("dev"),
        "bootmenu": _known("enable timeout"),
        "bios": _known("rebootTimeout"),
        "acpi": _ANY,
    },
)

DOMAIN = _known(
    "type id",
    {
        "name": _TEXT,
        "uuid": _TEXT,
        "genid": _TEXT,
        "title": _TEXT,
        "description": _TEXT,
        "metadata": _ANY,
        "memory": _known("unit dumpCore"),
        "currentMemory": _known("unit"),
        "maxMemory": _known("unit slots"),
        "memoryBacking": _known(
            "",
            {
                "hugepages": _known("", {"page": _known("size unit nodeset")}),
                "nosharepages": _BARE,
                "locked": _BARE,
                "source": _known("type"),
                "access": _known("mode"),
                "allocation": _known("mode threads"),
                "discard": _BARE,
            },
        ),
        "vcpu": _known("placement current"),
        "iothreads": _TEXT,
        "iothreadids": _known("", {"iothread": _known("id")}),
        "os": _OS,
        "features": _FEATURES,
        "cpu": _CPU,
        "clock": _known(
            "offset adjustment basis timezone start",
            {"timer": _known("name tickpolicy present frequency track")},
        ),
        "pm": _known("", {"suspend-to-mem": _known("enabled"), "suspend-to-disk": _known("enabled")}),
        "on_poweroff": _TEXT,
        "on_reboot": _TEXT,
        "on_crash": _TEXT,
        "on_lockfailure": _TEXT,
        "resource": _ANY,
        "keywrap": _known("", {"cipher": _known("name state")}),
        "devices": _known("", _DEVICES),
        "seclabel": _ANY,
        "launchSecurity": _ANY,
        COMMANDLINE: _ANY,
        OVERRIDE: _ANY,
    },
)


def leave_out_unknown(reading: Reading) -> None:
    """Name every element and attribute of the domain that is not in `DOMAIN`."""
    waiting: list[tuple[Element, Known]] = [(reading.domain, DOMAIN)]
    for element, (attributes, children) in waiting:
        given = element.attrib
        if given and not attributes.issuperset(given):
            for name in given.keys() - attributes:
                if not name.startswith("{"):
                    reading.leave_out(f"{_path(element)} {name}='{given[name][:60]}'", element)
        if children is None:
            continue
        for child in element:
            try:
                known = children[child.tag]
            except KeyError:
                reading.leave_out(f"<{_local(child)}> in {_path(element)}", child)
                continue
            if known is not None and (len(child) or child.attrib):
                waiting.append((child, known))


def _path(element: Element) -> str:
    return f"<{_local(element)}>"


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2][:60]
