"""Where a guest's monitors, consoles and displays can be reached.

Source: QEMU chardev/char.c (`qemu_chr_parse_compat`), util/qemu-sockets.c (an empty host is every address),
ui/vnc.c, ui/spice-core.c, gdbstub; compared with what 7.2 and 11.1 listen on (tests/real).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sequester.guest.guest import Guest
from sequester.guest.part import Part

_PROTOCOLS = ("tcp", "telnet", "websocket", "tn3270", "wss")
_MONITORS = ("qmp", "qmp-pretty", "monitor")
_CONSOLES = ("serial", "parallel", "debugcon")
_LOCAL = ("localhost", "ip6-localhost", "::1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A network address: the part that names it, the host ('' for every address), and what stands in the way.

    `secured` tells whether TLS or SASL guards it, `password` whether a password does.
    """

    part: Part
    host: str
    secured: bool = False
    password: bool = False

    @property
    def everywhere(self) -> bool:
        """Tell whether it can be reached from other machines, as far as the address tells."""
        return not (self.host.startswith("127.") or self.host in _LOCAL)

    @property
    def shown(self) -> str:
        """The address for a person."""
        return "every address" if self.host in ("", "0.0.0.0", "::") else self.host


def monitors(guest: Guest) -> Iterator[Endpoint]:
    """Yield the network addresses of QMP and HMP monitors and of the gdb stub."""
    for group in (*_MONITORS, "gdb"):
        for part in guest.of(group):
            yield from _compatible(guest, part)
    for part in guest.of("mon"):
        yield from _of_chardev(guest, part.type or part.text("chardev") or "")
    for part in guest.objects:
        if part.type in ("monitor-qmp", "monitor-hmp"):
            yield from _of_chardev(guest, part.text("chardev") or "")


def consoles(guest: Guest) -> Iterator[Endpoint]:
    """Yield the network addresses of the guest's serial ports and consoles."""
    for group in _CONSOLES:
        for part in guest.of(group):
            yield from _compatible(guest, part)
    for part in guest.of("chardev"):
        if part.type == "socket" and "host" in part.properties and _is_console(guest, part.id):
            yield _socket(part)


def displays(guest: Guest) -> Iterator[Endpoint]:
    """Yield the network addresses of VNC and SPICE servers."""
    for part in guest.of("vnc"):
        yield from _vnc(part, part.type)
    for part in guest.of("display"):
        if part.type.startswith("vnc="):
            yield from _vnc(part, part.type[4:])
        elif part.type == "vnc" or "vnc" in part.properties:
            yield from _vnc(part, part.text("vnc") or "")
    for part in guest.of("spice"):
        if part.flag("unix") or not (part.get("port") or part.get("tls-port")):
            continue
        plain = part.get("port") not in (None, "0", 0)
        yield Endpoint(
            part,
            part.text("addr") or "",
            secured=bool(part.flag("sasl")) or not plain,
            password=not part.flag("disable-ticketing"),
        )


def _compatible(guest: Guest, part: Part) -> Iterator[Endpoint]:
    """Read the short form of a character device: ``tcp:HOST:PORT,server=on``, ``telnet::4444``, ``chardev:ID``."""
    text = part.type.removeprefix("mon:")
    protocol, colon, rest = text.partition(":")
    if protocol == "chardev" and colon:
        yield from _of_chardev(guest, rest.partition(",")[0])
    elif protocol in _PROTOCOLS and colon:
        address, *options = rest.split(",")
        host, _, _ = address.rpartition(":")
        secured = any(option.startswith("tls-creds=") for option in options)
        yield Endpoint(part, host.strip("[]"), secured)


def _of_chardev(guest: Guest, identity: str) -> Iterator[Endpoint]:
    part = guest.by_id.get(identity)
    if part is not None and part.group == "chardev" and part.type == "socket" and "host" in part.properties:
        yield _socket(part)


def _socket(part: Part) -> Endpoint:
    return Endpoint(part, part.text("host") or "", "tls-creds" in part.properties)


def _vnc(part: Part, address: str) -> Iterator[Endpoint]:
    host, colon, display = address.rpartition(":")
    if not colon or host == "unix" or display == "none" or part.flag("reverse"):
        return
    secured = "tls-creds" in part.properties or bool(part.flag("sasl"))
    password = bool(part.flag("password")) or "password-secret" in part.properties
    yield Endpoint(part, host.strip("[]"), secured, password)


def _is_console(guest: Guest, identity: str) -> bool:
    return any(
        part.get("chardev") == identity and part.type.endswith(("serial", "console", "uart", "-vty"))
        for part in guest.devices
    )
