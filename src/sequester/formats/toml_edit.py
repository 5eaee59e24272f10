"""Carries changes to a guest into its TOML file: each into the key that says the thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sequester.formats.argv_edit import edited_argv
from sequester.formats.argv_write import arguments
from sequester.formats.document import Written
from sequester.formats.toml_parts import Origin, controller_stem
from sequester.formats.toml_scan import Path
from sequester.formats.toml_splice import Missing, Splicer
from sequester.formats.toml_value import sayable
from sequester.guest.change import Add, Change, Remove, Retype, Set, Unset, applied
from sequester.guest.part import Part, Value

if TYPE_CHECKING:
    from sequester.formats.toml_read import TomlDocument

_SINGLE = {
    "machine": Origin(("machine",), "type", {}, "options"),
    "cpu": Origin(("cpu",), "model", {}, "features"),
    "m": Origin(("memory",), "size"),
    "smp": Origin(("cpus",), "count"),
}
"""Where parts are said that nothing in the file declares."""

_KEY_OF = {
    "bios": "firmware",
    "kernel": "kernel",
    "initrd": "initrd",
    "append": "append",
    "shim": "shim",
    "dtb": "dtb",
}
_KEPT_BY_DEFAULT = frozenset({"machine", "cpu", "m", "smp", "accel", "display", "nodefaults"})
"""Parts that come back when the file does not mention them."""

_NEEDED = frozenset({"cid", "directory", "host", "security", "socket", "source", "sysfsdev", "tag"})
"""Keys that their sections cannot be without, or without which something else is meant."""

_SECTION_KEY = {"device": "driver", "object": "qom-type"}


def edited(document: TomlDocument, changes: Sequence[Change]) -> Written:
    """Return the file's text with the changes made and everything else byte for byte as it was.

    Parts that the file only implies are written out where that is needed. What cannot be said is named in the
    answer's `lost`.
    """
    return _Editor(document).run(changes)


class _Editor:
    """Works out what each change means for the file; `Splicer` writes it."""

    def __init__(self, document: TomlDocument) -> None:
        self.document = document
        self.text = Splicer(document.text)
        self.made: dict[Path, dict[str, Any]] = {}
        self.added: dict[int, Part] = {}
        self.for_arguments: list[Change] = []
        self.globals: list[str] = []
        self.removed: set[int] = set()
        self.lost: list[str] = []

    def run(self, changes: Sequence[Change]) -> Written:
        self._pin_processor(changes)
        for change in changes:
            if isinstance(change, Add):
                self.added[change.part.key] = change.part
            elif change.key in self.added:
                self._change_added(change)
            else:
                self._change(self.document.guest.by_key[change.key], change)
        self._remove_sections()
        for part in self.added.values():
            self._add(part)
        self._arguments()
        return Written(self.text.text_now(), tuple(self.lost))

    def _change_added(self, change: Set | Unset | Retype | Remove) -> None:
        kept = applied(self.added[change.key], (change,))
        if kept is None:
            del self.added[change.key]
        else:
            self.added[change.key] = kept

    def _change(self, part: Part, change: Set | Unset | Retype | Remove) -> None:
        origin = self.document.origins.get(part.key) or _SINGLE.get(part.group)
        if origin is None:
            self._change_implied(part, change)
        elif origin.argument is not None:
            self.for_arguments.append(replace(change, key=origin.argument))
        elif (
            isinstance(change, (Set, Unset))
            and change.name in ("id", "node-name")
            and (origin.shared or origin.rest or part.group == "object")
        ):
            self._lose(part, change, "other parts know it by its id")
        elif (
            origin.shared
            and isinstance(change, Retype)
            and controller_stem(change.type) != controller_stem(part.type)
        ):
            self._lose(part, change, "others are plugged into it")
        elif origin.shared and not isinstance(change, Remove):
            self.added[part.key] = replace(part)
            self._change_added(change)
        else:
            self._change_said(part, origin, change)

    def _change_said(self, part: Part, origin: Origin, change: Set | Unset | Retype | Remove) -> None:
        match change:
            case Set(name=name, value=value):
                self._set(part, origin, name, value)
            case Unset(name=name):
                self._unset(part, origin, name)
            case Retype(type=kind):
                self._retype(part, origin, kind)
            case Remove():
                self._remove(part, origin)

    def _unset(self, part: Part, origin: Origin, name: str) -> None:
        path = self._place(origin, name)
        holder: Any = self.made.get(origin.path)
        if holder is not None:
            for key in path[len(origin.path) : -1]:
                holder = holder.get(key, {})
        if holder:
            holder.pop(path[-1], None)
        elif self.text.get(path) is Missing:
            self._lose(part, Unset(part.key, name), "it is not in the file")
        elif name in origin.names and path[-1] in _NEEDED:
            self._lose(part, Unset(part.key, name), "its section needs it")
        else:
            self.text.remove(path)

    def _place(self, origin: Origin, name: str) -> Path:
        if name in origin.names:
            return (*origin.path, origin.names[name])
        return (*origin.path, origin.rest, name) if origin.rest else (*origin.path, name)

    def _set(self, part: Part, origin: Origin, name: str, value: Value) -> None:
        if not sayable(value) or (origin.rest == "-" and name not in origin.names):
            self._lose(part, Set(part.key, name, value), "its section has no place for that")
        elif part.group == "serial" or part.group in _KEY_OF:
            self._lose(part, Set(part.key, name, value), "it has no properties")
        else:
            self._put(part, origin, self._place(origin, name), value)

    def _put(self, part: Part, origin: Origin, path: Path, value: Value) -> None:
        """Set a key in a part's table; a plain value that stands for the table becomes one."""
        table = self.made.get(origin.path)
        if table is None:
            found = self.text.get(origin.path)
            if isinstance(found, dict) and origin.path not in self.text.sets:
                self.text.set(path, value)
                return
            table = {} if found is Missing else {origin.kind: found}
            if found is Missing and part.group in ("smp", "accel") and part.type:
                table[origin.kind] = _number(part.type)
            self.made[origin.path] = table
            self.text.set(origin.path, table)
        for key in path[len(origin.path) : -1]:
            table = table.setdefault(str(key), {})
        table[str(path[-1])] = value

    def _retype(self, part: Part, origin: Origin, kind: str) -> None:
        value = _number(kind) if part.group in ("smp", "m") else kind
        found = self.text.get(origin.path)
        if origin.path in self.made:
            self.made[origin.path][origin.kind] = value
        elif isinstance(found, dict):
            if not origin.kind:
                self._lose(part, Retype(part.key, kind), "its section fixes what it is")
            else:
                self.text.set((*origin.path, origin.kind), value)
        elif len(origin.path) == 1 or found is not Missing:
            self.text.set(origin.path, value)
        else:
            self._lose(part, Retype(part.key, kind), "the file leaves it out")

    def _remove(self, part: Part, origin: Origin) -> None:
        if origin.shared or part.group in _KEPT_BY_DEFAULT:
            self._lose(part, Remove(part.key), "the format brings it back")
        elif origin.path[0] == "firmware" and origin.kind:
            self.removed.add(part.key)
            self.text.remove((*origin.path, origin.kind))
        elif part.group == "serial" and self.text.get(origin.path) is Missing:
            self.text.set(("console",), [])
        elif part.group == "object" and origin.path == ("memory",):
            self.text.set(("memory", "shared"), False)
        elif len(origin.path) == 1:
            self.text.remove(origin.path)
        else:
            self.removed.add(part.key)

    def _remove_sections(self) -> None:
        """Remove whole sections of which a part is to go, and say what else goes with it."""
        rest: dict[Path, list[Part]] = {self.document.origins[key].path: [] for key in self.removed}
        for key, origin in self.document.origins.items():
            if origin.path in rest and key not in self.removed:
                rest[origin.path].append(self.document.guest.by_key[key])
        for path, others in rest.items():
            if path == ("firmware",):
                if not others:
                    self.text.remove(path)
                elif others[0].properties.get("unit") == 1:
                    self.lost.append("a variable store without firmware code: [firmware] needs 'code'")
                continue
            self.text.remove(path)
            self.lost += [f"{other.label()}: it goes with its section" for other in others]

    def _pin_processor(self, changes: Sequence[Change]) -> None:
        """Say the CPU model where the file leaves it out and a change of accelerator would give another."""
        cpu, accelerators = self.document.guest.cpu, {part.key for part in self.document.guest.of("accel")}
        changed = any(not isinstance(change, Add) and change.key in accelerators for change in changes)
        if changed and cpu.type and self.text.get(("cpu",)) is Missing:
            self.text.set(("cpu",), cpu.type)

    def _add(self, part: Part) -> None:
        if not all(sayable(value) for value in part.properties.values()):
            self._argue(part)
        elif part.group in _SECTION_KEY:
            self.text.append(part.group, {_SECTION_KEY[part.group]: part.type, **part.properties})
        elif part.group == "limitation":
            table = {"platform": part.type, **part.properties}
            self.text.set(("limit",), table if part.properties else part.type)
        elif part.group in _KEY_OF and not part.properties:
            self.text.set((_KEY_OF[part.group],), part.type)
        elif part.group in _SINGLE or part.group in ("accel", "display", "name"):
            self._add_single(part)
        else:
            self._argue(part)

    def _add_single(self, part: Part) -> None:
        origin = _SINGLE.get(part.group) or {
            "accel": Origin(("accel",), "name"),
            "display": Origin(("display",), "type", {}, "options"),
            "name": Origin(("name",), "guest", {}, "options"),
        }.get(part.group, Origin())
        table: dict[str, Any] = {origin.kind: part.type} if part.type else {}
        if origin.rest and part.properties:
            table[origin.rest] = dict(part.properties)
        else:
            table |= part.properties
        self.text.set(origin.path, part.type if len(table) == 1 and part.type else table)

    def _argue(self, part: Part) -> None:
        self.globals += arguments(part)

    def _change_implied(self, part: Part, change: Set | Unset | Retype | Remove) -> None:
        if isinstance(change, Set) and part.group == "device":
            value = ("on" if change.value else "off") if isinstance(change.value, bool) else change.value
            self.globals += ["-global", f"{part.type}.{change.name}={value}"]
        elif not (isinstance(change, Remove) and part.group == "limitation"):
            self._lose(part, change, "nothing in the file declares it")

    def _arguments(self) -> None:
        """Write the command line under ``qemu.args`` with its own changes and what has no other place."""
        if not (self.for_arguments or self.globals):
            return
        before = words = self.text.get(("qemu", "args"))
        if self.document.arguments is None:
            before = words = []
        elif self.for_arguments:
            words, lost = edited_argv(self.document.arguments, self.for_arguments)
            self.lost += lost
        if words == before and before:
            self.text.extend(("qemu", "args"), self.globals)
        elif words or self.globals:
            self.text.set(("qemu", "args"), [*words, *self.globals])
        else:
            self.text.remove(("qemu", "args"))

    def _lose(self, part: Part, change: Set | Unset | Retype | Remove, why: str) -> None:
        match change:
            case Set(name=name, value=value):
                said = f"{name}={value}"
            case Unset(name=name):
                said = f"removal of {name}"
            case Retype(type=kind):
                said = f"type {kind}"
            case Remove():
                said = "removal"
        self.lost.append(f"{said} of {part.label()}: {why}")


def _number(text: str) -> str | int:
    return int(text) if text.isdigit() and len(text) < 10 and not text.startswith("0") else text
