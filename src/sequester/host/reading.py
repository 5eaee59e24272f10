"""The small parts of a host's record as typed values: readings, nodes, the kernel's log, firmware states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sequester.host.record import Part

Version = tuple[int, ...]

TRUE = frozenset({"Y", "y", "1", "on", "ON", "On", "yes", "true"})
FALSE = frozenset({"N", "n", "0", "off", "OFF", "Off", "no", "false"})
NOT_RECORDED = "not in the record"


@dataclass(frozen=True, slots=True)
class Reading:
    """A small file as read: its text, or None with the reason (an errno name, or words)."""

    text: str | None = None
    error: str = NOT_RECORDED

    @property
    def absent(self) -> bool:
        """Tell whether there was no such file."""
        return self.error in ("ENOENT", "ENOTDIR")

    @property
    def on(self) -> bool | None:
        """The text as a switch in any of the kernel's spellings (Y, 1, on ...); None when it is neither."""
        word = (self.text or "").split("\n")[0].strip()
        return True if word in TRUE else False if word in FALSE else None

    @property
    def number(self) -> int | None:
        """The text as an unsigned decimal number of sane size, None when it is not one."""
        word = (self.text or "").strip()
        return int(word) if word.isdecimal() and word.isascii() and len(word) < 20 else None


@dataclass(frozen=True, slots=True)
class Node:
    """A device node, socket, table or directory as looked at: what it is and who may use it."""

    path: str
    kind: str = ""
    mode: str = ""
    uid: int = 0
    gid: int = 0
    group: str = ""
    readable: bool = False
    writable: bool = False
    error: str = NOT_RECORDED

    @property
    def exists(self) -> bool:
        """Tell whether it is there."""
        return not self.error

    @property
    def absent(self) -> bool:
        """Tell whether it is certainly not there."""
        return self.error in ("ENOENT", "ENOTDIR")


@dataclass(frozen=True, slots=True)
class KernelLog:
    """The kernel log lines that matter. `complete`: from boot on, so that a missing line means something."""

    lines: tuple[str, ...] = ()
    complete: bool = False
    source: str = ""
    error: str = NOT_RECORDED


@dataclass(frozen=True, slots=True)
class SecurityProcessor:
    """The answer of AMD's security processor to PLATFORM_STATUS or SNP_PLATFORM_STATUS.

    `state`: 0 uninitialized, 1 initialized, 2 working (SEV API 5.4; SNP firmware ABI 8.3).
    """

    version: Version = ()
    build: int = 0
    state: int = 0
    flags: int = 0
    guests: int = 0
    rmp_initialized: bool = False
    error: str = NOT_RECORDED


@dataclass(frozen=True, slots=True)
class Libvirt:
    """What libvirt offers. `asked`: whether domcapabilities were; `sectypes`: its launch security types."""

    asked: bool = False
    version: str = ""
    sectypes: frozenset[str] = frozenset()
    features: Mapping[str, bool] = field(default_factory=dict)
    binaries: tuple[str, ...] = ()
    error: str = ""


def number_or(part: Part, default: int) -> int:
    return default if part.value is None else part.number()


def error_in(part: Part) -> str:
    if part.value is None:
        return NOT_RECORDED
    return part.field("error").text()


def reading(part: Part) -> Reading:
    text = part.field("text")
    if text.value is None:
        return Reading(None, part.field("error").text() or NOT_RECORDED)
    return Reading(text.text(), "")


def node(path: str, part: Part) -> Node:
    error = part.field("error").text()
    if error:
        return Node(path, error=error)
    return Node(
        path,
        part.field("kind").text(),
        part.field("mode").text(),
        number_or(part.field("uid"), 0),
        number_or(part.field("gid"), 0),
        part.field("group").text(),
        part.field("read").truth(),
        part.field("write").truth(),
        "",
    )


def leaves(part: Part) -> dict[int, tuple[int, int, int, int]]:
    found: dict[int, tuple[int, int, int, int]] = {}
    for key, one in part.fields().items():
        registers = [register.number() for register in one.items()]
        if len(registers) != 4 or max(registers) >= 1 << 32:
            raise one.wrong("four registers of 32 bits")
        found[hex_key(one, key)] = (registers[0], registers[1], registers[2], registers[3])
    return found


def hex_key(part: Part, key: str) -> int:
    if not re.fullmatch(r"0x[0-9a-f]{1,16}", key):
        raise part.wrong("a key in hex")
    return int(key, 16)


def decimal_key(part: Part, key: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", key):
        raise part.wrong("a key in decimal")
    return int(key)


def register(part: Part) -> int | str:
    return part.number() if isinstance(part.value, int) else part.field("error").text() or NOT_RECORDED


def entries(part: Part) -> int | str:
    count = part.field("count")
    return part.field("error").text() or NOT_RECORDED if count.value is None else count.number()


def security_processor(part: Part) -> SecurityProcessor:
    major, minor = part.field("major"), part.field("minor")
    if major.value is None or minor.value is None:
        return SecurityProcessor(error=part.field("error").text() or NOT_RECORDED)
    build, state, flags, guests, rmp = (
        number_or(part.field(name), 0) for name in ("build", "state", "flags", "guests", "rmp")
    )
    return SecurityProcessor((major.number(), minor.number()), build, state, flags, guests, bool(rmp & 1), "")


def kernel_log(part: Part) -> KernelLog:
    error = part.field("error").text()
    if part.value is None or error:
        return KernelLog(error=error or NOT_RECORDED)
    return KernelLog(
        part.field("lines").texts(), part.field("complete").truth(), part.field("source").text(), ""
    )


def libvirt(part: Part) -> Libvirt:
    return Libvirt(
        part.field("asked").truth(),
        part.field("version").text(),
        frozenset(part.field("sectypes").texts()),
        {name: one.truth() for name, one in part.field("features").fields().items()},
        tuple(part.field("binaries").fields()),
        part.field("error").text(),
    )
