"""What a person sees and hears: graphics, video, sound, and where they listen.

Source: libvirt src/qemu/qemu_command.c (`qemuBuildGraphicsVNCCommandLine`, `qemuBuildGraphicsSPICECommandLine`,
`qemuBuildDeviceVideoCmd`, `qemuBuildSoundCommandLine`); compared with what libvirt 12.8 makes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading, first_children, options

DEFAULT_LISTEN = "127.0.0.1"
"""qemu.conf's ``vnc_listen`` and ``spice_listen`` where nobody changed them."""

VIDEO = {
    "vga": "VGA",
    "cirrus": "cirrus-vga",
    "vmvga": "vmware-svga",
    "qxl": "qxl",
    "bochs": "bochs-display",
    "ramfb": "ramfb",
    "none": "",
}

SOUND = {
    "ich6": "intel-hda",
    "ich9": "ich9-intel-hda",
    "ich7": "ich9-intel-hda",
    "ac97": "AC97",
    "es1370": "ES1370",
    "sb16": "sb16",
    "usb": "usb-audio",
    "virtio": "virtio-sound",
}
_CODECS = {"duplex": "hda-duplex", "micro": "hda-micro", "output": "hda-output"}
_VGA_ARCHES = frozenset({"x86_64", "i386", "ppc64"})

_SPICE_CHILDREN: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("image", "compression", "image-compression", {}),
    ("jpeg", "compression", "jpeg-wan-compression", {}),
    ("zlib", "compression", "zlib-glz-wan-compression", {}),
    ("playback", "compression", "playback-compression", {}),
    ("streaming", "mode", "streaming-video", {}),
    ("mouse", "mode", "agent-mouse", {"client": "on", "server": "off"}),
    ("clipboard", "copypaste", "disable-copy-paste", {"no": "on"}),
    ("filetransfer", "enable", "disable-agent-file-xfer", {"no": "on"}),
    ("gl", "enable", "gl", {"yes": "on"}),
)


def graphics(reading: Reading, found: list[Element], audio: str) -> None:
    """Add the displays; ``-display none`` where the domain has none."""
    if not found:
        reading.add("display", "none", {}, None)
    for element in found:
        kind = element.get("type", "")
        if kind == "vnc":
            _vnc(reading, element, audio)
        elif kind == "spice":
            _spice(reading, element)
        elif kind == "egl-headless":
            gl = element.find("gl")
            node = gl.get("rendernode") if gl is not None else None
            reading.add("display", "egl-headless", {"rendernode": node} if node else {}, element)
        elif kind == "sdl":
            gl = element.find("gl")
            reading.add(
                "display",
                "sdl",
                {"gl": "on"} if gl is not None and gl.get("enable") == "yes" else {},
                element,
            )
        elif kind == "dbus":
            properties: Props = {"p2p": "on"} if element.get("p2p") == "yes" else {}
            if element.get("address"):
                properties["addr"] = element.get("address")
            reading.add("display", "dbus", properties, element)
        else:
            reading.leave_out(f"<graphics type='{kind}'>", element)


def _listens(element: Element) -> tuple[str, str]:
    """Return how a display listens (``address``, ``socket``, ``none``) and where."""
    for child in element:
        if child.tag == "listen":
            kind = child.get("type", "address")
            if kind == "socket":
                return "socket", child.get("socket", "")
            if kind in ("none", "network"):
                return kind, child.get("address") or child.get("network") or ""
            return "address", child.get("address") or element.get("listen") or DEFAULT_LISTEN
    if element.get("socket"):
        return "socket", element.get("socket", "")
    return "address", element.get("listen") or DEFAULT_LISTEN


def _port(reading: Reading, element: Element, attribute: str, default: int) -> int:
    port = reading.number(element, attribute, -1)
    if port > 0:
        return port
    return default + reading.count(f"{element.get('type')} port")


def _vnc(reading: Reading, element: Element, audio: str) -> None:
    how, where = _listens(element)
    if how == "socket":
        display = f"unix:{where}"
    elif how == "none":
        display = "none"
    else:
        if how == "network":
            reading.leave_out(f"the network '{where}' that VNC listens on", element)
            where = DEFAULT_LISTEN
        shown = f"[{where}]" if ":" in where else where
        display = f"{shown}:{_port(reading, element, 'port', 5900) - 5900}"
    properties: Props = {}
    if element.get("websocket"):
        properties["websocket"] = element.get("websocket")
    if element.get("passwd") is not None:
        properties["password"] = "on"
        reading.leave_out("the password of VNC: set it through the monitor", element)
    if element.get("sharePolicy"):
        properties["share"] = element.get("sharePolicy")
    if element.get("powerControl"):
        properties["power-control"] = "on" if element.get("powerControl") == "yes" else "off"
    if audio:
        properties["audiodev"] = audio
    reading.add("vnc", display, properties, element)


def _spice(reading: Reading, element: Element) -> None:
    how, where = _listens(element)
    properties: Props = {}
    if how == "socket":
        properties.update(unix="on", addr=where)
    elif how == "none":
        properties["port"] = "0"
    else:
        if how == "network":
            reading.leave_out(f"the network '{where}' that SPICE listens on", element)
            where = DEFAULT_LISTEN
        properties["port"] = str(_port(reading, element, "port", 5900))
        if reading.number(element, "tlsPort", -1) > 0:
            properties["tls-port"] = element.get("tlsPort")
        properties["addr"] = where
    if element.get("passwd") is None:
        properties["disable-ticketing"] = "on"
    else:
        reading.leave_out("the password of SPICE: set it through the monitor", element)
    children = first_children(element)
    for tag, attribute, option, values in _SPICE_CHILDREN:
        said = children[tag].get(attribute) if tag in children else None
        if said and (not values or said in values):
            properties[option] = values.get(said, said)
    for child in element:
        if child.tag == "channel":
            reading.leave_out(f"<channel> '{child.get('name')}' of SPICE", child)
    properties["seamless-migration"] = "on"
    reading.add("spice", "", properties, element)


def audio(reading: Reading, found: list[Element], graphics_: list[Element]) -> str:
    """Add the audio backends; return the id of the first."""
    first = ""
    for element in found:
        identity = f"audio{element.get('id', '1')}"
        kind = element.get("type", "none")
        driver = {"pulseaudio": "pa", "file": "wav"}.get(kind, kind)
        properties: Props = {"id": identity}
        for attribute, prop in (("serverName", "server"), ("path", "path"), ("driver", "driver")):
            if element.get(attribute) and attribute != "driver":
                properties[prop] = element.get(attribute)
        reading.add("audiodev", driver, properties, element, identity)
        first = first or identity
    if not found:
        kinds = [element.get("type") for element in graphics_]
        driver = "spice" if kinds[:1] == ["spice"] else "none"
        reading.add("audiodev", driver, {"id": "audio1"}, None, "audio1")
        first = "audio1"
    return first


def video(reading: Reading, element: Element, position: int) -> None:
    """Add one graphics card; the first one is also the VGA of machines that have it."""
    children = first_children(element)
    model = children.get("model")
    name = model.get("type", "") if model is not None else ""
    address = children.get("address")
    primary = position == 0
    properties: Props = {}
    driver = VIDEO.get(name)
    if name == "virtio":
        driver = _virtio(reading, children, model, primary=primary)
        options(children.get("driver"), properties)
    elif not name:
        driver = default_video(reading)
    elif name == "qxl" and primary:
        driver = "qxl-vga"
    identity = reading.identity("video", children.get("alias"))
    if driver is None:
        reading.leave_out(f"<video><model type='{name}'>", element)
    if not driver:
        return
    properties["id"] = identity
    if model is not None:
        _video_memory(reading, name, model, properties)
    reading.place(address, properties)
    reading.device(driver, properties, element)


def default_video(reading: Reading) -> str:
    """Return the driver of a graphics card that names no model (`qemuDomainDefaultVideoDevice`)."""
    if reading.arch in ("x86_64", "i386"):
        return "cirrus-vga"
    return "VGA" if reading.arch == "ppc64" else reading.virtio("virtio-gpu", None, None)


def added_video(reading: Reading) -> None:
    """Add the graphics card that libvirt adds to a domain that has a display and none."""
    reading.device(default_video(reading), {"id": reading.identity("video", None)}, None)


def _virtio(reading: Reading, children: dict[str, Element], model: Element | None, *, primary: bool) -> str:
    address = children.get("address")
    if model is not None and model.get("device"):
        device = model.get("device", "")
        return device if "-vga" in device else reading.virtio(device, None, address)
    driver = children.get("driver")
    served = driver is not None and driver.get("name") == "vhostuser"
    family = "vhost-user" if served else "virtio"
    acceleration = model.find("acceleration") if model is not None else None
    suffix = "-gl" if acceleration is not None and acceleration.get("accel3d") == "yes" and not served else ""
    if primary and reading.arch in _VGA_ARCHES and reading.bus == "pci" and not reading.mmio:
        return f"{family}-vga{suffix}"
    return reading.virtio(f"{family}-gpu{suffix}", None, address)


def _video_memory(reading: Reading, name: str, model: Element, properties: Props) -> None:
    if name in ("virtio", "qxl", "vga", "bochs") and model.get("heads") and name not in ("vga", "bochs"):
        properties["max_outputs"] = reading.number(model, "heads")
    if model.get("blob"):
        properties["blob"] = model.get("blob") == "on"
    if name == "qxl":
        for attribute, prop in (("ram", "ram_size"), ("vram", "vram_size")):
            if model.get(attribute):
                properties[prop] = reading.number(model, attribute) * 1024
    elif name in ("vga", "bochs", "vmvga") and model.get("vram"):
        properties["vgamem_mb" if name != "bochs" else "vgamem"] = (
            reading.number(model, "vram") // 1024 if name != "bochs" else f"{model.get('vram')}k"
        )
    resolution = model.find("resolution")
    if resolution is not None:
        properties["xres"] = reading.number(resolution, "x")
        properties["yres"] = reading.number(resolution, "y")


def sound(reading: Reading, element: Element, audio_id: str) -> None:
    """Add one sound card with its codecs."""
    name = element.get("model", "")
    driver = SOUND.get(name)
    children = first_children(element)
    identity = reading.identity("sound", children.get("alias"))
    if driver is None:
        reading.leave_out(f"<sound model='{name}'>", element)
        return
    properties: Props = {}
    address = children.get("address")
    if name == "virtio":
        driver = reading.virtio(driver, None, address)
        options(children.get("driver"), properties)
    properties["id"] = identity
    named = children.get("audio")
    backend = f"audio{named.get('id')}" if named is not None else audio_id
    codecs = [child.get("type", "") for child in element if child.tag == "codec"]
    if "intel-hda" not in driver:
        if backend:
            properties["audiodev"] = backend
        if element.get("streams"):
            properties["streams"] = reading.number(element, "streams")
    reading.place(address, properties)
    reading.device(driver, properties, element)
    if "intel-hda" in driver:
        for number, codec in enumerate(codecs or ["duplex"]):
            said: Props = {"id": f"{identity}-codec{number}", "bus": f"{identity}.0", "cad": number}
            if backend:
                said["audiodev"] = backend
            reading.device(_CODECS.get(codec, "hda-duplex"), said, element)
