"""Which kernel modules a guest with virtio devices needs, and in which order they are loaded.

What a module depends on is read from the module itself (`depends=` in its `.modinfo` section), because the
kernel's package has no modules.dep: that one is made on installation.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# The transports; ccw is built into s390 kernels.
TRANSPORTS = ("virtio_pci", "virtio_mmio")

# Device number -> drivers. Source: VIRTIO 1.2, section 5 "Device Types"; names from Linux drivers/.
DRIVERS: Mapping[int, tuple[str, ...]] = {
    1: ("virtio_net",),
    2: ("virtio_blk",),
    3: ("virtio_console",),
    4: ("virtio_rng",),
    5: ("virtio_balloon",),
    8: ("virtio_scsi", "sd_mod"),
    9: ("9pnet_virtio",),
    18: ("virtio_input",),
    19: ("vmw_vsock_virtio_transport",),
    20: ("virtio_crypto",),
    23: ("virtio_iommu",),
    24: ("virtio_mem",),
    26: ("virtiofs",),
    27: ("virtio_pmem",),
}


def find_modules(tree: Path) -> dict[str, Path]:
    """Every module of an unpacked kernel package, by name; `-` and `_` are the same to the kernel."""
    return {
        path.name.split(".ko")[0].replace("-", "_"): path
        for pattern in ("lib/modules/*/kernel", "usr/lib/modules/*/kernel")
        for root in tree.glob(pattern)
        for path in sorted(root.rglob("*.ko*"))
    }


def read_module(path: Path) -> bytes:
    """The module's ELF file, decompressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def depends(module: bytes) -> tuple[str, ...]:
    """The modules that have to be loaded before this one."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    names = found.group(1).decode("ascii", "replace") if found else ""
    return tuple(name.replace("-", "_") for name in names.split(",") if name)


def load_order(available: Mapping[str, Path], names: Sequence[str]) -> tuple[str, ...]:
    """`names` and all that they need, each after what it needs; what is built into the kernel is left out."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order or name not in available:
            return
        for needed in depends(read_module(available[name])):
            visit(needed)
        order[name] = None

    for name in names:
        visit(name)
    return tuple(order)
