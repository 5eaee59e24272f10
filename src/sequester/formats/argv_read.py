"""Reads a QEMU command line into a guest, and remembers where every part stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sequester.errors import InputError
from sequester.formats import argv_options as options
from sequester.formats.argv_implied import implied_devices
from sequester.formats.document import Written
from sequester.formats.keyval import pieces
from sequester.formats.words import Line, Word, from_argv, read_words
from sequester.guest.change import Change
from sequester.guest.guest import Guest, NotCarried, complete
from sequester.guest.part import Part, Value

MAX_BYTES = 32 << 20
"""No command line is larger: Linux allows 2 MiB by default, 10,000 devices take about 1 MiB."""

_MERGED = frozenset({"machine", "m", "smp", "boot", "overcommit", "name"})
"""Options whose repetitions add to one another (QEMU ``merge_lists``)."""

_LIKELY_QEMU = ("qemu-system-", "qemu-kvm", "kvm", "qemu")


@dataclass(frozen=True, eq=False)
class Argv:
    """A command line that was read: the guest, and which words make which part.

    `words_of` maps a part's key to the indices of the value words that make it (of the option itself for a
    flag), in order; `set_by` maps (key, property) to the ``-set`` word that gave it. `command` is the index of
    the emulator's word, -1 where the command line starts with options.
    """

    name: str
    line: Line
    guest: Guest
    words_of: dict[int, list[int]]
    set_by: dict[tuple[int, str], int]
    command: int

    @property
    def format(self) -> str:
        """The format's name."""
        return "argv"

    def edited(self, changes: Sequence[Change]) -> Written:
        """Return the command line with the changes made (see `argv_edit`)."""
        from sequester.formats.argv_edit import edited  # loaded only when something changes

        return edited(self, changes)


def read_argv_text(data: bytes, name: str) -> Argv:
    """Read a file that holds a QEMU command line. Raises InputError naming file and line."""
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{len(data)} bytes are too many for a command line",
            code="input.size",
            where=name,
            remedy=f"at most {MAX_BYTES} bytes are read",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "this is not UTF-8 text", code="input.encoding", where=f"{name}:{line}", remedy="save it as UTF-8"
        ) from None
    return _read(read_words(text, name), name)


def read_argv(argv: Sequence[str], name: str = "<argv>") -> Argv:
    """Read an argument vector, the emulator first or left out. Raises InputError naming the argument."""
    return _read(from_argv(tuple(argv)), name)


@dataclass
class _Reading:
    """What is gathered while the words go by."""

    name: str
    line: Line
    parts: list[Part] = field(default_factory=list)
    merged: dict[str, int] = field(default_factory=dict)
    words_of: dict[int, list[int]] = field(default_factory=dict)
    sets: list[tuple[int, str]] = field(default_factory=list)
    not_carried: list[NotCarried] = field(default_factory=list)

    def fail(self, word: Word, what: str, *, code: str, why: str = "", remedy: str = "") -> InputError:
        number = self.line.line_of(word)
        where = f"{self.name}:{number}" if number else self.name
        return InputError(what, code=code, where=where, why=why, remedy=remedy)


def _read(line: Line, name: str) -> Argv:
    reading = _Reading(name, line)
    words = line.words
    if not words:
        raise InputError(
            "there is no command line here", code="input.empty", where=name, remedy="give QEMU's arguments"
        )
    command, at = _command(words)
    while at < len(words):
        at = _option(reading, at)
    emulator = words[command].value if command >= 0 else ""
    parts, set_by = _with_sets(reading)
    arch = _arch(emulator, parts)
    if emulator.endswith("kvm") and not any(part.group == "accel" for part in parts):
        parts.append(_default_kvm(parts))
    guest = complete(arch, emulator, parts, not_carried=reading.not_carried)
    extra = implied_devices(guest)
    if extra:
        guest = replace(guest, parts=(*guest.parts, *extra))
    return Argv(name, line, guest, reading.words_of, set_by, command)


def _command(words: Sequence[Word]) -> tuple[int, int]:
    """Find the emulator among wrappers and variable assignments; return (its index or -1, index of first option)."""
    first = 0
    while (
        first < len(words) and "=" in words[first].value and words[first].value.split("=")[0].isidentifier()
    ):
        first += 1
    limit = next((i for i in range(first, len(words)) if words[i].value.startswith("-")), len(words))
    for i in range(first, len(words)):
        base = words[i].value.rpartition("/")[2]
        if base.startswith("qemu-system-") or base in _LIKELY_QEMU[1:]:
            return i, i + 1
        if i > limit + 8:
            break
    if first < limit:
        return first, limit
    return -1, limit


def _option(reading: _Reading, at: int) -> int:
    """Read the option at index `at`; return the index behind it."""
    words = reading.line.words
    word = words[at]
    text = word.value
    if not text.startswith("-") or text == "-":
        if not text:
            raise reading.fail(word, "an empty argument", code="input.argument", remedy="remove it")
        _drive(reading, at, "hda", text)
        return at + 1
    option = text[2:] if text.startswith("--") else text[1:]
    if option in options.REFUSED:
        raise reading.fail(
            word, f"-{option} is not read", code="input.option", remedy=options.REFUSED[option]
        )
    if option in options.FLAGS:
        _flag(reading, at, option)
        return at + 1
    if at + 1 >= len(words):
        raise reading.fail(
            word, f"-{option} needs a value", code="input.option", why="the command line ends behind it"
        )
    _valued(reading, at + 1, "machine" if option == "M" else option, words[at + 1].value)
    return at + 2


def _flag(reading: _Reading, at: int, option: str) -> None:
    if option == "enable-kvm":
        _part(reading, at, "accel", "kvm", {})
    elif option == "s":
        _part(reading, at, "gdb", "tcp::1234", {})
    else:
        _part(reading, at, option, "", {})


def _valued(reading: _Reading, at: int, option: str, text: str) -> None:
    if option in options.DRIVES:
        _drive(reading, at, option, text)
    elif option == "set":
        reading.sets.append((at, text))
    elif option == "global":
        _global(reading, at, text)
    elif option in options.JSON_TOO and text.startswith("{"):
        _json(reading, at, option, text)
    elif option in options.IMPLIED:
        _keyval(reading, at, option, text)
    else:
        _part(reading, at, option, text, {})


def _drive(reading: _Reading, at: int, option: str, text: str) -> None:
    _part(reading, at, "drive", text, dict(options.DRIVES[option]))


def _global(reading: _Reading, at: int, text: str) -> None:
    named = {piece.name: piece.value for piece in pieces(text, "")}
    if {"driver", "property", "value"} <= named.keys():
        _part(reading, at, "global", named["driver"], {named["property"]: named["value"]})
        return
    head, equals, value = text.partition("=")
    driver, dot, prop = head.rpartition(".")
    if not (equals and dot):
        raise reading.fail(
            reading.line.words[at],
            f"-global {text[:60]}: this is not DRIVER.PROPERTY=VALUE",
            code="input.option",
        )
    _part(reading, at, "global", driver, {prop: value})


def _json(reading: _Reading, at: int, option: str, text: str) -> None:
    word = reading.line.words[at]
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise reading.fail(word, f"-{option}: this is not JSON", code="input.json", why=why) from None
    if not isinstance(loaded, dict):  # pragma: no cover - text starts with a brace
        raise reading.fail(word, f"-{option}: a JSON object is wanted", code="input.json")
    kind = loaded.pop(options.IMPLIED[option] or "", "")
    if not isinstance(kind, str):
        raise reading.fail(word, f"-{option}: its {options.IMPLIED[option]} is not text", code="input.json")
    _part(reading, at, option, kind, loaded)


def _keyval(reading: _Reading, at: int, option: str, text: str) -> None:
    implied = options.IMPLIED[option]
    kind = ""
    properties: dict[str, Value] = {}
    for piece in pieces(text, implied):
        name = options.normal(option, piece)
        if implied and name == implied:
            kind = piece.value
        elif name in options.REPEATED and name in properties:
            before = properties[name]
            properties[name] = (*(before if isinstance(before, tuple) else (before,)), piece.value)
        else:
            properties[name] = piece.value
    _part(reading, at, option, kind, properties)


def _part(reading: _Reading, at: int, group: str, kind: str, properties: dict[str, Value]) -> None:
    if group in _MERGED and group in reading.merged:
        index = reading.merged[group]
        old = reading.parts[index]
        reading.parts[index] = replace(
            old, type=kind or old.type, properties={**old.properties, **properties}
        )
        reading.words_of[old.key].append(at)
        return
    word = reading.line.words[at]
    key = len(reading.parts)
    identity = properties.get(options.IDENTIFIED.get(group, "id"), "")
    before = reading.line.words[at - 1].value if at else ""
    shown = f"{before} {word.value}" if before.startswith("-") and word.value is not before else word.value
    if not kind and not properties and word.value.startswith("-"):
        shown = word.value
    reading.parts.append(
        Part(
            group,
            kind,
            properties,
            key,
            identity if isinstance(identity, str) else "",
            reading.line.line_of(word),
            shown[:97] + "..." if len(shown) > 100 else shown,
        )
    )
    reading.words_of[key] = [at]
    if group in _MERGED:
        reading.merged[group] = key


def _with_sets(reading: _Reading) -> tuple[list[Part], dict[tuple[int, str], int]]:
    """Carry out ``-set GROUP.ID.PROPERTY=VALUE``, which QEMU applies before anything is created."""
    parts = reading.parts
    set_by: dict[tuple[int, str], int] = {}
    for at, text in reading.sets:
        head, equals, value = text.partition("=")
        group, _, rest = head.partition(".")
        identity, dot, name = rest.partition(".")
        found = next((i for i, p in enumerate(parts) if p.group == group and p.id == identity), None)
        word = reading.line.words[at]
        if not (equals and dot):
            raise reading.fail(
                word, f"-set {text[:60]}: this is not GROUP.ID.PROPERTY=VALUE", code="input.option"
            )
        if found is None:
            raise reading.fail(
                word, f"-set {text[:60]}: there is no {group} '{identity}'", code="input.option"
            )
        part = parts[found]
        parts[found] = replace(part, properties={**part.properties, name: value})
        set_by[part.key, name] = at
    return parts, set_by


def _default_kvm(parts: Sequence[Part]) -> Part:
    """A binary whose name ends in ``kvm`` prefers KVM (QEMU system/vl.c, `configure_accelerators`)."""
    machine = next((part for part in parts if part.group == "machine"), None)
    named = machine.text("accel") if machine else None
    return Part("accel", (named or "kvm").split(":")[0], {}, len(parts), implied=True)


_BY_MACHINE = (
    ("s390-ccw", "s390x"),
    ("pseries", "ppc64"),
    ("powernv", "ppc64"),
    ("virt", "aarch64"),
    ("sbsa-ref", "aarch64"),
)


def _arch(emulator: str, parts: Sequence[Part]) -> str:
    base = emulator.rpartition("/")[2]
    if base.startswith("qemu-system-"):
        stem = base.removeprefix("qemu-system-")
        for arch in ("x86_64", "s390x", "ppc64", "aarch64", "riscv64", "i386", "arm", "ppc"):
            if stem == arch or stem.startswith((f"{arch}-", f"{arch}_", f"{arch}.")):
                return arch
        return stem.split("-")[0]
    machine = next((part.type for part in parts if part.group == "machine"), "")
    for prefix, arch in _BY_MACHINE:
        if machine.startswith(prefix):
            return arch
    if any(part.type.endswith("-ccw") for part in parts if part.group == "device"):
        return "s390x"
    return "x86_64"
