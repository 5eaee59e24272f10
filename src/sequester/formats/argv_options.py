"""QEMU's command-line options: which take a value, and how that value is written.

Source: QEMU qemu-options.hx, compared with ``-help`` of 7.2 and 11.1 for x86_64, ppc64, s390x and aarch64.
"""

from __future__ import annotations

from sequester.formats.keyval import Piece

FLAGS = frozenset(
    {
        "-preconfig",
        "S",
        "async-teardown",
        "audio-help",
        "daemonize",
        "enable-fips",
        "enable-kvm",
        "enable-sync-profile",
        "full-screen",
        "h",
        "help",
        "jitdump",
        "mem-prealloc",
        "no-acpi",
        "no-fd-bootchk",
        "no-frame",
        "no-hpet",
        "no-kvm",
        "no-quit",
        "no-reboot",
        "no-shutdown",
        "no-user-config",
        "nodefaults",
        "nodefconfig",
        "nographic",
        "old-param",
        "only-migratable",
        "perfmap",
        "portrait",
        "preconfig",
        "s",
        "semihosting",
        "singlestep",
        "snapshot",
        "usb",
        "version",
        "win2k-hack",
        "xen-attach",
        "xen-domid-restrict",
    }
)
"""Options without a value."""

IMPLIED = {
    "accel": "accel",
    "action": "",
    "add-fd": "",
    "audio": "driver",
    "audiodev": "driver",
    "blockdev": "driver",
    "boot": "order",
    "chardev": "backend",
    "compat": "",
    "cpu": "cpu-model",
    "device": "driver",
    "display": "type",
    "drive": "file",
    "fsdev": "fsdriver",
    "fw_cfg": "name",
    "icount": "shift",
    "iscsi": "",
    "m": "size",
    "machine": "type",
    "mon": "chardev",
    "msg": "",
    "name": "guest",
    "net": "type",
    "netdev": "type",
    "nic": "type",
    "numa": "type",
    "object": "qom-type",
    "overcommit": "",
    "plugin": "file",
    "rtc": "",
    "run-with": "",
    "sandbox": "enable",
    "semihosting-config": "enable",
    "smbios": "",
    "smp": "cpus",
    "smp-cache": "",
    "spice": "",
    "tpmdev": "type",
    "virtfs": "fsdriver",
    "vnc": "vnc",
}
"""Options written as ``key=value,...``, with the key that a bare first value stands for. All others are one text.

A CPU's name has no key in QEMU; ours is one that no CPU property has (``model`` is a number of CPUID)."""

JSON_TOO = frozenset({"audiodev", "blockdev", "compat", "device", "display", "netdev", "object"})
"""Options that also take a JSON object (QEMU 2.9 ``-blockdev``, 6.0 ``-object``, 6.2 ``-device``, 7.0 ``-netdev``)."""

REPEATED = frozenset({"dnssearch", "guestfwd", "hostfwd", "value"})
"""Keys that add up when repeated (``-netdev user``, ``-smbios type=11``): the model holds them as a tuple."""

IDENTIFIED = {"blockdev": "node-name", "numa": "nodeid"}
"""The key that holds a part's id, where it is not ``id``."""

DRIVES = {
    "hda": {"index": "0", "media": "disk"},
    "hdb": {"index": "1", "media": "disk"},
    "hdc": {"index": "2", "media": "disk"},
    "hdd": {"index": "3", "media": "disk"},
    "cdrom": {"media": "cdrom"},
    "fda": {"if": "floppy", "index": "0"},
    "fdb": {"if": "floppy", "index": "1"},
    "mtdblock": {"if": "mtd"},
    "pflash": {"if": "pflash"},
    "sd": {"if": "sd"},
}
"""Shorthands for ``-drive file=...`` (QEMU system/vl.c)."""

REFUSED = {
    "readconfig": "put the options of that file on the command line: what it holds would go unchecked",
}
"""Options that bring in what this reader does not see."""


def option_of(group: str) -> str:
    """Return the option that declares parts of a group: the limitation is an object."""
    return "object" if group == "limitation" else group


def normal(option: str, piece: Piece) -> str:
    """Return a key as the model holds it: QEMU takes ``_`` for ``-`` in machine properties and CPU features."""
    if option == "machine" or (option == "cpu" and piece.form in "+-="):
        return piece.name.replace("_", "-") if option == "machine" else piece.name
    return piece.name
