"""The guest: everything the virtual machine is, as ordered parts with a few views on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from sequester.guest.change import Add, Change, applied
from sequester.guest.part import Part
from sequester.guest.virtio import transport

SINGLE = frozenset({"machine", "cpu", "m", "smp", "limitation"})
"""Groups of which a guest has exactly one part, made up with empty type where nothing declares it."""

_MADE_UP = ("machine", "cpu", "m", "smp")
"""Those that `complete` makes up."""

LIMITATION_PROPERTIES = ("confidential-guest-support", "memory-encryption", "host-trust-limitation")
"""The machine property's three spellings, today's first (QEMU 6.0; 2.12; the proposal of 2020)."""


@dataclass(frozen=True, slots=True)
class NotCarried:
    """Something in the source that the model does not hold: kept in its own format, named when leaving it."""

    what: str
    line: int = 0


@dataclass(frozen=True, eq=False)
class Guest:
    """A virtual machine.

    `arch` is QEMU's target name (``x86_64``, ``ppc64``, ``s390x``, ``aarch64``); `emulator` the QEMU
    binary the guest names, or ''. `parts` are in the order of the source.

    The host trust limitation is the one part of group ``limitation``: its `type` is the name by which
    the source calls the platform's object (``sev-snp-guest``, libvirt's ``sev-snp``, ``auto``), its
    properties are in the dialect given by `dialect` (``qemu`` or ``libvirt``). Its `id` alone is set,
    with an empty type, when the machine names an object that does not exist.
    """

    arch: str
    emulator: str
    parts: tuple[Part, ...]
    dialect: str = "qemu"
    not_carried: tuple[NotCarried, ...] = ()

    @cached_property
    def groups(self) -> Mapping[str, tuple[Part, ...]]:
        """All parts by group, each in source order."""
        found: defaultdict[str, list[Part]] = defaultdict(list)
        for part in self.parts:
            found[part.group].append(part)
        return {group: tuple(parts) for group, parts in found.items()}

    @cached_property
    def by_key(self) -> Mapping[int, Part]:
        """All parts by key."""
        return {part.key: part for part in self.parts}

    @cached_property
    def by_id(self) -> Mapping[str, Part]:
        """All parts that have an id, by id; among equals the first."""
        found: dict[str, Part] = {}
        for part in self.parts:
            if part.id:
                found.setdefault(part.id, part)
        return found

    @property
    def next_key(self) -> int:
        """A key that no part has yet."""
        return max((part.key for part in self.parts), default=-1) + 1

    def of(self, group: str) -> tuple[Part, ...]:
        """Return the parts of one group."""
        return self.groups.get(group, ())

    def one(self, group: str) -> Part | None:
        """Return the last part of a group (QEMU lets the last of a repeated option win), or None."""
        parts = self.groups.get(group)
        return parts[-1] if parts else None

    @property
    def machine(self) -> Part:
        """The machine; its type is '' where QEMU's default is taken."""
        return self._single("machine")

    @property
    def cpu(self) -> Part:
        """The CPU model and its features (``feature`` → on/off); type '' where QEMU's default is taken."""
        return self._single("cpu")

    @property
    def memory(self) -> Part:
        """``-m``: `type` is the size as written; ``slots`` and ``maxmem`` among the properties."""
        return self._single("m")

    @property
    def smp(self) -> Part:
        """``-smp``: `type` is the number of vCPUs as written."""
        return self._single("smp")

    @property
    def limitation(self) -> Part | None:
        """The host trust limitation that this guest declares, or None."""
        return self.one("limitation")

    @property
    def devices(self) -> tuple[Part, ...]:
        """Every device, implied ones included."""
        return self.of("device")

    @cached_property
    def virtio_devices(self) -> tuple[tuple[Part, str], ...]:
        """Every virtio device with its transport: ``pci``, ``ccw`` or ``mmio``."""
        found = ((part, transport(part, self.arch)) for part in self.devices)
        return tuple(pair for pair in found if pair[1])

    @property
    def objects(self) -> tuple[Part, ...]:
        """Every ``-object`` but the limitation."""
        return self.of("object")

    @cached_property
    def memory_backends(self) -> tuple[Part, ...]:
        """The objects that back guest memory (``memory-backend-ram``, ``-memfd``, ``-file`` ...)."""
        return tuple(part for part in self.objects if part.type.startswith("memory-backend-"))

    @cached_property
    def accelerators(self) -> tuple[str, ...]:
        """Accelerators in order of preference; QEMU's default is ``tcg``."""
        options = tuple(part.type for part in self.of("accel") if part.type)
        if options:
            return options
        named = self.machine.text("accel")
        return tuple(named.split(":")) if named else ("tcg",)

    @property
    def name(self) -> str:
        """The guest's name, or ''."""
        part = self.one("name")
        return part.type if part else ""

    def has(self, group: str) -> bool:
        """Tell whether any part of this group exists (for settings such as ``S`` or ``no-reboot``)."""
        return group in self.groups

    @cached_property
    def globals(self) -> Mapping[tuple[str, str], Part]:
        """``-global DRIVER.PROPERTY=VALUE`` by (driver, property); the last one wins.

        Such a part has the driver as its `type` and a single property."""
        return {(part.type, name): part for part in self.of("global") for name in part.properties}

    def changed(self, changes: Iterable[Change]) -> Guest:
        """Return this guest with the changes made, in one pass over its parts.

        Raises KeyError when a change names a part that does not exist.
        """
        edits: defaultdict[int, list[Change]] = defaultdict(list)
        added: list[Part] = []
        for change in changes:
            if isinstance(change, Add):
                added.append(change.part)
            else:
                edits[change.key].append(change)
        parts: list[Part] = []
        for part in self.parts:
            wanted = edits.pop(part.key, None)
            kept = part if wanted is None else _edit(part, wanted)
            if kept is not None:
                parts.append(kept)
        for part in added:
            wanted = edits.pop(part.key, None)
            kept = part if wanted is None else _edit(part, wanted)
            if kept is not None:
                parts.append(kept)
        if edits:
            raise KeyError(f"no part has key {min(edits)}")
        if self.dialect == "qemu":
            parts = with_limitation(parts)
        return replace(self, parts=tuple(parts))

    def _single(self, group: str) -> Part:
        part = self.one(group)
        if part is None:
            raise ValueError(f"a guest needs a part of group '{group}': build guests with `complete`")
        return part


def complete(
    arch: str,
    emulator: str,
    parts: Iterable[Part],
    dialect: str = "qemu",
    not_carried: Iterable[NotCarried] = (),
) -> Guest:
    """Build a guest, adding empty single parts (machine, CPU, memory, smp) where the source has none."""
    listed = with_limitation(parts) if dialect == "qemu" else list(parts)
    have = {part.group for part in listed}
    key = max((part.key for part in listed), default=-1) + 1
    for group in _MADE_UP:
        if group not in have:
            listed.append(Part(group, "", key=key, implied=True))
            key += 1
    return Guest(arch, emulator, tuple(listed), dialect, tuple(not_carried))


def with_limitation(parts: Iterable[Part]) -> list[Part]:
    """Make the object that the machine names the guest's limitation, and every other one an ordinary object.

    One that does not exist becomes a limitation with an empty type. A limitation by our own name (of a guest
    in TOML: its type is no QOM type and the machine names nothing) stays what it is.
    """
    listed = list(parts)
    machine = next((part for part in listed if part.group == "machine"), None)
    names = (
        [machine.text(name) for name in LIMITATION_PROPERTIES if name in machine.properties]
        if machine
        else []
    )
    named = names[0] if names else None
    missing = named is not None
    for i, part in enumerate(listed):
        if part.group == "object" and named is not None and part.id == named and missing:
            listed[i] = replace(part, group="limitation")
            missing = False
        elif part.group == "limitation":
            if named is None and not part.implied:
                continue
            if part.id == named and part.type:
                missing = False
            elif part.type:
                listed[i] = replace(part, group="object")
            else:
                listed[i] = replace(part, group="")
    listed = [part for part in listed if part.group]
    if missing and machine is not None:
        key = max(part.key for part in listed) + 1
        listed.append(
            Part("limitation", "", {}, key, named or "", machine.line, machine.spelled, implied=True)
        )
    return listed


def _edit(part: Part, changes: list[Change]) -> Part | None:
    edited = applied(part, changes)
    if edited is not None and edited.implied and edited.group in _MADE_UP:
        # A made-up part that a change gave something to say is no longer one that nothing declares.
        return replace(edited, implied=False)
    return edited
