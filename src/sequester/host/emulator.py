"""What QEMU binaries and firmware images a host has, as typed facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sequester.host.record import Part


@dataclass(frozen=True, slots=True)
class QemuProperty:
    """A property of a QOM type: its name, QAPI type, and default where QEMU names one."""

    name: str
    type: str
    default: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class QemuMachine:
    """A machine type: its name (``pc-q35-11.1``), alias (``q35``) or '', and standing."""

    name: str
    alias: str = ""
    default: bool = False
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class QemuFacts:
    """What one QEMU binary said of itself over QMP; with `error`, why it said nothing.

    `version` is (11, 1, 2), or () when unknown; `version_text` adds the package. `arch` is the target
    (``x86_64``). `types` are the concrete types that implement confidential-guest-support, `properties` theirs
    by type. `kvm`: whether KVM was in use while it was asked. `rebuilds_on_reset`: whether a guest without
    readable state survives a reset (QEMU 11.0). `sev_cbitpos`: from query-sev-capabilities; `sev_error`: what
    that said instead.
    """

    path: str
    version: tuple[int, ...] = ()
    version_text: str = ""
    arch: str = ""
    types: frozenset[str] = frozenset()
    properties: Mapping[str, Mapping[str, QemuProperty]] = field(default_factory=dict)
    machines: tuple[QemuMachine, ...] = ()
    accelerators: frozenset[str] = frozenset()
    kvm: bool = False
    rebuilds_on_reset: bool = False
    sev_cbitpos: int | None = None
    sev_error: str = ""
    error: str = ""

    def __str__(self) -> str:
        version = ".".join(str(number) for number in self.version)
        return f"QEMU {version} ({self.path})" if version else self.path

    def machine(self, name: str) -> QemuMachine | None:
        """Return a machine type by name or alias; '' is the default one."""
        for machine in self.machines:
            if name in (machine.name, machine.alias) if name else machine.default:
                return machine
        return None


@dataclass(frozen=True, slots=True)
class FirmwareImage:
    """A firmware descriptor (QEMU docs/interop/firmware.json) and whether its image is there.

    `descriptor` is its file, `filename` the image; `device` is ``flash`` or ``memory``. `masked_by` names the
    descriptor that counts instead of this one.
    """

    descriptor: str
    features: frozenset[str] = frozenset()
    device: str = ""
    filename: str = ""
    architectures: frozenset[str] = frozenset()
    machines: tuple[str, ...] = ()
    present: bool = False
    masked_by: str = ""
    error: str = ""

    @property
    def usable(self) -> bool:
        """Tell whether the image can be taken."""
        return self.present and not self.masked_by and not self.error


def qemu_facts(part: Part) -> QemuFacts:
    """Read one QEMU of a record; InputError names what is wrong."""
    get = part.fields().get
    none = Part(None, part.where, part.place)
    version = tuple(item.number() for item in (get("version") or none).items())
    package = (get("package") or none).text()
    sev = get("sev_capabilities") or none
    cbitpos = sev.field("cbitpos")
    types = [item for item in (get("types") or none).items() if not item.field("abstract").truth()]
    return QemuFacts(
        path=(get("path") or none).text(),
        version=version,
        version_text=".".join(map(str, version)) + (f" ({package})" if package else ""),
        arch=(get("arch") or none).text(),
        types=frozenset(item.field("name").text() for item in types),
        properties={
            name: {prop.name: prop for prop in map(_property, listed.items())}
            for name, listed in (get("properties") or none).fields().items()
        },
        machines=tuple(_machine(item) for item in (get("machines") or none).items()),
        accelerators=frozenset((get("accelerators") or none).texts()),
        kvm=(get("kvm") or none).field("enabled").truth(),
        rebuilds_on_reset=(get("rebuilds_on_reset") or none).truth(),
        sev_cbitpos=None if cbitpos.value is None else cbitpos.number(),
        sev_error=sev.field("error").text(),
        error=(get("error") or none).text(),
    )


def firmware_image(part: Part) -> FirmwareImage:
    """Read one firmware descriptor of a record; InputError names what is wrong."""
    return FirmwareImage(
        descriptor=part.field("path").text(),
        features=frozenset(part.field("features").texts()),
        device=part.field("device").text(),
        filename=part.field("filename").text(),
        architectures=frozenset(part.field("architectures").texts()),
        machines=part.field("machines").texts(),
        present=part.field("present").truth(),
        masked_by=part.field("masked_by").text(),
        error=part.field("error").text(),
    )


def _property(part: Part) -> QemuProperty:
    default = part.field("default").value
    if default is not None and not isinstance(default, (str, int, float, bool)):
        raise part.field("default").wrong("a scalar")
    return QemuProperty(part.field("name").text(), part.field("type").text(), default)


def _machine(part: Part) -> QemuMachine:
    fields = part.fields()
    none = Part(None, part.where, part.place)
    return QemuMachine(
        (fields.get("name") or none).text(),
        (fields.get("alias") or none).text(),
        (fields.get("default") or none).truth(),
        (fields.get("deprecated") or none).truth(),
    )
