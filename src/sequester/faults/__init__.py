"""What the error texts of QEMU, KVM, libvirt, the kernel and firmware mean, and what to do about them.

General tables are here; what is peculiar to a platform lies beside the platform, as a module with `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from sequester.errors import InputError
from sequester.faults.fault import Explanation, Fault, Origin, Weight, explain

GENERAL = (
    "sequester.faults.qemu",
    "sequester.faults.machine",
    "sequester.faults.options",
    "sequester.faults.kvm",
    "sequester.faults.memory",
    "sequester.faults.devices",
    "sequester.faults.lifecycle",
    "sequester.faults.libvirt",
    "sequester.faults.kernel",
)
"""The tables that belong to no platform."""

__all__ = ["GENERAL", "Explanation", "Fault", "Origin", "Weight", "catalog", "explain"]


def catalog(platform_fault_modules: Iterable[str] = ()) -> tuple[Fault, ...]:
    """Return the general faults and those of the named modules, each module once, in that order.

    A module is imported only here. Raises `InputError` for one that is missing or has no `FAULTS`: a platform
    that another package brings can name anything.
    """
    found: list[Fault] = []
    for name in dict.fromkeys((*GENERAL, *platform_fault_modules)):
        try:
            table: tuple[Fault, ...] = import_module(name).FAULTS
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"'{name}' is no table of faults",
                code="platform.faults",
                why=str(error),
                remedy="mend or uninstall the package that brings this platform",
            ) from error
        found += table
    return tuple(found)
