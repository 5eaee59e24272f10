"""The interface that every platform implements: what it takes, needs and is called.

A platform is one file with one class derived from `HostTrustLimitation`; almost all of it is data. General
rules read that data, so that "the host cannot read memory" has the same consequences everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from sequester.guest.part import Part, Value
from sequester.platforms.property import Property, PropertyFault

if TYPE_CHECKING:
    from sequester.findings.rule import Rule
    from sequester.host.facts import HostFacts
    from sequester.host.requirement import Requirement


class Limits(IntFlag):
    """What the host can no longer do to the guest."""

    READ_MEMORY = 1
    CHANGE_MEMORY = 2
    """Change memory without the guest noticing."""
    REMAP_MEMORY = 4
    """Replay, swap or alias pages without the guest noticing."""
    READ_REGISTERS = 8
    CHANGE_REGISTERS = 16
    DEBUG = 32
    """Single-step, set breakpoints."""
    ATTESTED = 64
    """Keep the guest from proving to others what it is (there is signed evidence)."""
    ISOLATED = READ_MEMORY | CHANGE_MEMORY | REMAP_MEMORY | READ_REGISTERS | CHANGE_REGISTERS | DEBUG
    """Everything that a host does to a guest's memory and registers."""


class Engagement(Enum):
    """When the limitation takes effect."""

    AT_START = "from the start of the virtual machine"
    AT_SWITCHOVER = "when the guest itself switches over"


class MigrationBlock(Enum):
    """From when on QEMU refuses to migrate, save or snapshot the guest."""

    FROM_START = "from the start"
    FROM_FIRST_RUN = "from its first run on"
    FROM_SWITCHOVER = "from its switchover on"


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """What a platform needs of the rest of the guest. An empty or None field demands nothing.

    `accelerators`: those that can run it. `machines`: prefixes of machine types, without versions.
    `irqchip`: the values of ``kernel-irqchip`` that work (QEMU's default always does).
    `forbidden_machine`: machine properties with values that QEMU refuses or the platform cannot have.
    `firmware`: ``rom`` where the guest needs firmware of its own and only ``-bios`` works, ``pflash`` where only
    that works, ``any`` where both do; '' where QEMU's default firmware will do. `firmware_features`: all of these
    must be in the image; `firmware_descriptor` is what QEMU's firmware descriptors (docs/interop/firmware.json) call
    an image for the platform. `stateless_firmware`: variable storage would be an unmeasured input.
    `tables_measured`: SMBIOS and ACPI tables are in the guest's evidence.
    `cpu_models`: the only models that work. `cpu_required`, `cpu_forbidden`: features. `cpu_too_old`: the
    generations of models (without ``.2`` and ``-base``) that cannot have a required feature.
    `host_phys_bits`: whether the guest must have as many physical address bits as the host.
    `max_cpus`: vCPUs at most. `guest_memfd`: private memory lives in guest_memfd. `pinned`: all memory
    is pinned. `discard`: whether RAM may be discarded (balloon, virtio-mem, free page reporting).
    `reset_since`: the QEMU release from which a reset does not end the guest; None where reset always works.
    `vfio_since`: the QEMU release from which VFIO works; () for always, None for never.
    `huge_pages`: whether huge pages may back the guest. `hot_cpus`: whether vCPUs may be hot-plugged.
    `kernel_hashes`: the object property that measures ``-kernel``, '' where there is none; the firmware image then
    needs all of `kernel_hash_features`. `hashes_need_kernel`: QEMU dies of the property without ``-kernel``.
    `kernel_feature`: what an image for ``-kernel`` must have, or the guest
    never switches over.
    `migration_blocked`: from when on QEMU has a migration blocker, None where it has none or nobody knows
    (`HostTrustLimitation.migration` tells it to people). `vfio_note`: what else a person who assigns a host's
    device has to know.
    """

    accelerators: tuple[str, ...] = ("kvm",)
    machines: tuple[str, ...] = ()
    irqchip: tuple[str, ...] = ()
    forbidden_machine: tuple[tuple[str, str], ...] = ()
    firmware: str = ""
    firmware_features: tuple[str, ...] = ()
    firmware_descriptor: str = ""
    stateless_firmware: bool = False
    tables_measured: bool = False
    cpu_models: tuple[str, ...] = ()
    cpu_required: tuple[str, ...] = ()
    cpu_forbidden: tuple[str, ...] = ()
    cpu_too_old: tuple[str, ...] = ()
    host_phys_bits: bool = False
    max_cpus: int | None = None
    guest_memfd: bool = False
    pinned: bool = False
    discard: bool = True
    reset_since: tuple[int, ...] | None = None
    vfio_since: tuple[int, ...] | None = ()
    huge_pages: bool = True
    hot_cpus: bool = True
    kernel_hashes: str = ""
    kernel_hash_features: tuple[str, ...] = ()
    hashes_need_kernel: bool = False
    kernel_feature: str = ""
    migration_blocked: MigrationBlock | None = None
    vfio_note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Libvirt:
    """How libvirt's ``<launchSecurity>`` spells a platform; property spellings are in `Property.libvirt`.

    `required` names properties (QEMU's names) without which libvirt refuses the domain.
    """

    type: str
    since: str
    required: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HostTrustLimitation:
    """The one object that a guest's trust limitation points at: a platform with this guest's properties.

    `values` holds typed property values by QEMU name, those given and, after `complete`, the defaults that
    are always written. `faults` are what could not be used. The class attributes describe the platform.
    """

    name: ClassVar[str]
    """Our name, as in ``--limit``: ``sev-snp``."""
    title: ClassVar[str]
    object_type: ClassVar[str]
    """QEMU's QOM type: ``sev-snp-guest``."""
    also_known_as: ClassVar[tuple[str, ...]] = ()
    architectures: ClassVar[tuple[str, ...]]
    limits: ClassVar[Limits]
    engages: ClassVar[Engagement] = Engagement.AT_START
    strength: ClassVar[int]
    """Order of preference for ``auto``: of those that work, the highest wins."""
    properties: ClassVar[tuple[Property, ...]] = ()
    demands: ClassVar[Demands] = Demands()
    libvirt: ClassVar[Libvirt | None] = None
    qemu_since: ClassVar[tuple[int, ...]]
    """The QEMU release that brought the object; () where none has yet."""
    requirements: ClassVar[tuple[Requirement, ...] | str] = ()
    """What a host needs, in the order in which a person would check it; or ``module:NAME`` of that, which is
    loaded only when a host is judged (see `host_requirements`)."""
    migration: ClassVar[str]
    """Where migration stands, with the QEMU releases meant."""
    evidence: ClassVar[str]
    """What proof the guest can give, and how."""
    measured_launch: ClassVar[bool] = False
    """Whether the launch stops for the owner to check a measurement before secrets go in."""
    measurement: ClassVar[str] = ""
    """Module that works out the expected measurement (`sequester.measure.methods.Method`), '' where there is none;
    imported only by ``measure``."""
    simulator: ClassVar[str] = ""
    """Module that plays the firmware's side (`simulated(plan, identity, random, now)`, see `sequester.simulator`), ''
    where nothing is played; imported only by a simulation."""
    fault_table: ClassVar[str] = ""
    """Module with this platform's own error texts (`FAULTS`), imported only by ``explain``."""
    rules: ClassVar[tuple[Rule, ...]] = ()
    """Only what is really peculiar to this platform; everything else follows from its data."""
    references: ClassVar[tuple[str, ...]] = ()

    values: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[PropertyFault, ...] = ()

    @classmethod
    def claims(cls, part: Part, dialect: str) -> bool:
        """Tell whether a guest's limitation part is one of this platform."""
        if dialect == "libvirt" and cls.libvirt is not None and part.type == cls.libvirt.type:
            return True
        return part.type in (cls.object_type, cls.name, *cls.also_known_as)

    @classmethod
    def from_part(cls, part: Part, dialect: str) -> HostTrustLimitation:
        """Read the guest's limitation; what cannot be used ends in `faults`, never in an exception."""
        values: dict[str, Any] = {}
        faults: list[PropertyFault] = []
        known = cls._by_name(dialect)
        for name, value in part.properties.items():
            if name in ("id", "qom-type"):
                continue
            prop = known.get(name)
            if prop is None:
                near = ", ".join(known) or "it has none"
                faults.append(
                    PropertyFault(name, f"{cls.title} has no property '{name}' (known: {near})", True)
                )
                continue
            try:
                values[prop.name] = prop.read(value, dialect)
            except ValueError as error:
                faults.append(PropertyFault(prop.name, f"{name}: {error}", True))
        for prop in cls.properties:
            if prop.name in values:
                faults.extend(
                    PropertyFault(prop.name, text, fatal) for text, fatal in prop.judge(values[prop.name])
                )
        return cls(values, tuple(faults))

    @classmethod
    def _by_name(cls, dialect: str) -> dict[str, Property]:
        if dialect == "libvirt":
            return {prop.libvirt: prop for prop in cls.properties if prop.libvirt}
        return {prop.name: prop for prop in cls.properties}

    @classmethod
    def host_requirements(cls) -> tuple[Requirement, ...]:
        """Return what a host needs for this platform; () where no host can have it yet."""
        if not isinstance(cls.requirements, str):
            return cls.requirements
        module, _, name = cls.requirements.partition(":")
        found: tuple[Requirement, ...] = getattr(import_module(module), name)
        return found

    def value(self, name: str) -> Any:
        """Return a property's value, or its default in QEMU."""
        if name in self.values:
            return self.values[name]
        return next((prop.default for prop in self.properties if prop.name == name), None)

    def completed(self, host: HostFacts | None) -> HostTrustLimitation:
        """Add what must be written and was not given: values from the host and the platform's defaults."""
        values = dict(self.values)
        for prop in self.properties:
            if prop.name in values:
                continue
            if prop.from_host and host is not None:
                read = getattr(host, prop.from_host, None)
                if read is not None:
                    values[prop.name] = read
                    continue
            if prop.always is not None:
                values[prop.name] = prop.always
        return type(self)(values, self.faults)

    def object_properties(self) -> dict[str, Value]:
        """Return the properties as QEMU's ``-object`` takes them (JSON types), in declaration order."""
        return {
            prop.name: prop.to_qemu(self.values[prop.name])
            for prop in self.properties
            if prop.name in self.values
        }

    def libvirt_properties(self) -> dict[str, str]:
        """Return the properties as libvirt spells them (``@attribute`` or element), in declaration order.

        What libvirt demands and nobody gave has QEMU's default. Properties that libvirt cannot say are left out;
        `unsaid_by_libvirt` names them."""
        required = self.libvirt.required if self.libvirt is not None else ()
        values = {prop.name: prop.default for prop in self.properties if prop.name in required}
        values.update(self.values)
        return {
            prop.libvirt: prop.to_libvirt(values[prop.name])
            for prop in self.properties
            if prop.name in values and prop.said_by_libvirt(values[prop.name])
        }

    def with_files_in(self, folder: str) -> tuple[HostTrustLimitation, tuple[str, ...]]:
        """Turn texts, as libvirt has them, into the paths of files in a folder; say which file is to hold which."""
        kept = [prop for prop in self.properties if prop.libvirt_file and self.values.get(prop.name)]
        paths = {prop.name: f"{folder}/{prop.libvirt_file}" for prop in kept}
        made = tuple(f"the text of {prop.libvirt}: write it to {paths[prop.name]}" for prop in kept)
        return type(self)({**self.values, **paths}, self.faults), made

    def unsaid_by_libvirt(self) -> tuple[str, ...]:
        """Name the given properties that libvirt's XML has no place for."""
        return tuple(
            prop.name
            for prop in self.properties
            if prop.name in self.values and not prop.said_by_libvirt(self.values[prop.name])
        )
