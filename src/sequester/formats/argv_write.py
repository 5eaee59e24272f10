"""Writes a guest as a QEMU command line, from whatever format it came."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sequester.formats import argv_options as options
from sequester.formats.document import Written
from sequester.formats.keyval import escape
from sequester.formats.words import quote
from sequester.guest.guest import Guest
from sequester.guest.part import Part, Value, spelled_out

_ORDER = ("name", "machine", "accel", "cpu", "m", "smp", "limitation", "object")
"""What comes first, for people; QEMU itself sorts out the order of creation."""

_AS_JSON = frozenset({"blockdev"})
_ALWAYS_KEYED = frozenset(
    {"drive", "boot", "overcommit", "rtc", "msg", "compat", "spice", "action", "run-with"}
)


def write_argv(guest: Guest) -> tuple[list[str], tuple[str, ...]]:
    """Return the argument vector (the emulator first) and what could not be carried over, by name."""
    argv = [guest.emulator or f"qemu-system-{guest.arch}"]
    rank = {group: i for i, group in enumerate(_ORDER)}
    defaults: dict[str, None] = {}
    for part in sorted(guest.parts, key=lambda part: rank.get(part.group, len(_ORDER))):
        if part.implied and part.group == "device":
            defaults.update(dict.fromkeys(_as_globals(part)))
        elif not (part.implied and (not part.type or part.group == "accel")):
            argv += arguments(part)
    for said in defaults:
        argv += ["-global", said]
    lost = [f"line {item.line}: {item.what}" if item.line else item.what for item in guest.not_carried]
    return argv, tuple(lost)


def write_argv_text(guest: Guest) -> Written:
    """Return the command line for a shell, one option a line."""
    argv, lost = write_argv(guest)
    return Written(shell_text(argv), lost)


def shell_text(argv: list[str]) -> str:
    """Return an argument vector as a shell command, one option with its value a line."""
    lines = [quote(argv[0])]
    for value in argv[1:]:
        if value.startswith("-") or len(lines) == 1:
            lines.append(quote(value))
        else:
            lines[-1] += " " + quote(value)
    return " \\\n  ".join(lines) + "\n"


def arguments(part: Part) -> Iterator[str]:
    """Yield the one or two arguments that declare a part."""
    group = options.option_of(part.group)
    if group == "qemu-args":
        yield part.type
        return
    if group in options.FLAGS:
        yield f"-{group}"
        return
    yield f"-{group}"
    if group == "global":
        name, value = next(iter(part.properties.items()))
        yield f"{part.type}.{name}={spelled_out(value)}"
    elif group not in options.IMPLIED:
        yield part.type
    elif group in options.JSON_TOO and (group in _AS_JSON or _structured(part)):
        yield as_json(part, options.IMPLIED[group])
    else:
        yield as_keyval(part, group, options.IMPLIED[group])


def _as_globals(part: Part) -> Iterator[str]:
    """Yield what a device that no option declares can only be given as a default of its driver."""
    for name, value in part.properties.items():
        if name not in ("drive", "id"):
            yield f"{part.type}.{name}={spelled_out(value)}"


def as_json(part: Part, implied: str) -> str:
    """Return a part as the JSON object its option takes."""
    typed = {implied: part.type} if part.type else {}
    return json.dumps({**typed, **part.properties}, separators=(",", ":"))


def as_keyval(part: Part, group: str, implied: str) -> str:
    """Return a part as ``type,key=value,...``; JSON structures are flattened to dotted keys."""
    said = []
    if part.type:
        said.append(escape(part.type) if group not in _ALWAYS_KEYED else f"{implied}={escape(part.type)}")
    for name, value in part.properties.items():
        said.extend(f"{path}={escape(spelled_out(leaf))}" for path, leaf in _flat(name, value))
    return ",".join(said)


def _structured(part: Part) -> bool:
    return any(
        isinstance(value, (dict, list)) and not _repeated(name, value)
        for name, value in part.properties.items()
    )


def _repeated(name: str, value: Value) -> bool:
    """Tell whether a value is written by repeating its key."""
    return (
        name in options.REPEATED
        and isinstance(value, (tuple, list))
        and len(value) > 0
        and all(isinstance(v, str) for v in value)
    )


def _flat(name: str, value: Value) -> Iterator[tuple[str, Value]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif _repeated(name, value):
        for repeated in value:
            yield name, repeated
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _flat(f"{name}.{i}", inner)
    else:
        yield name, value
