"""Guest memory: size, backends, NUMA cells, memory devices, pages that the host shares, locks or dumps.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildMemoryBackendProps`, `qemuBuildMemCommandLine`,
`qemuBuildNumaCommandLine`, `qemuBuildMemoryDeviceProps`), compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.machine import ram_id
from sequester.formats.libvirt.reading import Props, Reading, first_children
from sequester.formats.libvirt.units import KIB, MIB, rounded, size

STEP = {"ppc64": 256 * MIB}
"""What memory sizes are rounded up to; 1 MiB elsewhere (`qemuDomainAlignMemorySizes`)."""

DEVICE_STEP = {"ppc64": 256 * MIB, "x86_64": 2 * MIB, "i386": 2 * MIB, "aarch64": 2 * MIB}

SHARED_DIRECTORY = "/var/lib/libvirt/qemu/ram"
HUGE_PAGES = "/dev/hugepages"
"""Where hugetlbfs is mounted on most distributions; libvirt finds out at start."""

ACCESS = {"shared": True, "private": False}
"""Whether writes to memory are seen by other processes that map it."""

_ALIASES = {
    "dimm": "dimm",
    "nvdimm": "nvdimm",
    "virtio-pmem": "virtiopmem",
    "virtio-mem": "virtiomem",
    "sgx-epc": "epc",
}


class Backing:
    """What ``<memoryBacking>`` asks of every backend."""

    __slots__ = (
        "cell_access",
        "discard",
        "huge",
        "huge_nodes",
        "locked",
        "prealloc",
        "shared",
        "source",
        "threads",
    )

    def __init__(self, element: Element | None) -> None:
        self.huge = self.locked = self.prealloc = self.discard = False
        self.huge_nodes: list[str | None] = []
        self.cell_access: dict[str, bool | None] = {}
        self.shared: bool | None = None
        self.source = ""
        self.threads: str | None = None
        if element is None:
            return
        children = first_children(element)
        self.huge = "hugepages" in children
        self.huge_nodes = [
            page.get("nodeset")
            for page in (children["hugepages"] if self.huge else ())
            if page.get("nodeset")
        ]
        self.locked = "locked" in children
        self.discard = "discard" in children
        if "source" in children:
            self.source = children["source"].get("type", "")
        if "access" in children:
            self.shared = ACCESS.get(children["access"].get("mode", ""))
        if "allocation" in children:
            self.prealloc = children["allocation"].get("mode") == "immediate"
            self.threads = children["allocation"].get("threads")


def memory(reading: Reading, top: dict[str, Element], devices: list[Element]) -> tuple[str, Backing]:
    """Add ``-m``, the backends and ``-overcommit``; return the id of main memory ('' with NUMA cells)."""
    step = STEP.get(reading.arch, MIB)
    backing = Backing(top.get("memoryBacking"))
    cpu = top.get("cpu")
    numa = cpu.find("numa") if cpu is not None else None
    cells = [cell for cell in numa if cell.tag == "cell"] if numa is not None else []
    element = top.get("memory")
    if cells:
        total = sum(rounded(size(reading, cell, attribute="memory"), step) for cell in cells)
    else:
        total = size(reading, element) if element is not None else 0
        total -= sum(_device_size(reading, device) for device in devices if _counts(device))
        total = rounded(max(total, 0), step)
    properties: Props = {}
    most = top.get("maxMemory")
    if most is not None:
        if most.get("slots"):
            properties["slots"] = most.get("slots")
        properties["maxmem"] = f"{rounded(size(reading, most), step) // KIB}k"
    reading.add("m", f"{total // KIB}k", properties, element if element is not None else most)
    main = "" if cells else ram_id(reading.arch, reading.machine)
    if main:
        kind, said = backend(reading, backing, main, total, main_memory=True)
        where = top.get("memoryBacking")
        reading.add("object", kind, said, where if where is not None else element, main)
    reading.add("overcommit", "", {"mem-lock": "on" if backing.locked else "off"}, top.get("memoryBacking"))
    for cell in cells:
        _cell(reading, backing, cell, step)
    return main, backing


def backend(
    reading: Reading,
    backing: Backing,
    identity: str,
    amount: int,
    *,
    main_memory: bool = False,
    shared: bool | None = None,
    discard: bool | None = None,
    path: str | None = None,
    huge: bool | None = None,
) -> tuple[str, Props]:
    """Return the type and properties of a memory backend of `amount` bytes."""
    share = backing.shared if shared is None else shared
    in_pages = backing.huge if huge is None else huge
    properties: Props = {"id": identity}
    if path is not None:
        kind = "memory-backend-file"
        properties["mem-path"] = path
    elif backing.source == "memfd":
        kind = "memory-backend-memfd"
        if in_pages:
            properties["hugetlb"] = True
    elif in_pages:
        kind = "memory-backend-file"
        properties["mem-path"] = f"{HUGE_PAGES}/libvirt/qemu/{reading.name}"
    elif backing.source == "file" or share is not None:
        kind = "memory-backend-file"
        properties["mem-path"] = f"{SHARED_DIRECTORY}/{reading.name}/{identity}"
    else:
        kind = "memory-backend-ram"
    if backing.discard if discard is None else discard:
        properties["discard-data"] = True
    if share is not None:
        properties["share"] = share
    elif kind == "memory-backend-memfd":
        properties["share"] = True
    if main_memory and kind != "memory-backend-ram":
        properties["x-use-canonical-path-for-ramblock-id"] = False
    if backing.prealloc:
        properties["prealloc"] = True
        if backing.threads and backing.threads.isdecimal():
            properties["prealloc-threads"] = int(backing.threads)
    elif in_pages:
        properties["prealloc"] = True
    properties["size"] = amount
    return kind, properties


def _cell(reading: Reading, backing: Backing, cell: Element, step: int) -> None:
    number = cell.get("id") or str(reading.count("numa"))
    identity = f"ram-node{number}"
    access = ACCESS.get(cell.get("memAccess", ""))
    backing.cell_access[number] = access
    discard = {"yes": True, "no": False}.get(cell.get("discard", ""))
    amount = rounded(size(reading, cell, attribute="memory"), step)
    huge = None
    if backing.huge_nodes:
        huge = any(_in_set(number, nodes or "") for nodes in backing.huge_nodes)
    kind, properties = backend(reading, backing, identity, amount, shared=access, discard=discard, huge=huge)
    reading.add("object", kind, properties, cell, identity)
    node: Props = {"nodeid": number}
    if cell.get("cpus"):
        node["cpus"] = cell.get("cpus")
    node["memdev"] = identity
    reading.add("numa", "node", node, cell, number)


def _in_set(number: str, ranges: str) -> bool:
    """Tell whether a node is in libvirt's notation of a set: ``0-2,4``."""
    for piece in ranges.split(","):
        first, _, last = piece.partition("-")
        last = last or first
        decimal = number.isdecimal() and first.isdecimal() and last.isdecimal()
        if decimal and int(first) <= int(number) <= int(last):
            return True
    return False


def _counts(device: Element) -> bool:
    return device.get("model") in ("dimm", "nvdimm", "virtio-mem")


def _device_size(reading: Reading, device: Element) -> int:
    found = device.find("target/size")
    return 0 if found is None else rounded(size(reading, found), DEVICE_STEP.get(reading.arch, MIB))


def memory_device(reading: Reading, backing: Backing, device: Element) -> None:
    """Add a memory device and its backend."""
    model = device.get("model", "")
    if model not in _ALIASES or model == "sgx-epc":
        reading.leave_out(f"<memory model='{model}'>", device)
        return
    children = first_children(device)
    target = first_children(children["target"]) if "target" in children else {}
    source = first_children(children["source"]) if "source" in children else {}
    address = children.get("address")
    amount = _device_size(reading, device)
    identity = _identity(reading, model, children)
    properties: Props = {}
    if "node" in target:
        properties["node"] = reading.to_int(target["node"], (target["node"].text or "").strip(), "node")
    path = source["path"].text if "path" in source else None
    access = ACCESS.get(device.get("access", ""))
    if access is None and "node" in target:
        access = backing.cell_access.get((target["node"].text or "").strip())
    discard = {"yes": True, "no": False}.get(device.get("discard", ""))
    main = f"mem{identity}"
    if model in ("dimm", "nvdimm"):
        driver = "pc-dimm" if model == "dimm" else "nvdimm"
        if "label" in target:
            label = target["label"].find("size")
            if label is not None:
                properties["label-size"] = size(reading, label)
        if "readonly" in target:
            properties["unarmed"] = True
    else:
        driver = reading.virtio(model, device.get("model"), address)
        if model == "virtio-mem":
            for tag, prop in (("block", "block-size"), ("requested", "requested-size")):
                if tag in target:
                    properties[prop] = size(reading, target[tag])
    kind, said = backend(
        reading,
        backing,
        main,
        amount,
        shared=access,
        discard=False if path is not None and discard is None else discard,
        path=path,
        huge=("pagesize" in source) or (None if model in ("dimm", "virtio-mem") else False),
    )
    if model == "virtio-mem":
        said.pop("prealloc", None)
        said.pop("prealloc-threads", None)
        said["reserve"] = False
        if backing.prealloc or backing.huge:
            properties["prealloc"] = True
    if "pmem" in source:
        said["pmem"] = True
    reading.add("object", kind, said, device, main)
    properties["memdev"] = main
    properties["id"] = identity
    if address is not None and address.get("type") == "dimm":
        if address.get("slot"):
            properties["slot"] = reading.number(address, "slot")
        if address.get("base"):
            properties["addr"] = reading.number(address, "base")
    else:
        reading.place(address, properties)
    reading.device(driver, properties, device)


def _identity(reading: Reading, model: str, children: dict[str, Element]) -> str:
    """Return a memory device's id; plugged modules are numbered by their slot."""
    prefix = _ALIASES[model]
    alias = children.get("alias")
    address = children.get("address")
    if model in ("dimm", "nvdimm"):
        slot = reading.count("slot")
        if address is not None and address.get("slot"):
            slot = reading.number(address, "slot")
        return (alias.get("name") if alias is not None else None) or f"{prefix}{slot}"
    return reading.identity(prefix, alias)
