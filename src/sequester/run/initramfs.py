"""The first root file system of the test guest: busybox, the virtio drivers, and the scripts beside this file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sequester.run import cpio
from sequester.run.kernel_modules import DRIVERS, TRANSPORTS, find_modules, load_order, read_module

# What the scripts call; a guest that stays installs all of busybox.
APPLETS = (
    *("sh", "mount", "dmesg", "insmod", "cat", "cut", "uname", "sed", "head", "tr", "basename", "dirname"),
    *("readlink", "dd", "udhcpc", "ip", "ping", "grep", "env", "setsid", "cttyhack", "poweroff"),
)
# In the shell of a guest that stays, init is a script: `poweroff` must not ask it.
SHELL = b"alias poweroff='/bin/busybox poweroff -f' reboot='/bin/busybox reboot -f'\nPS1='guest# '\n"


def recipe() -> bytes:
    """All of this that goes into an initramfs, beside the packages: a change of it makes another one."""
    return b"\0".join(
        (_script("guest-init.sh"), _script("guest-dhcp.sh"), SHELL, repr((APPLETS, DRIVERS)).encode())
    )


def initramfs(tree: Path, busybox: bytes) -> bytes:
    """The uncompressed cpio archive, with the drivers of the kernel package that is unpacked in `tree`."""
    modules = find_modules(tree)
    orders = {"transports": load_order(modules, TRANSPORTS)}
    orders |= {f"virtio-0x{number:04x}": load_order(modules, names) for number, names in DRIVERS.items()}
    wanted = sorted({name for order in orders.values() for name in order})
    return cpio.archive(
        [
            *map(cpio.directory, ("bin", "dev", "proc", "sys", "tmp", "modules")),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("init", _script("guest-init.sh"), executable=True),
            cpio.file("dhcp.sh", _script("guest-dhcp.sh"), executable=True),
            cpio.file("shell.sh", SHELL),
            cpio.file("bin/busybox", busybox, executable=True),
            *(cpio.link(f"bin/{name}", "busybox") for name in APPLETS),
            *(cpio.file(f"modules/{name}.ko", read_module(modules[name])) for name in wanted),
            *(cpio.file(f"modules/{name}.order", _lines(order)) for name, order in orders.items() if order),
        ]
    )


def _lines(names: tuple[str, ...]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _script(name: str) -> bytes:
    return files("sequester.run").joinpath(name).read_bytes()
