"""The remaining devices, one function each: shared folders, input, random numbers, balloon, TPM, vsock ...

Source: libvirt src/qemu/qemu_command.c (`qemuBuild...DevProps`); compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.chardevs import CHANNELS, source
from sequester.formats.libvirt.reading import SWITCH, Props, Reading, first_children, options

_SECURITY = {"mapped": "mapped", "squash": "none", "passthrough": "passthrough"}
_USB_INPUT = {"tablet": "usb-tablet", "mouse": "usb-mouse", "keyboard": "usb-kbd"}
_VIRTIO_INPUT = {
    "tablet": "virtio-tablet",
    "mouse": "virtio-mouse",
    "keyboard": "virtio-keyboard",
    "passthrough": "virtio-input-host",
}
_TPM_DEVICES = {"aarch64": {"tpm-tis": "tpm-tis-device"}}
_PANIC = {"isa": "pvpanic", "pvpanic": "pvpanic-pci"}
_IN_MACHINE_PANIC = frozenset({"pseries", "hyperv", "s390"})
_WATCHDOGS = {"i6300esb": "i6300esb", "ib700": "ib700", "diag288": "diag288"}
_CRYPTO = {"builtin": "cryptodev-backend-builtin", "lkcf": "cryptodev-backend-lkcf"}
_IOMMU = {"intel": "intel-iommu", "amd": "amd-iommu", "virtio": "virtio-iommu-pci"}


def filesystem(reading: Reading, element: Element) -> None:
    """Add a shared folder: virtiofs, or 9p."""
    children = first_children(element)
    driver, address = children.get("driver"), children.get("address")
    identity = reading.identity("fs", children.get("alias"))
    from_, to = children.get("source"), children.get("target")
    tag = to.get("dir", "") if to is not None else ""
    properties: Props = {}
    options(driver, properties)
    if driver is not None and driver.get("type") == "virtiofs":
        character = f"chr-vu-{identity}"
        path = from_.get("socket") if from_ is not None else None
        if not path:
            path = f"{CHANNELS}/{reading.name}/{identity}-fs.sock"
            reading.leave_out(f"the virtiofsd of {identity}: start one that listens on {path}", element)
        reading.add("chardev", "socket", {"id": character, "path": path}, element, character)
        properties.update(id=identity, chardev=character)
        if driver.get("queue"):
            properties["queue-size"] = reading.number(driver, "queue")
        properties["tag"] = tag
        kind = reading.virtio("vhost-user-fs", element.get("model"), address)
    elif element.get("type", "mount") != "mount" or from_ is None:
        reading.leave_out(f"<filesystem type='{element.get('type')}'>", element)
        return
    else:
        said: Props = {"security_model": _SECURITY.get(element.get("accessmode", ""), "passthrough")}
        if driver is not None and driver.get("wrpolicy"):
            said["writeout"] = driver.get("wrpolicy")
        said.update(id=f"fsdev-{identity}", path=from_.get("dir", ""))
        if "readonly" in children:
            said["readonly"] = "on"
        reading.add("fsdev", "local", said, element, f"fsdev-{identity}")
        properties.update(id=identity, fsdev=f"fsdev-{identity}", mount_tag=tag)
        kind = reading.virtio("virtio-9p", element.get("model"), address)
    reading.place(address, properties)
    reading.device(kind, properties, element)


def input_device(reading: Reading, element: Element) -> None:
    """Add a keyboard, mouse or tablet; those on PS/2 are part of the machine."""
    children = first_children(element)
    kind = element.get("type", "")
    bus = element.get("bus") or ("virtio" if kind == "passthrough" else "usb" if kind == "tablet" else "ps2")
    identity = reading.identity("input", children.get("alias"))
    where = children.get("source")
    properties: Props = {}
    if kind == "evdev":
        properties.update(id=identity, evdev=where.get("dev", "") if where is not None else "")
        if where is not None and where.get("repeat"):
            properties["repeat"] = where.get("repeat") == "on"
        if where is not None and where.get("grab") == "all":
            properties["grab_all"] = True
        if where is not None and where.get("grabToggle"):
            properties["grab-toggle"] = where.get("grabToggle")
        reading.add("object", "input-linux", properties, element, identity)
        return
    if bus == "ps2":
        return
    address = children.get("address")
    driver = None
    if bus == "usb":
        driver = _USB_INPUT.get(kind)
        properties["id"] = identity
    elif bus == "virtio" and kind in _VIRTIO_INPUT:
        driver = reading.virtio(_VIRTIO_INPUT[kind], element.get("model"), address)
        options(children.get("driver"), properties)
        properties["id"] = identity
        if kind == "passthrough" and where is not None:
            properties["evdev"] = where.get("evdev", "")
    if driver is None:
        reading.leave_out(f"<input type='{kind}' bus='{bus}'>", element)
        return
    reading.place(address, properties)
    reading.device(driver, properties, element)


def random(reading: Reading, element: Element) -> None:
    """Add a random number generator and what feeds it."""
    children = first_children(element)
    number = reading.count("rng")
    alias = children.get("alias")
    identity = (alias.get("name") if alias is not None else None) or f"rng{number}"
    backend = children.get("backend")
    model = backend.get("model", "random") if backend is not None else "random"
    rng = f"obj{identity}"
    said: Props = {"id": rng}
    if model == "egd" and backend is not None:
        source(reading, backend, f"char{identity}")
        said["chardev"] = f"char{identity}"
    elif model == "random":
        path = (backend.text or "").strip() if backend is not None else ""
        said["filename"] = path or "/dev/urandom"
    reading.add("object", f"rng-{model}", said, element, rng)
    properties: Props = {}
    options(children.get("driver"), properties)
    properties.update(rng=rng, id=identity)
    rate = children.get("rate")
    if rate is not None and rate.get("bytes"):
        properties["max-bytes"] = reading.number(rate, "bytes")
        properties["period"] = reading.number(rate, "period", 1000)
    address = children.get("address")
    reading.place(address, properties)
    reading.device(reading.virtio("virtio-rng", element.get("model"), address), properties, element)


def balloon(reading: Reading, element: Element | None) -> None:
    """Add the memory balloon. A domain that names none has one: libvirt adds it."""
    model = element.get("model", "virtio") if element is not None else default_balloon(reading)
    if model == "none":
        return
    children = first_children(element) if element is not None else {}
    properties: Props = {}
    options(children.get("driver"), properties)
    properties["id"] = reading.identity("balloon", children.get("alias"))
    if element is not None:
        for attribute, prop in (
            ("autodeflate", "deflate-on-oom"),
            ("freePageReporting", "free-page-reporting"),
        ):
            if element.get(attribute):
                properties[prop] = SWITCH.get(element.get(attribute, ""), element.get(attribute))
    address = children.get("address")
    reading.place(address, properties)
    reading.device(reading.virtio("virtio-balloon", model, address), properties, element)


def default_balloon(reading: Reading) -> str:
    """Return the model of the balloon that libvirt adds to a domain without one."""
    machine = reading.machine
    has = machine.startswith(("pc", "q35", "s390", "pseries", "rhel"))
    return "virtio" if has else "none"


def vsock(reading: Reading, element: Element) -> None:
    """Add a vsock device."""
    children = first_children(element)
    properties: Props = {}
    options(children.get("driver"), properties)
    properties["id"] = reading.identity("vsock", children.get("alias"))
    cid = children.get("cid")
    if cid is not None and cid.get("address"):
        properties["guest-cid"] = reading.number(cid, "address")
    else:
        properties["guest-cid"] = 3
        reading.leave_out("the free CID that libvirt finds for <vsock>: 3 stands in its place", element)
    address = children.get("address")
    reading.place(address, properties)
    reading.device(reading.virtio("vhost-vsock", element.get("model"), address), properties, element)


def crypto(reading: Reading, element: Element) -> None:
    """Add a crypto device."""
    children = first_children(element)
    identity = reading.identity("crypto", children.get("alias"))
    backend = children.get("backend")
    model = backend.get("model", "builtin") if backend is not None else "builtin"
    said: Props = {"id": f"obj{identity}"}
    if backend is not None and backend.get("queues"):
        said["queues"] = reading.number(backend, "queues")
    reading.add("object", _CRYPTO.get(model, _CRYPTO["builtin"]), said, element, f"obj{identity}")
    properties: Props = {}
    options(children.get("driver"), properties)
    properties.update(cryptodev=f"obj{identity}", id=identity)
    address = children.get("address")
    reading.place(address, properties)
    reading.device(reading.virtio("virtio-crypto", None, address), properties, element)


def tpm(reading: Reading, element: Element) -> None:
    """Add a TPM."""
    children = first_children(element)
    identity = reading.identity("tpm", children.get("alias"))
    backend = children.get("backend")
    kind = backend.get("type", "") if backend is not None else ""
    model = element.get("model") or ("tpm-spapr" if reading.arch == "ppc64" else "tpm-tis")
    device = backend.find("device") if backend is not None else None
    path = device.get("path", "/dev/tpm0") if device is not None else "/dev/tpm0"
    if model == "spapr-tpm-proxy":
        reading.device(model, {"id": identity, "host-path": path}, element)
        return
    if kind == "passthrough":
        said: Props = {"id": f"tpm-{identity}", "path": path}
    else:
        where = backend.find("source") if backend is not None else None
        socket = where.get("path") if where is not None and kind == "external" else None
        if socket is None:
            socket = f"{CHANNELS}/{reading.name}/{identity}-swtpm.sock"
            reading.leave_out(f"the swtpm of {identity}: start one that listens on {socket}", element)
        reading.add("chardev", "socket", {"id": f"chr{identity}", "path": socket}, element, f"chr{identity}")
        said = {"id": f"tpm-{identity}", "chardev": f"chr{identity}"}
        kind = "emulator"
    reading.add("tpmdev", kind, said, element, f"tpm-{identity}")
    properties: Props = {"tpmdev": f"tpm-{identity}", "id": identity}
    reading.place(children.get("address"), properties)
    reading.device(_TPM_DEVICES.get(reading.arch, {}).get(model, model), properties, element)


def watchdogs(reading: Reading, found: list[Element]) -> None:
    """Add watchdogs and what they do; a Q35 machine has one of its own, which libvirt switches on."""
    action = ""
    built_in = reading.root_bus == "pcie.0" and reading.arch in ("x86_64", "i386")
    for element in found:
        model = element.get("model", "")
        children = first_children(element)
        action = action or element.get("action", "reset")
        number = reading.identity("watchdog", children.get("alias"))
        if model == "itco":
            continue
        if model not in _WATCHDOGS:
            reading.leave_out(f"<watchdog model='{model}'>", element)
            continue
        properties: Props = {"id": number}
        reading.place(children.get("address"), properties)
        reading.device(_WATCHDOGS[model], properties, element)
    if built_in:
        reading.add("global", "ICH9-LPC", {"noreboot": "off"}, None)
        action = action or "reset"
    if action:
        reading.add(
            "watchdog-action", "pause" if action == "dump" else action, {}, found[0] if found else None
        )


def panic(reading: Reading, element: Element) -> None:
    """Add a panic notifier."""
    model = element.get("model") or {"x86_64": "isa", "ppc64": "pseries", "s390x": "s390"}.get(
        reading.arch, "pvpanic"
    )
    if model in _IN_MACHINE_PANIC:
        return
    if model not in _PANIC:
        reading.leave_out(f"<panic model='{model}'>", element)
        return
    properties: Props = {}
    address = element.find("address")
    if model == "isa":
        if address is not None and address.get("iobase"):
            properties["ioport"] = reading.number(address, "iobase")
    else:
        reading.place(address, properties)
    reading.device(_PANIC[model], properties, element)


def shared_memory(reading: Reading, element: Element) -> None:
    """Add memory that is shared with other guests."""
    children = first_children(element)
    identity = reading.identity("shmem", children.get("alias"))
    model = children.get("model")
    kind = model.get("type", "ivshmem-plain") if model is not None else "ivshmem-plain"
    properties: Props = {"id": identity}
    if kind == "ivshmem-plain":
        from sequester.formats.libvirt.units import size

        amount = children.get("size")
        backend = f"shmmem-{identity}"
        said: Props = {
            "id": backend,
            "mem-path": f"/dev/shm/{element.get('name', '')}",
            "size": size(reading, amount, "B") if amount is not None else 4 << 20,
            "share": True,
        }
        reading.add("object", "memory-backend-file", said, element, backend)
        properties["memdev"] = backend
    else:
        server = children.get("server")
        path = server.get("path", "") if server is not None else ""
        reading.add("chardev", "socket", {"id": f"char{identity}", "path": path}, element, f"char{identity}")
        properties["chardev"] = f"char{identity}"
        kind = "ivshmem-doorbell"
    reading.place(children.get("address"), properties)
    reading.device(kind, properties, element)


def redirected(reading: Reading, element: Element) -> None:
    """Add a redirected USB device."""
    identity = reading.identity("redir", element.find("alias"))
    source(reading, element, f"char{identity}", "usbredir")
    properties: Props = {"chardev": f"char{identity}", "id": identity}
    boot = element.find("boot")
    if boot is not None:
        properties["bootindex"] = reading.number(boot, "order", 1)
    reading.place(element.find("address"), properties)
    reading.device("usb-redir", properties, element)


def hub(reading: Reading, element: Element) -> None:
    """Add a USB hub."""
    properties: Props = {"id": reading.identity("hub", element.find("alias"))}
    reading.place(element.find("address"), properties)
    reading.device("usb-hub", properties, element)


def smartcard(reading: Reading, element: Element) -> None:
    """Add a smart card reader."""
    children = first_children(element)
    identity = reading.identity("smartcard", children.get("alias"))
    mode = element.get("mode", "")
    if mode != "passthrough":
        reading.leave_out(f"<smartcard mode='{mode}'>", element)
        return
    source(reading, element, f"char{identity}", "smartcard")
    properties: Props = {"chardev": f"char{identity}", "id": identity}
    reading.place(children.get("address"), properties)
    properties.setdefault("bus", "ccid0.0")
    reading.device("ccid-card-passthru", properties, element)


def iommu(reading: Reading, element: Element) -> None:
    """Add an IOMMU, as a device or, on Arm, as a property of the machine."""
    model = element.get("model", "")
    if model not in _IOMMU:
        if model == "smmuv3" and reading.arch == "aarch64" and element.find("driver") is None:
            machine = next(part for part in reading.parts if part.group == "machine")
            assert isinstance(machine.properties, dict)
            machine.properties["iommu"] = "smmuv3"
            return
        reading.leave_out(f"<iommu model='{model}'>", element)
        return
    children = first_children(element)
    properties: Props = {"id": reading.identity("iommu", children.get("alias"))}
    driver = children.get("driver")
    if driver is not None:
        for attribute, prop in (
            ("intremap", "intremap"),
            ("caching_mode", "caching-mode"),
            ("eim", "eim"),
            ("iotlb", "device-iotlb"),
            ("dma_translation", "dma-translation"),
            ("xtsup", "xtsup"),
            ("passthrough", "pt"),
        ):
            said = driver.get(attribute)
            if said:
                properties[prop] = said if attribute in ("intremap", "eim") else said == "on"
        if driver.get("aw_bits"):
            properties["aw-bits"] = reading.number(driver, "aw_bits")
    reading.place(children.get("address"), properties)
    reading.device(_IOMMU[model], properties, element)


def core_info(reading: Reading, features: dict[str, Element]) -> None:
    """Add the device with which a guest leaves its kernel's layout for dumps."""
    element = features.get("vmcoreinfo")
    if element is not None and element.get("state", "on") == "on":
        reading.device("vmcoreinfo", {}, element)
