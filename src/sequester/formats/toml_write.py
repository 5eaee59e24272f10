"""Writes a guest, from whatever format it came, as a TOML guest.

Sections are used where they say exactly the same; everything else goes into ``[[device]]``, ``[[object]]`` or the
command line under ``[qemu]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sequester.formats.argv_write import arguments
from sequester.formats.document import Written
from sequester.formats.toml_read import DEFAULT_MEMORY, MACHINES, SAID_ELSEWHERE
from sequester.formats.toml_section_write import Sections
from sequester.formats.toml_value import key_text, sayable, value_text
from sequester.guest.guest import LIMITATION_PROPERTIES, Guest
from sequester.guest.part import Part

_ONE_TEXT = ("kernel", "initrd", "append", "shim", "dtb")
_LAST_WINS = ("cpu", "display", "bios", *_ONE_TEXT)
"""Options of which QEMU takes the last (system/vl.c)."""


def write_toml(guest: Guest) -> Written:
    """Return a TOML guest that means the same, and what of the guest the format could not say, by name."""
    return _Writer(guest).run()


class _Writer:
    """Gathers the file from top to bottom."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.lost = [
            f"line {item.line}: {item.what}" if item.line else item.what for item in guest.not_carried
        ]
        self.left = {part.key: part for part in guest.parts if not part.implied}
        self.head: list[tuple[str, Any]] = []
        self.tables: list[tuple[str, Mapping[str, Any]]] = []
        self.bare = not self._usual()

    def run(self) -> Written:
        self._overridden()
        self._name_and_limit()
        self._machine()
        self._processor()
        self._boot()
        sections = Sections(self.guest, self.left)
        said = list(sections.said())
        self._console(said)
        lines = [f"{key_text(key)} = {value_text(value)}" for key, value in self.head]
        lines += _blocks("[{}]", self.tables)
        lines += _blocks("[[{}]]", said)
        lines += self._qemu()
        return Written("\n".join(lines).lstrip("\n") + "\n", tuple(self.lost))

    def _take(self, group: str) -> list[Part]:
        """Take the parts of a group that are still to be written."""
        found = [part for part in self.guest.of(group) if part.key in self.left]
        for part in found:
            del self.left[part.key]
        return found

    def _usual(self) -> bool:
        """Tell whether the guest has what the format gives every guest: else `defaults = true` keeps it away."""
        guest = self.guest
        typed = all(
            part.type and not part.implied for part in (guest.machine, guest.cpu, guest.memory, guest.smp)
        )
        accelerated = guest.has("accel") or "accel" in guest.machine.properties
        return typed and accelerated and guest.has("nodefaults") and guest.has("display")

    def _overridden(self) -> None:
        for group in _LAST_WINS:
            for part in self.guest.of(group)[:-1]:
                if self.left.pop(part.key, None) is not None:
                    self.lost.append(f"line {part.line}: {part.label()}: a later one takes its place")

    def _setting(self, key: str, kind: str, part: Part, rest: str, default: str | None = None) -> None:
        """Say a part as a plain value, or as a table where it has properties."""
        properties = self._sayable(part)
        value: Any = int(part.type) if part.group == "smp" and part.type.isdigit() else part.type
        if not properties:
            if part.type and part.type != default:
                self.head.append((key, value))
            return
        named = {kind: value} if part.type else {}
        if rest:
            if named:
                self.tables.append((key, named))
            self.tables.append((f"{key}.{rest}", properties))
        else:
            self.tables.append((key, {**named, **properties}))

    def _sayable(self, part: Part) -> dict[str, Any]:
        kept = {name: value for name, value in part.properties.items() if name and sayable(value)}
        self.lost += [
            f"{name} of {part.label()}: TOML has no such value"
            for name in part.properties.keys() - kept.keys()
        ]
        return kept

    def _name_and_limit(self) -> None:
        for part in self._take("name"):
            self._setting("name", "guest", part, "options")
        for part in self._take("limitation"):
            properties = {name: value for name, value in self._sayable(part).items() if name != "id"}
            if self.guest.dialect != "qemu" and properties:
                self.lost += [f"{name} of the limitation: it is in libvirt's words" for name in properties]
                properties = {}
            if properties:
                self.tables.append(("limit", {"platform": part.type, **properties}))
            else:
                self.head.append(("limit", part.type))

    def _machine(self) -> None:
        guest = self.guest
        type_ = guest.machine.type
        if guest.arch != "x86_64" or type_.startswith(("pseries", "s390", "virt")) or "/" in guest.arch:
            self.head.append(("arch", guest.arch))
        limitation = guest.limitation
        named = {limitation.id} if limitation is not None and limitation.type else set()
        for part in self._take("machine"):
            kept = {
                name: value
                for name, value in part.properties.items()
                if not (name in LIMITATION_PROPERTIES and value in named)
            }
            default = None if self.bare else MACHINES.get(guest.arch)
            self._setting("machine", "type", Part("machine", part.type, kept), "options", default)
        accelerators = self._take("accel") or (list(guest.of("accel")) if self.bare else [])
        plain = [
            {"name": part.type, **self._sayable(part)} if part.properties else part.type
            for part in accelerators
        ]
        if plain and (self.bare or plain != ["kvm"]):
            self.head.append(("accel", plain[0] if len(plain) == 1 else plain))

    def _processor(self) -> None:
        accelerated = self.guest.of("accel")
        first = accelerated[0].type if accelerated else ""
        usual = {"cpu": "host" if first == "kvm" else "max", "smp": "1", "m": DEFAULT_MEMORY}
        for group, key, kind, rest in (
            ("smp", "cpus", "count", ""),
            ("cpu", "cpu", "model", "features"),
            ("m", "memory", "size", ""),
        ):
            for part in self._take(group):
                self._setting(key, kind, part, rest, None if self.bare else usual[group])

    def _boot(self) -> None:
        for part in self._take("bios"):
            self.head.append(("firmware", part.type))
        if not any(key == "firmware" for key, _ in self.head):
            self._flash()
        for group in _ONE_TEXT:
            self.head += [(group, part.type) for part in self._take(group) if part.type]
        for part in self._take("display"):
            self._setting("display", "type", part, "options", None if self.bare else "none")

    def _flash(self) -> None:
        """Say flash that is exactly what ``[firmware]`` makes."""
        drives = [part for part in self.guest.of("drive") if part.text("if") == "pflash"]
        wanted = [{"if": "pflash", "unit": "0", "readonly": "on"}, {"if": "pflash", "unit": "1"}]
        if not 1 <= len(drives) <= 2 or len({part.text("format") for part in drives}) != 1:
            return
        for part, want in zip(drives, wanted, strict=False):
            said = {name: part.text(name) for name in part.properties if name != "format"}
            if said != want or not part.type or part.text("format") is None:
                return
        table = {key: part.type for key, part in zip(("code", "vars"), drives, strict=False)}
        form = drives[0].text("format")
        self.tables.append(("firmware", table if form == "raw" else {**table, "format": form}))
        for part in drives:
            del self.left[part.key]

    def _console(self, said: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        consoles = [table for title, table in said if title == "console"]
        if not self.bare and not consoles:
            self.head.append(("console", []))

    def _qemu(self) -> list[str]:
        """Return the ``[qemu]`` table, with the arguments that nothing else says, an option a line."""
        lines = []
        if self.guest.emulator:
            lines.append(f"binary = {value_text(self.guest.emulator)}")
        if self.bare:
            lines.append("defaults = true")
        else:
            self._take("nodefaults")
        words = list(self._arguments())
        if words:
            lines.append("args = [")
            lines += [f"  {', '.join(value_text(word) for word in option)}," for option in _by_option(words)]
            lines.append("]")
        return ["", "[qemu]", *lines] if lines else []

    def _arguments(self) -> Iterator[str]:
        raw: list[str] = []
        for part in self.left.values():
            if part.group == "qemu-args":
                raw.append(part.type)
            else:
                yield from arguments(part)
        for option in _by_option(raw):
            if option[0].lstrip("-") in SAID_ELSEWHERE or not option[0].startswith("-"):
                self.lost.append(f"{' '.join(option)}: it is not for [qemu] args")
            else:
                yield from option
        for said in dict.fromkeys(self._globals()):
            yield "-global"
            yield said

    def _globals(self) -> Iterator[str]:
        """Yield what a device that no option declares has, which only its driver's defaults can give it."""
        for part in self.guest.devices:
            for name in part.properties if part.implied else ():
                if name not in ("drive", "id"):
                    yield f"{part.type}.{name}={part.text(name)}"


def _blocks(title: str, tables: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, table in tables:
        yield ""
        yield title.format(name)
        yield from (f"{key_text(key)} = {value_text(value)}" for key, value in table.items())


def _by_option(words: Sequence[str]) -> list[list[str]]:
    """Group arguments into options with their values, for reading."""
    found: list[list[str]] = []
    for word in words:
        if found and not word.startswith("-"):
            found[-1].append(word)
        else:
            found.append([word])
    return found
