"""Builds a guest's parts from a TOML guest, and remembers where in the file each of them is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sequester.formats.argv_options import IDENTIFIED
from sequester.formats.toml_scan import Path
from sequester.formats.toml_table import Table
from sequester.guest.part import Part, Value

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*\Z")
LONGEST_ID = 24
"""QEMU's node names have 31 characters at most, and ours are an id with something behind it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part is said, or would be: how a change to the part becomes a change to the file.

    `path` is its table, or a plain value that stands for the key `kind` of one. `kind` holds the part's type
    ('' where the table fixes it). `names` maps the properties that have a key of their own to that key; all
    others are in the sub-table `rest`, or in the table itself where that is ''. `argument` is the part's key in the
    command line under `path`. `shared` parts have no table of their own: they were made because others need them.
    """

    path: Path = ()
    kind: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    rest: str = ""
    argument: int | None = None
    shared: bool = False


@dataclass
class Making:
    """A guest in the making."""

    arch: str
    way: str
    """The suffix of virtio devices: ``pci``, ``ccw``, or ``device`` for virtio-mmio."""
    taken: set[str]
    """Ids that somebody wrote, or that were given."""
    controllers: dict[str, str] = field(default_factory=dict)
    """The id of the first controller by the stem of its driver (``virtio-scsi``)."""
    declared: dict[str, Table] = field(default_factory=dict)
    """The first ``[[device]]`` that is such a controller, by the same stem: it is made when it is first needed."""
    made: set[Path] = field(default_factory=set)
    """Sections that were made before their turn."""
    numbers: dict[str, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    origins: dict[int, Origin] = field(default_factory=dict)

    def add(
        self,
        group: str,
        kind: str,
        properties: Mapping[str, Value],
        origin: Origin,
        line: int = 0,
        spelled: str = "",
    ) -> Part:
        """Add a part; its id is that of its properties."""
        identity = properties.get(IDENTIFIED.get(group, "id"), "")
        part = Part(
            group,
            kind,
            dict(properties),
            len(self.parts),
            identity if isinstance(identity, str) else "",
            line,
            spelled,
        )
        self.parts.append(part)
        self.origins[part.key] = origin
        if group == "device" and part.id and (stem := controller_stem(kind)):
            self.controllers.setdefault(stem, part.id)
        return part

    def device(
        self,
        table: Table,
        driver: str,
        properties: Mapping[str, Value],
        names: Mapping[str, str] | None = None,
        kind: str = "driver",
    ) -> Part:
        """Add the device that a section is about; the section's `options` go to it."""
        given = {**properties, **table.properties("options")}
        origin = Origin(table.path, kind, names or {}, "options")
        return self.add("device", driver, given, origin, table.line, self.spelled(table))

    def backend(
        self,
        table: Table,
        group: str,
        type_: str,
        properties: Mapping[str, Value],
        names: Mapping[str, str] | None = None,
        kind: str = "",
    ) -> Part:
        """Add what stands behind a section's device; the section's `backend` goes to it."""
        given = {**properties, **table.properties("backend")}
        origin = Origin(table.path, kind, names or {}, "backend")
        return self.add(group, type_, given, origin, table.line, self.spelled(table))

    def identity(self, table: Table, stem: str) -> str:
        """Return a section's id: the one it gives, else the stem with the first free number."""
        given = table.text("id")
        if given:
            if not is_id(given):
                raise table.error(
                    "id",
                    f"'{given[:40]}' cannot be an id",
                    code="input.value",
                    remedy=f"at most {LONGEST_ID} letters, digits, dots, dashes and underscores, a letter first",
                )
            return given
        return self.fresh(stem)

    def fresh(self, stem: str) -> str:
        """Return the stem with the first number that makes it an id nobody has."""
        number = self.numbers.get(stem, 0)
        while f"{stem}{number}" in self.taken:
            number += 1
        self.numbers[stem] = number + 1
        self.taken.add(f"{stem}{number}")
        return f"{stem}{number}"

    def virtio(self, stem: str) -> str:
        """Return the name of a virtio device on this machine's transport."""
        return f"{stem}-{self.way}"

    @staticmethod
    def spelled(table: Table) -> str:
        """Return how a section begins, for people."""
        names = [part for part in table.path if isinstance(part, str)]
        return f"[[{'.'.join(names)}]]"


def controller_stem(driver: str) -> str:
    """Return the stem of a driver that others are plugged into (``virtio-scsi``, ``virtio-serial``), or ''."""
    return next((stem for stem in ("virtio-scsi", "virtio-serial") if driver.startswith(stem)), "")


def is_id(text: str) -> bool:
    """Tell whether a section can have this id."""
    return _ID.match(text) is not None and len(text) <= LONGEST_ID


def way_of(arch: str, machine: Part) -> str:
    """Return the suffix of virtio devices on a machine: ``pci``, ``ccw``, or ``device`` for virtio-mmio."""
    if arch == "s390x":
        return "ccw"
    return "device" if machine.type.startswith("microvm") and machine.flag("pcie") is not True else "pci"
