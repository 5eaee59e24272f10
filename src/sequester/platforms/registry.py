"""Finds the platforms: every class in this package's modules, and those that other packages bring.

Another package adds a platform with an entry point in the group ``sequester.platforms`` that names its class.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from sequester.errors import InputError
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.platforms.limitation import HostTrustLimitation

Platform = type[HostTrustLimitation]

GROUP = "sequester.platforms"

_BESIDE = ("_faults", "_requirements")
"""What platforms keep in files beside their own."""

_NOT_PLATFORMS = ("__init__", "limitation", "property", "registry")


@cache
def platforms() -> tuple[Platform, ...]:
    """Return all platforms, the strongest first. Raises InputError when one from outside cannot be loaded."""
    found: list[Platform] = []
    for name in _modules():
        module = import_module(f"sequester.platforms.{name}")
        found += (
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, HostTrustLimitation)
            and value.__module__ == module.__name__
        )
    found += _from_outside()
    return tuple(sorted(found, key=lambda platform: -platform.strength))


def named(name: str) -> Platform:
    """Return the platform that a person calls by this name. Raises InputError naming those that exist."""
    for platform in platforms():
        if name in (platform.name, platform.object_type, *platform.also_known_as):
            return platform
    known = ", ".join(platform.name for platform in platforms())
    raise InputError(
        f"there is no platform '{name}'", code="platform.unknown", remedy=f"one of {known}, or auto"
    )


def of(part: Part, dialect: str) -> Platform | None:
    """Return the platform of a guest's limitation part, the most particular that claims it, or None."""
    return next((platform for platform in platforms() if platform.claims(part, dialect)), None)


def resolve(guest: Guest) -> HostTrustLimitation | None:
    """Return the guest's limitation as its platform's object; None when it has none or an unknown one."""
    part = guest.limitation
    if part is None or not part.type:
        return None
    platform = of(part, guest.dialect)
    return platform.from_part(part, guest.dialect) if platform else None


@cache
def object_types() -> frozenset[str]:
    """Return the QOM types of all platforms' objects."""
    return frozenset(platform.object_type for platform in platforms())


def _modules() -> list[str]:
    """Name the modules of this package that hold a platform."""
    stems = {name.partition(".")[0] for name in os.listdir(os.path.dirname(__file__)) if ".py" in name}
    return sorted(stem for stem in stems if stem not in _NOT_PLATFORMS and not stem.endswith(_BESIDE))


def _from_outside() -> Iterator[Platform]:
    if not _any_entry_point():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        try:
            platform = point.load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"the platform '{point.name}' cannot be loaded",
                code="platform.broken",
                where=point.value,
                why=str(error),
                remedy="mend or uninstall the package that brings it",
            ) from error
        if not (isinstance(platform, type) and issubclass(platform, HostTrustLimitation)):
            raise InputError(
                f"the platform '{point.name}' is not a HostTrustLimitation",
                code="platform.broken",
                where=point.value,
            )
        yield platform


def _any_entry_point() -> bool:
    """Look for our group in installed packages' entry points without loading importlib.metadata (20 ms)."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                try:
                    with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as points:
                        if f"[{GROUP}]" in points.read():
                            return True
                except (OSError, UnicodeDecodeError):
                    continue
    return False
