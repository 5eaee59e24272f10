"""What the edits of one domain share: its splice, the guest as changed so far, and what could not be said."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from sequester.formats.xml_splice import Node, Place, Splice
from sequester.guest.change import Change, Remove, Retype, Set, Unset, applied
from sequester.guest.part import Part, Value, spelled_out

if TYPE_CHECKING:
    from sequester.formats.libvirt_read import XmlDocument

ORDER = (
    "name",
    "uuid",
    "genid",
    "title",
    "description",
    "metadata",
    "maxMemory",
    "memory",
    "currentMemory",
    "memoryBacking",
    "blkiotune",
    "memtune",
    "numatune",
    "vcpu",
    "vcpus",
    "iothreads",
    "iothreadids",
    "cputune",
    "resource",
    "sysinfo",
    "bootloader",
    "os",
    "features",
    "cpu",
    "clock",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "on_lockfailure",
    "pm",
    "perf",
    "idmap",
    "keywrap",
    "devices",
    "seclabel",
    "launchSecurity",
)
"""libvirt's order of a domain's children; new ones are put where they belong."""


class Editing:
    """The edits of one domain."""

    def __init__(self, document: XmlDocument) -> None:
        self.document = document
        self.domain: Element = document.domain
        self.splice = Splice(document.tree)
        self.lost: list[str] = []
        self.limited = document.guest.limitation is not None
        self.arguments: list[Change] = []
        self.made: dict[int, Node] = {}
        self.kept: list[Node] = []
        self._changed: dict[int, Part] = {}

    def current(self, key: int) -> Part:
        """Return a part with the changes made so far. Raises KeyError."""
        return self._changed.get(key) or self.document.guest.by_key[key]

    def note(self, part: Part, change: Set | Unset | Retype | Remove) -> None:
        """Keep a change that was made, for those that follow."""
        kept = applied(part, (change,))
        if kept is not None:
            self._changed[part.key] = kept

    def top(self, tag: str) -> Place:
        """Return a child of the domain, added in libvirt's order where there is none."""
        at = ORDER.index(tag)
        found = self.splice.child(self.domain, tag)
        if found is not None:
            return found
        later = frozenset(ORDER[at + 1 :])
        return self.splice.need(self.domain, tag, later)

    def drop(self, parent: Place | None, tag: str) -> None:
        """Take away a child, if it is there."""
        child = self.splice.child(parent, tag) if parent is not None else None
        if parent is not None and child is not None:
            self.splice.remove(parent, child)

    def find(self, *path: str) -> Place | None:
        """Return what stands at a path below the domain, or None."""
        place: Place | None = self.domain
        for tag in path:
            place = self.splice.child(place, tag) if place is not None else None
        return place

    @staticmethod
    def text(value: Value) -> str:
        """Return a value as XML writes it."""
        return spelled_out(value)
