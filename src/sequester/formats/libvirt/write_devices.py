"""Writes the remaining devices, one function each."""

from __future__ import annotations

from collections.abc import Callable

from sequester.formats.libvirt.controllers import SCSI_MODELS, USB_MODELS
from sequester.formats.libvirt.display import SOUND, VIDEO
from sequester.formats.libvirt.write_hostdevs import (
    UUID,
    filesystem,
    hexadecimal,
    host_pci,
    host_usb,
    vhost_scsi,
)
from sequester.formats.libvirt.write_virtio import driver_options, settle_versions, with_driver
from sequester.formats.libvirt.writing import Said, Writing
from sequester.formats.xml_splice import Node
from sequester.guest.part import Part
from sequester.guest.virtio import kind

Write = Callable[[Writing, Said], None]

_USB = {driver: model for model, driver in USB_MODELS.items()}
_SCSI = {driver: model for model, driver in SCSI_MODELS.items()}
_VIDEO = {driver: model for model, driver in VIDEO.items() if driver} | {"qxl-vga": "qxl"}
_SOUND = {driver: model for model, driver in SOUND.items() if model not in ("ich7", "virtio")}
_CODECS = {"hda-duplex": "duplex", "hda-micro": "micro", "hda-output": "output"}
_INPUT = {"usb-tablet": ("tablet", "usb"), "usb-mouse": ("mouse", "usb"), "usb-kbd": ("keyboard", "usb")}
_WATCHDOGS = ("i6300esb", "ib700", "diag288")
_TPMS = {"tpm-tis-device": "tpm-tis"}

PLACED_BY_LIBVIRT = frozenset(
    {
        "pcie-root-port",
        "ioh3420",
        "pci-bridge",
        "pcie-pci-bridge",
        "i82801b11-bridge",
        "dmi-to-pci-bridge",
        "x3130-upstream",
        "xio3130-downstream",
        "isa-fdc",
        "usb-hub",
    }
)
"""Buses that only carry other devices: libvirt adds those that it needs."""


def device(writing: Writing, part: Part) -> bool:
    """Write a device; False when there is no element for it."""
    said = Said(part)
    write = _BY_DRIVER.get(part.type) or _VIRTIO.get(
        kind(part) if part.type.startswith(("virtio-", "vhost-")) else ""
    )
    if part.type in _USB:
        write = _usb_controller
    elif part.type in _SCSI:
        write = _scsi
    elif part.type in _VIDEO:
        write = _video
    elif part.type in _SOUND:
        write = _sound
    elif part.type in _INPUT:
        write = _usb_input
    elif part.type in _WATCHDOGS:
        write = _watchdog
    if write is None:
        return False
    tag = _ONCE.get(write)
    if tag is not None and any(node.tag == tag for node in writing.devices.children):
        writing.lose(f"{part.label()}: libvirt takes one <{tag}>")
        writing.used.add(part.key)
        return True
    write(writing, said)
    writing.finish(said)
    return True


def _balloon(writing: Writing, said: Said) -> None:
    node = writing.device("memballoon", model=settle_versions(said) or "virtio")
    for prop, attribute in (("deflate-on-oom", "autodeflate"), ("free-page-reporting", "freePageReporting")):
        state = said.flag(prop)
        if state is not None:
            node.attributes[attribute] = state
    with_driver(said, node)


def _random(writing: Writing, said: Said) -> None:
    node = writing.device("rng", model=settle_versions(said) or "virtio")
    most, period = said.number("max-bytes"), said.number("period")
    if most and most != "0":
        writing.element(node, "rate", bytes=most, period=period)
    source = writing.referred(said, "rng", "object")
    model = source.part.type.removeprefix("rng-") if source is not None else "builtin"
    backend = writing.element(node, "backend", model=model if model in ("random", "builtin") else "builtin")
    if source is not None:
        if model == "random":
            backend.text = writing.path(
                source.take("filename") or "/dev/urandom", "the source of random numbers"
            )
        elif model != "builtin":
            writing.lose(f"{source.part.label()}: QEMU's own generator stands in its place")
            writing.referred(source, "chardev", "chardev")
        writing.finish(source)
    with_driver(said, node)


def _serial_controller(writing: Writing, said: Said) -> None:
    index = sum(1 for node in writing.devices.children if node.attributes.get("type") == "virtio-serial")
    node = writing.device("controller", type="virtio-serial", index=str(index), model=settle_versions(said))
    ports = said.number("max_ports")
    if ports:
        node.attributes["ports"] = ports
    vectors = said.number("vectors")
    if vectors:
        node.attributes["vectors"] = vectors
    with_driver(said, node)


def _scsi(writing: Writing, said: Said) -> None:
    index = writing.scsi.setdefault(said.part.id, len(writing.scsi))
    virtio = said.part.type.startswith("virtio-")
    model = (settle_versions(said) or "virtio-scsi") if virtio else _SCSI[said.part.type]
    node = writing.device("controller", type="scsi", index=str(index), model=model)
    if not virtio:
        return
    driver = Node("driver")
    for prop, attribute in (
        ("num_queues", "queues"),
        ("cmd_per_lun", "cmd_per_lun"),
        ("max_sectors", "max_sectors"),
    ):
        value = said.number(prop)
        if value and value != "0":
            driver.attributes[attribute] = value
    thread = said.take("iothread")
    if thread is not None:
        from sequester.formats.libvirt.write_disks import iothread

        number = iothread(writing, thread)
        if number:
            driver.attributes["iothread"] = number
    driver_options(said, driver)
    if driver.attributes:
        node.children.append(driver)


def _usb_controller(writing: Writing, said: Said) -> None:
    model = _USB[said.part.type]
    if said.part.text("masterbus"):
        index = writing.usb.get((said.take("masterbus") or "").removesuffix(".0"), 0)
        node = writing.device("controller", type="usb", index=str(index), model=model)
        writing.element(node, "master", startport=said.number("firstport") or "0")
        return
    index = writing.usb.setdefault(said.part.id, len(writing.usb))
    node = writing.device("controller", type="usb", index=str(index), model=model)
    ports = said.number("p2") or said.number("p3")
    said.drop("p3")
    if ports:
        node.attributes["ports"] = ports


def _video(writing: Writing, said: Said) -> None:
    node = writing.device("video")
    driver = said.part.type
    virtio = driver.startswith(("virtio-", "vhost-user-"))
    model = writing.element(node, "model", type="virtio" if virtio else _VIDEO[driver])
    if virtio:
        outputs = said.number("max_outputs")
        if outputs:
            model.attributes["heads"] = outputs
        blob = said.flag("blob")
        if blob is not None:
            model.attributes["blob"] = blob
        if "-gl" in driver:
            writing.element(model, "acceleration", accel3d="yes")
        driver_node = Node("driver")
        if driver.startswith("vhost-user-"):
            driver_node.attributes["name"] = "vhostuser"
        driver_options(said, driver_node)
        if driver_node.attributes:
            node.children.insert(0, driver_node)
        settle_versions(said)
    else:
        memory = said.number("vgamem_mb")
        if memory and memory.isdecimal() and driver in ("VGA", "vmware-svga"):
            model.attributes["vram"] = str(int(memory) * 1024)
    width, height = said.number("xres"), said.number("yres")
    if width and height:
        writing.element(model, "resolution", x=width, y=height)


def _sound(writing: Writing, said: Said) -> None:
    virtio = said.part.type.startswith("virtio-")
    node = writing.device("sound", model="virtio" if virtio else _SOUND[said.part.type])
    writing.referred(said, "audiodev", "audiodev")
    said.drop("audiodev")
    if virtio:
        streams = said.number("streams")
        if streams:
            node.attributes["streams"] = streams
        with_driver(said, node)


def _codec(writing: Writing, said: Said) -> None:
    writing.referred(said, "audiodev", "audiodev")
    said.drop("audiodev", "cad", "bus")
    cards = [node for node in writing.devices.children if node.tag == "sound"]
    if cards:
        writing.element(cards[-1], "codec", type=_CODECS[said.part.type])
    else:
        writing.lose(said.part.label())


def _usb_input(writing: Writing, said: Said) -> None:
    what, bus = _INPUT[said.part.type]
    writing.device("input", type=what, bus=bus)


def _virtio_input(writing: Writing, said: Said) -> None:
    what = {"input-host": "passthrough"}.get(kind(said.part), kind(said.part))
    node = writing.device("input", type=what, bus="virtio")
    with_driver(said, node)
    if what == "passthrough":
        writing.element(node, "source", evdev=writing.path(said.take("evdev") or "", "the event device"))
    settle_versions(said)


def _vsock(writing: Writing, said: Said) -> None:
    node = writing.device("vsock", model=settle_versions(said) or "virtio")
    cid = said.number("guest-cid")
    if cid is not None and cid.isdecimal() and int(cid) < 3:
        writing.lose(f"guest-cid={cid} of {said.part.label()}: libvirt finds a free one")
        cid = None
    writing.element(node, "cid", auto="no" if cid else "yes", address=cid)
    said.drop("vhostfd")
    with_driver(said, node)


def _crypto(writing: Writing, said: Said) -> None:
    node = writing.device("crypto", model="virtio", type="qemu")
    source = writing.referred(said, "cryptodev", "object")
    model = source.part.type.removeprefix("cryptodev-backend-") if source is not None else "builtin"
    queues = source.number("queues") if source is not None else None
    writing.element(
        node, "backend", model=model if model in ("builtin", "lkcf") else "builtin", queues=queues
    )
    if source is not None:
        writing.finish(source)
    with_driver(said, node)
    settle_versions(said)


def _tpm(writing: Writing, said: Said) -> None:
    node = writing.device("tpm", model=_TPMS.get(said.part.type, said.part.type))
    backend = writing.referred(said, "tpmdev", "tpmdev")
    if backend is not None and backend.part.type == "passthrough":
        element = writing.element(node, "backend", type="passthrough")
        writing.element(element, "device", path=writing.path(backend.take("path") or "/dev/tpm0", "the TPM"))
    else:
        writing.element(node, "backend", type="emulator", version="2.0")
        if backend is not None:
            character = writing.referred(backend, "chardev", "chardev")
            if character is not None:
                character.left.clear()
                writing.finish(character)
    if backend is not None:
        backend.drop("cancel-path")
        writing.finish(backend)


def _watchdog(writing: Writing, said: Said) -> None:
    action = next((part.type for part in writing.guest.of("watchdog-action")), "reset")
    writing.device("watchdog", model=said.part.type, action=action)


def _panic(writing: Writing, said: Said) -> None:
    node = writing.device("panic", model="isa" if said.part.type == "pvpanic" else "pvpanic")
    port = said.number("ioport")
    if port and node.attributes["model"] == "isa":
        writing.element(node, "address", type="isa", iobase=hexadecimal(port))


def _generation(writing: Writing, said: Said) -> None:
    guid = said.take("guid") or "auto"
    if guid == "auto" or UUID.fullmatch(guid):
        writing.child("genid").text = "" if guid == "auto" else guid
    else:
        writing.lose(f"guid={guid} of {said.part.label()}")


def _core_info(writing: Writing, said: Said) -> None:
    writing.element(writing.child("features"), "vmcoreinfo", state="on")


def _iommu(writing: Writing, said: Said) -> None:
    model = {"intel-iommu": "intel", "amd-iommu": "amd"}.get(said.part.type, "virtio")
    node = writing.device("iommu", model=model)
    driver = Node("driver")
    for prop, attribute in (
        ("intremap", "intremap"),
        ("caching-mode", "caching_mode"),
        ("eim", "eim"),
        ("device-iotlb", "iotlb"),
    ):
        state = said.flag(prop)
        if state is not None:
            driver.attributes[attribute] = state
    width = said.number("aw-bits")
    if width:
        driver.attributes["aw_bits"] = width
    if driver.attributes and model != "virtio":
        node.children.append(driver)
    settle_versions(said)


_ONCE: dict[Write, str] = {_balloon: "memballoon", _vsock: "vsock", _tpm: "tpm", _iommu: "iommu"}
"""Devices of which a domain has one at most."""

_VIRTIO: dict[str, Write] = {
    "balloon": _balloon,
    "rng": _random,
    "serial": _serial_controller,
    "scsi": _scsi,
    "vga": _video,
    "vga-gl": _video,
    "gpu": _video,
    "gpu-gl": _video,
    "sound": _sound,
    "keyboard": _virtio_input,
    "mouse": _virtio_input,
    "tablet": _virtio_input,
    "input-host": _virtio_input,
    "vsock": _vsock,
    "crypto": _crypto,
    "fs": filesystem,
    "9p": filesystem,
    "iommu": _iommu,
}
_BY_DRIVER: dict[str, Write] = {
    **dict.fromkeys(_CODECS, _codec),
    **dict.fromkeys(("vfio-pci", "vfio-pci-nohotplug", "vfio-ccw", "vfio-ap"), host_pci),
    **dict.fromkeys(("tpm-tis", "tpm-crb", "tpm-spapr", "tpm-tis-device"), _tpm),
    **dict.fromkeys(("pvpanic", "pvpanic-pci"), _panic),
    **dict.fromkeys(("vhost-scsi-pci", "vhost-scsi-ccw"), vhost_scsi),
    **dict.fromkeys(("vhost-scsi-pci-non-transitional", "vhost-scsi-pci-transitional"), vhost_scsi),
    "usb-host": host_usb,
    "vmgenid": _generation,
    "vmcoreinfo": _core_info,
    "intel-iommu": _iommu,
    "amd-iommu": _iommu,
}
