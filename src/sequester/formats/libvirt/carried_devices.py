"""Which elements and attributes of ``<devices>`` the guest model holds (see `carried`)."""

from __future__ import annotations

Known = tuple[frozenset[str], dict[str, "Known | None"] | None]
"""The attributes and children of an element; None for children: anything goes."""


def known(attributes: str = "", children: dict[str, Known | None] | None = None) -> Known:
    return frozenset(attributes.split()), children if children is not None else {}


ANY: None = None
BARE = known()
TEXT = known()
STATE = known("state")
_VIRTIO = "iommu ats packed page_per_vq"
_ADDRESS = ANY
_COMMON: dict[str, Known | None] = {"address": _ADDRESS, "alias": known("name")}
_BOOT = known("order loadparm")
_RECONNECT = known("enabled timeout")
_DRIVER = known(_VIRTIO)

_SOURCE = known(
    "file dev dir protocol name pool volume mode type path startupPolicy index managed namespace query "
    "socket tls snapshot",
    {
        "host": known("name port transport socket"),
        "address": ANY,
        "snapshot": known("name"),
        "config": known("file"),
        "identity": known("username"),
        "initiator": ANY,
        "readahead": known("size"),
        "timeout": known("seconds"),
        "reconnect": _RECONNECT,
        "auth": ANY,
        "encryption": ANY,
        "cookies": ANY,
        "slices": ANY,
        "privateData": ANY,
        "seclabel": ANY,
    },
)
_BACKING_CHILDREN: dict[str, Known | None] = {
    "format": known("type"),
    "source": _SOURCE,
}
_BACKING = known("type index", _BACKING_CHILDREN)
_BACKING_CHILDREN["backingStore"] = _BACKING

_DISK = known(
    "type device model snapshot rawio sgio",
    _COMMON
    | {
        "driver": known(
            f"name type cache io error_policy rerror_policy discard detect_zeroes copy_on_read iothread ioeventfd "
            f"event_idx queues queue_size {_VIRTIO}"
        ),
        "source": _SOURCE,
        "target": known("dev bus tray removable rotation_rate"),
        "backingStore": _BACKING,
        "serial": TEXT,
        "wwn": TEXT,
        "vendor": TEXT,
        "product": TEXT,
        "readonly": BARE,
        "shareable": BARE,
        "boot": _BOOT,
        "blockio": known("logical_block_size physical_block_size discard_granularity"),
        "iotune": ANY,
        "privateData": ANY,
    },
)

_CHARACTER_SOURCE = known(
    "mode path append host service channel tls dev",
    {
        "reconnect": _RECONNECT,
        "clipboard": known("copypaste"),
        "mouse": known("mode"),
        "seclabel": ANY,
    },
)
_CHARACTER = known(
    "type tty mode",
    _COMMON
    | {
        "source": _CHARACTER_SOURCE,
        "protocol": known("type"),
        "log": known("file append"),
        "target": known("type port name state", {"model": known("name")}),
        "boot": _BOOT,
    },
)

_OFFLOADS = known("csum gso tso4 tso6 ecn ufo mrg_rxbuf")
_INTERFACE = known(
    "type managed trustGuestRxFilters",
    _COMMON
    | {
        "mac": known("address type check"),
        "source": ANY,
        "target": known("dev managed"),
        "model": known("type"),
        "driver": known(
            f"name txmode ioeventfd event_idx queues rx_queue_size tx_queue_size rss rss_hash_report {_VIRTIO}",
            {"host": _OFFLOADS, "guest": _OFFLOADS},
        ),
        "ip": known("family address prefix"),
        "backend": known("type"),
        "rom": known("enabled bar file"),
        "boot": _BOOT,
        "mtu": known("size"),
        "acpi": known("index"),
        "link": known("state"),
        "teaming": known("type"),
        "bandwidth": ANY,
        "filterref": ANY,
        "vlan": ANY,
        "virtualport": ANY,
        "tune": ANY,
        "portForward": ANY,
    },
)

_CONTROLLER = known(
    "type index model ports vectors",
    _COMMON
    | {
        "driver": known(f"queues iothread cmd_per_lun max_sectors ioeventfd {_VIRTIO}"),
        "master": known("startport"),
        "model": known("name"),
        "target": known("port chassis chassisNr busNr index hotplug", {"node": TEXT}),
        "serial": TEXT,
    },
)

_HOSTDEV = known(
    "mode type managed model display ramfb rawio sgio",
    _COMMON
    | {
        "source": ANY,
        "driver": known(f"name model iommufd {_VIRTIO}"),
        "boot": _BOOT,
        "rom": known("enabled bar file"),
        "readonly": BARE,
    },
)

_GRAPHICS = known(
    "type port autoport listen websocket passwd passwdValidTo connected sharePolicy powerControl tlsPort socket "
    "p2p address display xauth fullscreen keymap defaultMode",
    {
        "listen": known("type address network socket"),
        "image": known("compression"),
        "jpeg": known("compression"),
        "zlib": known("compression"),
        "playback": known("compression"),
        "streaming": known("mode"),
        "mouse": known("mode"),
        "clipboard": known("copypaste"),
        "filetransfer": known("enable"),
        "gl": known("enable rendernode"),
        "channel": ANY,
    },
)

_VIDEO = known(
    "",
    _COMMON
    | {
        "driver": known(f"name vgaconf {_VIRTIO}"),
        "model": known(
            "type heads primary vram ram vgamem vram64 blob device",
            {"acceleration": known("accel3d accel2d"), "resolution": known("x y")},
        ),
    },
)

DEVICES: dict[str, Known | None] = {
    "emulator": TEXT,
    "disk": _DISK,
    "controller": _CONTROLLER,
    "interface": _INTERFACE,
    "hostdev": _HOSTDEV,
    "serial": _CHARACTER,
    "console": _CHARACTER,
    "parallel": _CHARACTER,
    "channel": _CHARACTER,
    "redirdev": known(
        "type bus",
        _COMMON
        | {
            "source": _CHARACTER_SOURCE,
            "protocol": known("type"),
            "boot": _BOOT,
            "log": known("file append"),
        },
    ),
    "smartcard": known("mode type", _COMMON | {"source": _CHARACTER_SOURCE, "protocol": known("type")}),
    "filesystem": known(
        "type accessmode model",
        _COMMON
        | {
            "driver": known(f"type wrpolicy queue {_VIRTIO}"),
            "binary": ANY,
            "source": known("dir socket"),
            "target": known("dir"),
            "readonly": BARE,
        },
    ),
    "input": known(
        "type bus model",
        _COMMON | {"driver": _DRIVER, "source": known("evdev dev grab repeat grabToggle")},
    ),
    "graphics": _GRAPHICS,
    "video": _VIDEO,
    "audio": known("id type serverName path driver"),
    "sound": known(
        "model streams",
        _COMMON | {"codec": known("type"), "audio": known("id"), "driver": _DRIVER},
    ),
    "rng": known(
        "model",
        _COMMON | {"backend": ANY, "rate": known("bytes period"), "driver": _DRIVER},
    ),
    "memballoon": known(
        "model autodeflate freePageReporting",
        _COMMON | {"stats": known("period"), "driver": _DRIVER},
    ),
    "tpm": known(
        "model",
        _COMMON
        | {
            "backend": known(
                "type version",
                {"device": known("path"), "source": known("path type mode")},
            )
        },
    ),
    "vsock": known("model", _COMMON | {"cid": known("auto address"), "driver": _DRIVER}),
    "crypto": known("model type", _COMMON | {"backend": known("model queues"), "driver": _DRIVER}),
    "watchdog": known("model action", _COMMON),
    "panic": known("model", _COMMON),
    "hub": known("type", _COMMON),
    "iommu": known(
        "model",
        _COMMON
        | {"driver": known("intremap caching_mode eim iotlb aw_bits dma_translation xtsup passthrough")},
    ),
    "memory": known(
        "model access discard",
        _COMMON
        | {
            "source": known("", {"path": TEXT, "pmem": BARE, "pagesize": known("unit")}),
            "target": known(
                "",
                {
                    "size": known("unit"),
                    "node": TEXT,
                    "block": known("unit"),
                    "requested": known("unit"),
                    "current": known("unit"),
                    "label": known("", {"size": known("unit")}),
                    "readonly": BARE,
                },
            ),
        },
    ),
    "shmem": known(
        "name role",
        _COMMON | {"model": known("type"), "size": known("unit"), "server": known("path")},
    ),
}
