"""The ways into a running QEMU: character devices, monitors, the gdb stub, displays."""

from __future__ import annotations

from sequester.audit.asking import Seen, command, record, records, string
from sequester.audit.parts import Parts
from sequester.audit.questions import Answered
from sequester.guest.part import Value


def add_chardevs(parts: Parts, told: Answered) -> None:
    """Add character devices, the gdb stub, and the monitors that are no objects (before QEMU 11)."""
    seen = told.seen
    monitors = {
        seen.text(path, "chardev") for path, type_of in told.objects if type_of.startswith("monitor-")
    }
    for entry in records(seen.value(command("query-chardev"))):
        label, text = string(entry.get("label")), string(entry.get("filename", ""))
        text = text.removeprefix("disconnected:")
        if label == "gdb":
            if text.startswith(("tcp:", "telnet:")):
                parts.add("gdb", text)
            continue
        type_of, properties = _socket(text)
        parts.add("chardev", type_of, properties, label)
        if label.startswith(("compat_monitor", "charmonitor")) and label not in monitors:
            parts.add("mon", label)


def _socket(text: str) -> tuple[str, dict[str, Value]]:
    """Read a character device as `query-chardev` describes it: ``tcp:HOST:PORT,server=on``, ``unix:PATH``, ``pty:...``.

    A connection that stands is described by both its ends, ``tcp:HOST:PORT,server=on <-> HOST:PORT``.
    """
    protocol, _, rest = text.partition(":")
    first, *options = rest.partition(" <-> ")[0].split(",")
    if protocol in ("tcp", "telnet", "tn3270", "websocket", "tls"):
        host, _, port = first.rpartition(":")
        properties: dict[str, Value] = {"host": host.strip("[]"), "port": port}
        if protocol == "tls":
            properties["tls-creds"] = "given"
        properties["server"] = "server=on" in options
        return "socket", properties
    if protocol == "unix":
        return "socket", {"path": first}
    return protocol or "null", {}


def add_displays(parts: Parts, seen: Seen) -> None:
    """Add VNC and SPICE servers."""
    vnc = record(seen.value(command("query-vnc")))
    if vnc.get("enabled") and "host" in vnc and vnc.get("family") != "unix":
        method = string(vnc.get("auth", "none"))  # qapi/ui.json: vnc, sasl, vencrypt+x509+plain ...
        words = method.split("+")
        said: dict[str, Value] = {"password": method == "vnc", "sasl": "sasl" in words}
        if not {"tls", "x509"}.isdisjoint(words):
            said["tls-creds"] = "given"
        parts.add("vnc", f"{string(vnc['host'])}:{string(vnc.get('service', '0'))}", said)
    spice = record(seen.value(command("query-spice")))
    if spice.get("enabled") and (spice.get("port") or spice.get("tls-port")):
        given = {"port": spice.get("port"), "tls-port": spice.get("tls-port"), "addr": spice.get("host")}
        properties = {name: str(value) for name, value in given.items() if value}
        ticketing = string(spice.get("auth", "none")) == "none"
        parts.add("spice", "", {**properties, "disable-ticketing": ticketing})
