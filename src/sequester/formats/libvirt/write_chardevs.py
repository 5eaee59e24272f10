"""Writes serial ports, consoles and channels, and the character backends behind them."""

from __future__ import annotations

from sequester.formats.libvirt.writing import Said, Writing
from sequester.formats.xml_splice import Node
from sequester.guest.part import Part

_SERIAL = {
    "isa-serial": "isa-serial",
    "pci-serial": "pci-serial",
    "usb-serial": "usb-serial",
    "spapr-vty": "spapr-vio-serial",
    "sclpconsole": "sclp-serial",
}
PORTS = frozenset({*_SERIAL, "virtserialport", "virtconsole", "isa-parallel", "usb-redir"})
_VALUES = {
    "pty": "pty",
    "null": "null",
    "vc": "vc",
    "file": "file",
    "pipe": "pipe",
    "serial": "dev",
    "tty": "dev",
}
_SPICE = {"vdagent": "spicevmc", "usbredir": "spicevmc", "smartcard": "spicevmc"}


def port(writing: Writing, part: Part) -> None:
    """Write a device that a character backend stands behind."""
    said = Said(part)
    tag, target = "serial", Node("target")
    if part.type == "virtserialport":
        tag = "channel"
        target.attributes = {"type": "virtio"}
        name = said.take("name")
        if name:
            target.attributes["name"] = name
    elif part.type == "virtconsole":
        tag = "console"
        target.attributes = {"type": "virtio"}
    elif part.type == "isa-parallel":
        tag = "parallel"
    elif part.type == "usb-redir":
        tag = "redirdev"
    else:
        target.attributes = {"type": _SERIAL[part.type]}
    node = writing.device(tag, type="pty")
    character = writing.referred(said, "chardev", "chardev")
    if character is not None:
        source(writing, character, node)
        writing.finish(character)
    if tag == "redirdev":
        node.attributes["bus"] = "usb"
    else:
        node.children.append(target)
    said.drop("nr", "index", "iobase", "irq", "reg")
    writing.boot(said, node)
    writing.finish(said)


def serial_option(writing: Writing, part: Part) -> None:
    """Write a ``-serial``."""
    what, _, rest = part.type.partition(":")
    writing.used.add(part.key)
    if what == "none":
        return
    node = writing.device("serial", type="pty")
    if what == "chardev":
        found = next((p for p in writing.guest.of("chardev") if p.id == rest), None)
        if found is not None:
            character = Said(found)
            source(writing, character, node)
            writing.finish(character)
    elif what == "file":
        node.attributes["type"] = "file"
        writing.element(node, "source", path=writing.path(rest, "the file of a serial port"))
    elif what == "null":
        node.attributes["type"] = "null"
    elif what != "pty":
        writing.lose(f"-serial {part.type}: a pseudo terminal stands in its place")


def source(writing: Writing, said: Said, node: Node) -> None:
    """Say what a character backend is."""
    what = said.part.type
    if what == "socket":
        _socket(writing, said, node)
    elif what == "udp":
        node.attributes["type"] = "udp"
        host, service = said.take("localaddr"), said.take("localport")
        if service:
            writing.element(node, "source", mode="bind", host=host or "0.0.0.0", service=service)
        writing.element(
            node, "source", mode="connect", host=said.take("host") or "127.0.0.1", service=said.take("port")
        )
    elif what in ("spicevmc", "spiceport", "qemu-vdagent", "dbus"):
        node.attributes["type"] = what
        name = said.take("name")
        if what in ("spiceport", "dbus"):
            writing.element(node, "source", channel=name)
        elif what == "qemu-vdagent":
            child = writing.element(node, "source")
            clipboard, mouse = said.flag("clipboard"), said.flag("mouse")
            if clipboard is not None:
                writing.element(child, "clipboard", copypaste="yes" if clipboard == "on" else "no")
            if mouse is not None:
                writing.element(child, "mouse", mode="client" if mouse == "on" else "server")
    elif what in _VALUES:
        node.attributes["type"] = _VALUES[what]
        path = said.take("path")
        if path and node.attributes["type"] in ("file", "pipe", "dev"):
            path = writing.path(path, "the file of a character device")
            writing.element(node, "source", path=path, append=said.flag("append"))
    else:
        writing.lose(f"{said.part.label()}: a pseudo terminal stands in its place")
        said.left.clear()
    log = said.take("logfile")
    if log:
        log = writing.path(log, "the log of a character device")
        writing.element(node, "log", file=log, append=said.flag("logappend"))
    said.drop("mux", "signal")


def _socket(writing: Writing, said: Said, node: Node) -> None:
    path = said.take("path")
    server = said.flag("server") == "on"
    said.drop("wait")
    mode = "bind" if server else "connect"
    if path is not None:
        node.attributes["type"] = "unix"
        child = writing.element(
            node, "source", mode=mode, path=writing.path(path, "the socket of a character device")
        )
    else:
        node.attributes["type"] = "tcp"
        child = writing.element(
            node, "source", mode=mode, host=said.take("host") or "127.0.0.1", service=said.take("port")
        )
        writing.element(node, "protocol", type="telnet" if said.flag("telnet") == "on" else "raw")
    again = said.number("reconnect-ms")
    seconds = int(again) // 1000 if again and again.isdecimal() else None
    if seconds is None and (again := said.number("reconnect")) and again.isdecimal():
        seconds = int(again)
    if seconds:
        writing.element(child, "reconnect", enabled="yes", timeout=str(seconds))
