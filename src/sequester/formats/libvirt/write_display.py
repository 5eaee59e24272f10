"""Writes displays: where they listen, and the graphics card of ``-vga``."""

from __future__ import annotations

from sequester.formats.libvirt.writing import Said, Writing
from sequester.guest.part import Part

_VGA = {
    "std": "vga",
    "cirrus": "cirrus",
    "vmware": "vmvga",
    "qxl": "qxl",
    "virtio": "virtio",
    "none": None,
}
_HEADLESS = frozenset({"none", "curses"})
_SPICE_TICKS = ("disable-ticketing", "seamless-migration", "x509-dir", "ipv4", "ipv6")
_SPICE_CHILDREN: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("image-compression", "image", "compression", {}),
    ("jpeg-wan-compression", "jpeg", "compression", {}),
    ("zlib-glz-wan-compression", "zlib", "compression", {}),
    ("playback-compression", "playback", "compression", {}),
    ("streaming-video", "streaming", "mode", {}),
    ("agent-mouse", "mouse", "mode", {"on": "client", "off": "server"}),
    ("disable-copy-paste", "clipboard", "copypaste", {"on": "no", "off": "yes"}),
    ("disable-agent-file-xfer", "filetransfer", "enable", {"on": "no", "off": "yes"}),
    ("gl", "gl", "enable", {"on": "yes", "off": "no"}),
)


_WORDS = ("auto_glz", "auto_lz", "quic", "glz", "lz", "off", "auto", "never", "always", "on", "filter", "all")
"""Words of SPICE's compression and streaming options."""


def displays(writing: Writing) -> None:
    """Write every display, and the graphics card of ``-vga``."""
    guest = writing.guest
    for part in guest.of("vnc"):
        _vnc(writing, Said(part))
    for part in guest.of("spice"):
        _spice(writing, Said(part))
    for part in guest.of("display"):
        _display(writing, part)
    vga = guest.one("vga")
    if vga is not None and not any(node.tag == "video" for node in writing.devices.children):
        model = _VGA.get(vga.type)
        if model is not None:
            writing.element(writing.device("video"), "model", type=model)
        elif vga.type not in _VGA:
            writing.lose(f"-vga {vga.type}")
    if any(node.tag == "graphics" for node in writing.devices.children) and not any(
        node.tag == "video" for node in writing.devices.children
    ):
        writing.element(writing.device("video"), "model", type="none")


def _display(writing: Writing, part: Part) -> None:
    if part.type in _HEADLESS:
        return
    if part.type == "egl-headless":
        node = writing.device("graphics", type="egl-headless")
        render_node = part.text("rendernode")
        if render_node:
            writing.element(node, "gl", rendernode=render_node)
    elif part.type in ("gtk", "sdl", "cocoa", "default", "vnc", "spice-app"):
        writing.lose(f"-display {part.type}: a window on the host is none of libvirt's")
    else:
        writing.lose(f"-display {part.type}")


def _vnc(writing: Writing, said: Said) -> None:
    where = said.part.type or said.take("vnc") or ""
    if where in ("none", ""):
        return
    node = writing.device("graphics", type="vnc")
    if where.startswith("unix:"):
        path = writing.path(where.removeprefix("unix:"), "the socket of VNC")
        writing.element(node, "listen", type="socket", socket=path)
    else:
        host, _, number = where.rpartition(":")
        to = said.take("to")
        if number.isdecimal() and int(number) < 59636 and to is None:
            node.attributes.update(port=str(5900 + int(number)), autoport="no")
        else:
            node.attributes.update(port="-1", autoport="yes")
        writing.element(node, "listen", type="address", address=host.strip("[]") or "0.0.0.0")
    share = said.take("share")
    if share in ("allow-exclusive", "force-shared", "ignore"):
        node.attributes["sharePolicy"] = share
    socket = said.number("websocket")
    if socket and socket.isdecimal():
        node.attributes["websocket"] = socket
    power = said.flag("power-control")
    if power is not None:
        node.attributes["powerControl"] = "yes" if power == "on" else "no"
    if said.flag("password") == "on":
        writing.lose("the password of VNC: it was set through the monitor")
    said.drop("audiodev")
    writing.finish(said)


def _spice(writing: Writing, said: Said) -> None:
    node = writing.device("graphics", type="spice")
    address, port, tls = said.take("addr"), said.number("port"), said.number("tls-port")
    if said.flag("unix") == "on":
        writing.element(
            node, "listen", type="socket", socket=writing.path(address or "", "the socket of SPICE")
        )
    elif port in (None, "0") and tls is None:
        writing.element(node, "listen", type="none")
    else:
        node.attributes.update(autoport="no")
        if port:
            node.attributes["port"] = port
        if tls:
            node.attributes["tlsPort"] = tls
        writing.element(node, "listen", type="address", address=address or "0.0.0.0")
    if said.flag("disable-ticketing") != "on":
        writing.lose("the password of SPICE: it was set elsewhere")
    said.drop(*_SPICE_TICKS)
    for prop, tag, attribute, values in _SPICE_CHILDREN:
        value = said.word(prop, *(values or _WORDS))
        if value is not None:
            writing.element(node, tag, **{attribute: values.get(value, value)})
    render_node = said.take("rendernode")
    if render_node:
        gl = next((child for child in node.children if child.tag == "gl"), None)
        if gl is not None:
            gl.attributes["rendernode"] = render_node
    writing.finish(said)
