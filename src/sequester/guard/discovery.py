"""Finds out, from a QEMU that runs, what its monitor has to be held to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sequester.errors import GuestError, InputError, RefusedError
from sequester.findings.case import Version
from sequester.guard.rulebook import Rulebook, Unknown, rulebook, running_guest
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.platforms.registry import named, resolve
from sequester.simulator.platform import QmpError

Execute = Callable[[str, Mapping[str, Any] | None], Awaitable[Any]]

_ASKED = ("policy",)
"""Properties of the object that tell platforms of one object type apart (SEV and SEV-ES)."""


async def discovered(
    execute: Execute, version: Version, limit: str | None = None, unknown: Unknown = "refuse"
) -> Rulebook:
    """Return the rules for a running guest.

    `limit` names the platform; without it QEMU must name a protection object of a known one. Raises RefusedError when
    there is none, InputError when QEMU has another than `limit`, GuestError when its answers are none.
    """
    arch = await _arch(execute)
    machine = str(await _property(execute, "/machine", "type") or "").removesuffix("-machine")
    path = await _property(execute, "/machine", LIMITATION_PROPERTIES[0])
    if not path:
        return _told(arch, machine, version, limit, unknown)
    identity = str(path).rpartition("/")[2]
    kind = str(await _property(execute, str(path), "type"))
    properties = {name: await _property(execute, str(path), name) for name in _ASKED}
    guest = running_guest(
        arch, machine, kind, identity, {k: v for k, v in properties.items() if v is not None}
    )
    found = resolve(guest)
    if found is not None and not arch:
        guest = replace(guest, arch=found.architectures[0])
    if found is None:
        raise RefusedError(
            f"nothing is known of QEMU's protection object '{kind}'",
            code="guard.platform",
            remedy="`sequester platforms` lists those that are known",
        )
    if limit is not None and named(limit) is not type(found):
        raise InputError(
            f"this guest has {found.title}, not {named(limit).title}",
            code="guard.platform",
            remedy=f"leave --limit out, or give --limit {found.name}",
        )
    return rulebook(guest, found, version, unknown)


def _told(arch: str, machine: str, version: Version, limit: str | None, unknown: Unknown) -> Rulebook:
    if limit is None:
        raise RefusedError(
            "this QEMU has no protection object: there is nothing that its monitor has to be held to",
            code="guard.unprotected",
            remedy="name the platform with --limit to guard it all the same, as in a simulation",
        )
    platform = named(limit)
    if arch and arch not in platform.architectures:
        raise InputError(
            f"{platform.title} is not for {arch}",
            code="guard.platform",
            remedy=f"it is for {', '.join(platform.architectures)}",
        )
    return Rulebook(
        platform(),
        running_guest(arch or platform.architectures[0], machine, platform.name, ""),
        version,
        "",
        unknown,
    )


async def _arch(execute: Execute) -> str:
    """Return QEMU's target, '' from a QEMU that has not made its machine yet (-preconfig)."""
    try:
        return _text(await execute("query-target", None), "arch")
    except QmpError:
        return ""


async def _property(execute: Execute, path: str, name: str) -> Any:
    """Return a property's value, None where the object has no such property."""
    try:
        return await execute("qom-get", {"path": path, "property": name})
    except QmpError:
        return None


def _text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str):
        raise GuestError("QEMU's answers are not those of a QEMU", code="qmp.answer", why=f"no {name}")
    return value
