"""Reads our own short TOML guest: the pleasant way to write one by hand. `docs/guest-toml.md` is its page."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sequester.errors import InputError
from sequester.formats.argv_implied import implied_devices
from sequester.formats.argv_read import Argv, read_argv
from sequester.formats.document import Written
from sequester.formats.toml_parts import Making, Origin, controller_stem, way_of
from sequester.formats.toml_scan import scan
from sequester.formats.toml_sections import OPEN, SECTIONS
from sequester.formats.toml_table import Table, in_order
from sequester.guest.change import Change
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest, complete
from sequester.guest.part import Part, Value

MAX_BYTES = 2 << 20
"""A guest with 10,000 devices takes less."""

MACHINES = {"x86_64": "q35", "ppc64": "pseries", "s390x": "s390-ccw-virtio", "aarch64": "virt"}
"""The machine of each architecture where none is named."""

DEFAULT_MEMORY = "2G"
_FILES = ("kernel", "initrd", "append", "shim", "dtb")
SAID_ELSEWHERE = {
    "accel": "accel",
    "cpu": "[cpu]",
    "enable-kvm": "accel",
    "m": "[memory]",
    "machine": "[machine.options]",
    "name": "name",
    "smp": "[cpus]",
}
"""Options that may not be among the arguments, because a key of the file says the same."""

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True)
class TomlDocument:
    """A TOML guest that was read: its text, the guest, and where each part is said.

    `arguments` is the command line under ``qemu.args``, None where there is none.
    """

    name: str
    text: str
    guest: Guest
    origins: Mapping[int, Origin]
    arguments: Argv | None

    @property
    def format(self) -> str:
        """The format's name."""
        return "toml"

    def edited(self, changes: Sequence[Change]) -> Written:
        """Return the file with the changes made and everything else as it was (see `toml_edit`)."""
        if not changes:
            return Written(self.text)
        from sequester.formats.toml_edit import edited  # loads tomlkit

        return edited(self, changes)


def read_toml(data: bytes, name: str) -> TomlDocument:
    """Read a TOML guest. Raises InputError naming file, line and key."""
    text = _decoded(data, name)
    layout = scan(text, name)
    table = Table(name, _parsed(text, name), layout.lines)
    return _Reader(name, text, table).run()


def _decoded(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{len(data)} bytes are too many for a guest",
            code="input.size",
            where=name,
            remedy=f"at most {MAX_BYTES} bytes are read",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "this is not UTF-8 text", code="input.encoding", where=f"{name}:{line}", remedy="save it as UTF-8"
        ) from None


def _parsed(text: str, name: str) -> dict[str, Any]:
    if text.startswith("\ufeff"):
        raise InputError(
            "a byte order mark is no TOML",
            code="input.encoding",
            where=f"{name}:1",
            remedy="save it as UTF-8 without",
        )
    try:
        return tomllib.loads(text)
    except ValueError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1 if found else 0
        what = _AT.sub("", str(error)).split(":")[0]
    except RecursionError:
        line, what = 0, "it is nested too deeply"
    where = f"{name}:{line}" if line else name
    raise InputError("this is not TOML", code="input.syntax", where=where, why=what[:1].lower() + what[1:])


class _Reader:
    """Goes through the file once."""

    def __init__(self, name: str, text: str, table: Table) -> None:
        self.name = name
        self.text = text
        self.top = table
        self.qemu = table.table("qemu") or Table(name, {}, {}, ("qemu",))
        self.bare = self.qemu.flag("defaults")
        self.emulator = self.qemu.text("binary")
        self.arguments: Argv | None = None
        arch = self._arch()
        self.making = Making(arch, way_of(arch, Part("machine", "")), set())

    def run(self) -> TomlDocument:
        sections = [(kind, each) for kind in SECTIONS for each in self.top.tables(kind)]
        self.making.taken = {str(each.values["id"]) for _, each in sections if "id" in each.values}
        self._machine()
        self._processor()
        self._limit()
        self._setting("name", "name", "guest")
        self._setting("display", "display", "type", "" if self.bare else "none")
        if not self.bare:
            self.making.add("nodefaults", "", {}, Origin(("qemu", "defaults")))
        self._boot()
        self._sections(sections)
        self._arguments()
        self.qemu.finish()
        self.top.finish()
        guest = complete(self.making.arch, self.emulator, self.making.parts)
        extra = implied_devices(guest)
        if extra:
            guest = replace(guest, parts=(*guest.parts, *extra))
        return TomlDocument(self.name, self.text, guest, self.making.origins, self.arguments)

    def _arch(self) -> str:
        if self.top.has("arch"):
            return self.top.text("arch")
        machine = self.top.values.get("machine", "")
        kind = str(machine.get("type", "") if isinstance(machine, dict) else machine)
        base = self.emulator.rpartition("/")[2]
        by_name = [arch for arch in MACHINES if base == f"qemu-system-{arch}"]
        by_machine = [arch for arch, prefix in MACHINES.items() if f"{kind}-".startswith(f"{prefix}-")]
        return (*by_name, *by_machine, "x86_64")[0]

    def _setting(
        self, key: str, group: str, kind: str, default: str = "", rest: str = "options"
    ) -> dict[str, Value]:
        """Read a setting that is a plain value, or a table with that value under `kind`; return its properties.

        Nothing is added where the key is missing and there is no default.
        """
        value, properties = default, {}
        line, spelled = 0, f"{key} (left out)"
        if self.top.has(key):
            line = self.top.line_of(key)
            if isinstance(self.top.values[key], dict) and (table := self.top.table(key)) is not None:
                value = self._scalar(table, kind, group, default)
                properties = table.properties(rest) if rest else table.rest()
                if rest:
                    table.finish()
                spelled = f"[{key}]"
            else:
                value = self._scalar(self.top, key, group)
                spelled = f"{key} = {value}"[:100]
        if value or properties or self.top.has(key):
            self.making.add(group, value, properties, Origin((key,), kind, {}, rest), line, spelled)
        return properties

    @staticmethod
    def _scalar(table: Table, key: str, group: str, default: str = "") -> str:
        """Read a plain value; memory and CPUs may be numbers."""
        if group not in ("m", "smp"):
            return table.text(key, default)
        value = table.text_or_number(key, default)
        if value and not value[0].isdigit():
            raise table.error(
                key, f"'{value[:40]}' is no number or size", code="input.value", remedy='such as 4 or "4G"'
            )
        return value

    def _machine(self) -> None:
        arch = self.making.arch
        default = "" if self.bare else MACHINES.get(arch, "")
        if not (self.bare or default or self.top.has("machine")):
            raise self.top.error(
                "arch", f"'machine' is missing for {arch}", remedy=f"known: {', '.join(MACHINES)}"
            )
        options = self._setting("machine", "machine", "type", default)
        if self.making.parts:
            self.making.way = way_of(arch, self.making.parts[-1])
        if self.top.has("limit") and (named := [name for name in LIMITATION_PROPERTIES if name in options]):
            raise self.top.error(
                "limit",
                f"'limit' and machine.options.{named[0]} say the same thing twice",
                remedy="keep 'limit'",
            )
        if self.top.has("accel") or not (self.bare or "accel" in options):
            self._accelerators()

    def _accelerators(self) -> None:
        value = self.top.values.get("accel", "kvm")
        path = ("accel",)
        for i, each in enumerate(value if isinstance(value, list) else [value]):
            origin = Origin((*path, i) if isinstance(value, list) else path, "name")
            properties: dict[str, Value] = {}
            if isinstance(each, dict):
                table = Table(self.name, each, {origin.path: self.top.line_of("accel")}, origin.path)
                each = table.needed("name", '"kvm"')
                properties = table.rest()
            if not isinstance(each, str) or not each:
                raise self.top.wrong("accel", "the name of an accelerator, or a list of them,")
            self.making.add(
                "accel", each, properties, origin, self.top.line_of("accel"), f"accel = {each}"[:100]
            )

    def _processor(self) -> None:
        first = next((part.type for part in self.making.parts if part.group == "accel"), "")
        self._setting(
            "cpu", "cpu", "model", "" if self.bare else "host" if first == "kvm" else "max", "features"
        )
        self._setting("cpus", "smp", "count", "", "")
        if not self.bare and not self.top.has("cpus"):
            self.making.add("smp", "1", {}, Origin(("cpus",), "count"), 0, "cpus (left out)")
        self._memory()

    def _memory(self) -> None:
        default = "" if self.bare else DEFAULT_MEMORY
        value = self.top.values.get("memory")
        table = self.top.table("memory") if isinstance(value, dict) else None
        if table is None:
            self._setting("memory", "m", "size", default, "")
            return
        shared = table.flag("shared")
        behind = table.properties("backend")
        if behind and not shared:
            raise table.error("backend", "memory.backend is for shared memory", remedy="add shared = true")
        size = self._scalar(table, "size", "m", default)
        self.making.add("m", size, table.rest(), Origin(("memory",), "size"), table.line, "[memory]")
        if shared:
            self._shared_memory(size, behind)

    def _shared_memory(self, size: str, behind: dict[str, Value]) -> None:
        properties = {"id": "memory0", "size": size, "share": True, **behind}
        line = self.top.line_of("memory")
        origin = Origin(("memory",), "", {}, "backend")
        self.making.add("object", "memory-backend-memfd", properties, origin, line, "[memory] shared")
        for i, part in enumerate(self.making.parts):
            if part.group == "machine" and "memory-backend" not in part.properties:
                self.making.parts[i] = replace(
                    part, properties={**part.properties, "memory-backend": properties["id"]}
                )

    def _limit(self) -> None:
        if not self.top.has("limit"):
            return
        if isinstance(self.top.values["limit"], dict):
            table = self.top.table("limit")
            assert table is not None
            platform = table.needed("platform", '"auto"')
            properties, spelled = table.rest(), "[limit]"
        else:
            platform = self.top.text("limit")
            properties, spelled = {}, f"limit = {platform}"[:100]
        origin = Origin(("limit",), "platform")
        self.making.add("limitation", platform, properties, origin, self.top.line_of("limit"), spelled)

    def _boot(self) -> None:
        if self.top.has("firmware"):
            self._firmware()
        for key in _FILES:
            if self.top.has(key):
                value = self.top.text(key)
                self.making.add(
                    key, value, {}, Origin((key,)), self.top.line_of(key), f"{key} = {value}"[:100]
                )

    def _firmware(self) -> None:
        line = self.top.line_of("firmware")
        if not isinstance(self.top.values["firmware"], dict):
            path = self.top.text("firmware")
            self.making.add("bios", path, {}, Origin(("firmware",)), line, f"firmware = {path}"[:100])
            return
        table = self.top.table("firmware")
        assert table is not None
        table.needed("code", '"OVMF_CODE.fd"')
        for unit, key in enumerate(("code", "vars")):
            if table.has(key):
                flash: dict[str, Value] = {
                    "if": "pflash",
                    "format": table.text("format", "raw"),
                    "unit": unit,
                }
                if key == "code":
                    flash["readonly"] = True
                self.making.add(
                    "drive",
                    table.text(key),
                    flash,
                    Origin(("firmware",), key, {}, "-"),
                    line,
                    "[firmware]",
                )
        table.finish()

    def _sections(self, sections: list[tuple[str, Table]]) -> None:
        kind_of = {each.path: kind for kind, each in sections}
        for kind, table in sections:
            if kind == "device" and (stem := controller_stem(str(table.values.get("driver", "")))):
                self.making.declared.setdefault(stem, table)
        for table in in_order(each for _, each in sections):
            kind = kind_of[table.path]
            if table.path in self.making.made:
                continue
            SECTIONS[kind](table, self.making)
            if kind not in OPEN:
                table.has("id")
                table.has("driver")
                table.finish()
        if not self.bare and not self.top.has("console"):
            self.making.add("serial", "stdio", {}, Origin(("console", 0), "to"), 0, "[[console]] (left out)")

    def _arguments(self) -> None:
        words = self.qemu.texts("args")
        if not words:
            return
        if not words[0].startswith("-"):
            raise self.qemu.error(
                "args", f"'{words[0][:40]}' is no option", remedy="begin with one, such as -S"
            )
        line = self.qemu.line_of("args")
        self.arguments = read_argv(words, f"{self.name}:{line}")
        for part in self.arguments.guest.parts:
            if part.implied:
                continue
            if part.group in SAID_ELSEWHERE:
                raise self.qemu.error(
                    "args",
                    f"-{part.group} is not for [qemu] args",
                    remedy=f"use {SAID_ELSEWHERE[part.group]}",
                )
            group = "object" if part.group == "limitation" else part.group
            origin = Origin(("qemu", "args"), argument=part.key)
            self.making.add(group, part.type, part.properties, origin, line, part.spelled)
