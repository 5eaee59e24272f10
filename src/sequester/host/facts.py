"""The facts of a host: a typed, frozen view over one record, whenever and wherever it was collected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sequester.host.emulator import FirmwareImage, QemuFacts, firmware_image, qemu_facts
from sequester.host.reading import (
    NOT_RECORDED,
    KernelLog,
    Libvirt,
    Node,
    Reading,
    SecurityProcessor,
    Version,
    decimal_key,
    entries,
    error_in,
    hex_key,
    kernel_log,
    leaves,
    libvirt,
    node,
    number_or,
    reading,
    register,
    security_processor,
)
from sequester.host.record import Part, checked, load, parse

__all__ = [
    "FirmwareImage",
    "HostFacts",
    "KernelLog",
    "Libvirt",
    "Node",
    "QemuFacts",
    "Reading",
    "SecurityProcessor",
]

TARGETS = {"ppc64le": "ppc64", "arm64": "aarch64", "amd64": "x86_64", "i686": "i386"}
"""QEMU's name for an architecture where uname has another."""
MASKED = ("/sys/firmware/", "/proc/device-tree/")
"""Empty in containers (OCI runtime specification, maskedPaths as Docker, Podman and containerd set them)."""


@dataclass(frozen=True)
class HostFacts:
    """A host as one record has it.

    `arch` is QEMU's name for it (``x86_64``, ``s390x``, ``ppc64``, ``aarch64``). `cpuid_leaves` has the four
    registers by leaf and holds every leaf of interest that exists; it is empty with `cpuid_error`. `msrs` has
    a number or the reason why not. `qemus` is None where no QEMU was asked. `memlock` is the hard limit in
    bytes, None for no limit. Built by `load`, `parse` and `from_record`; these raise InputError for
    what is no record.
    """

    collected: str = ""
    arch: str = ""
    uid: int = 0
    groups: frozenset[str] = frozenset()
    files: Mapping[str, Reading] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    cpuinfo: Mapping[str, str] = field(default_factory=dict)
    cpuid_leaves: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    cpuid_source: str = ""
    cpuid_error: str = NOT_RECORDED
    msrs: Mapping[int, int | str] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    directories: Mapping[str, int | str] = field(default_factory=dict)
    kvm_api: int | None = None
    kvm_caps: Mapping[int, int] = field(default_factory=dict)
    kvm_error: str = NOT_RECORDED
    sev_platform: SecurityProcessor = field(default_factory=SecurityProcessor)
    snp_platform: SecurityProcessor = field(default_factory=SecurityProcessor)
    log: KernelLog = field(default_factory=KernelLog)
    config: Mapping[str, str] | None = None
    memlock: int | None = None
    firmware: tuple[FirmwareImage, ...] = ()
    qemus: tuple[QemuFacts, ...] | None = None
    libvirt: Libvirt = field(default_factory=Libvirt)

    @classmethod
    def load(cls, path: str) -> HostFacts:
        """Return the facts in a record's file."""
        return cls.from_record(load(path), path)

    @classmethod
    def parse(cls, data: bytes, where: str) -> HostFacts:
        """Return the facts in a record's JSON text; `where` names it in errors."""
        return cls.from_record(parse(data, where), where)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], where: str = "record") -> HostFacts:
        """Return the facts in a record; InputError names the part of it that is not as it should be."""
        part = Part(checked(dict(record), where), where, "")
        cpuid, kvm, sev, config = (part.field(name) for name in ("cpuid", "kvm", "sev", "config"))
        qemus = part.field("qemu")
        arch = part.field("arch").text()[:32]
        cmdline = part.field("cmdline")
        hard = part.field("memlock").items()[1:2]
        return cls(
            collected=part.field("collected").text()[:32],
            arch=TARGETS.get(arch, arch),
            uid=number_or(part.field("user").field("uid"), 0),
            groups=frozenset(part.field("user").field("groups").texts()),
            files={path: reading(one) for path, one in part.field("files").fields().items()},
            arguments=None if cmdline.field("error").text() else cmdline.field("arguments").texts(),
            cpuinfo={key: one.text() for key, one in part.field("cpuinfo").fields().items()},
            cpuid_leaves=leaves(cpuid.field("leaves")),
            cpuid_source=cpuid.field("source").text(),
            cpuid_error=error_in(cpuid),
            msrs={hex_key(one, key): register(one) for key, one in part.field("msrs").fields().items()},
            nodes={path: node(path, one) for path, one in part.field("nodes").fields().items()},
            directories={path: entries(one) for path, one in part.field("directories").fields().items()},
            kvm_api=None if kvm.field("api").value is None else kvm.field("api").number(),
            kvm_caps={decimal_key(one, key): one.number() for key, one in kvm.field("caps").fields().items()},
            kvm_error=error_in(kvm),
            sev_platform=security_processor(sev.field("platform")),
            snp_platform=security_processor(sev.field("snp")),
            log=kernel_log(part.field("log")),
            config=None
            if error_in(config)
            else {key: one.text() for key, one in config.field("options").fields().items()},
            memlock=hard[0].number() if hard and hard[0].value is not None else None,
            firmware=tuple(firmware_image(one) for one in part.field("firmware").items()),
            qemus=None if qemus.value is None else tuple(qemu_facts(one) for one in qemus.items()),
            libvirt=libvirt(part.field("libvirt")),
        )

    def with_qemus(self, qemus: tuple[QemuFacts, ...]) -> HostFacts:
        """Return these facts with other QEMUs, to judge for one binary alone."""
        return replace(self, qemus=qemus)

    def qemu(self, path: str) -> QemuFacts | None:
        """Return the QEMU with this path."""
        return next((qemu for qemu in self.qemus or () if qemu.path == path), None)

    def qemus_for(self, arch: str) -> tuple[QemuFacts, ...]:
        """Return the QEMUs for a target; those that did not tell their target are among them."""
        return tuple(qemu for qemu in self.qemus or () if qemu.arch in (arch, ""))

    @property
    def is_root(self) -> bool:
        """Tell whether the record was collected by root."""
        return self.uid == 0

    def file(self, path: str) -> Reading:
        """Return what was read of a file; one that is missing with its folder, or hidden, counts as such."""
        reading = self.files.get(path)
        if self.hidden(path) and (reading is None or reading.absent):
            return Reading(None, f"hidden from this container ({self.container})")
        if reading is None and self.nodes.get(path.rpartition("/")[0], Node("")).absent:
            return Reading(None, "ENOENT")
        return reading or Reading()

    def node(self, path: str) -> Node:
        """Return what a node looked like."""
        node = self.nodes.get(path, Node(path))
        if node.absent and self.hidden(path):
            return Node(path, error=f"hidden from this container ({self.container})")
        return node

    def hidden(self, path: str) -> bool:
        """Tell whether a path is one that container engines mask, in a record from within a container."""
        return path.startswith(MASKED) and bool(self.container)

    def module_parameter(self, module: str, name: str) -> Reading:
        """Return a module's parameter; `Reading.on` understands its spellings."""
        return self.file(f"/sys/module/{module}/parameters/{name}")

    @cached_property
    def cmdline(self) -> Mapping[str, str]:
        """The kernel's arguments of interest by name, the last of equal ones; '' for those without a value."""
        pairs = (argument.partition("=") for argument in self.arguments or ())
        return {name: value for name, _, value in pairs}

    @property
    def kernel(self) -> str:
        """The kernel's release as uname has it, '' when unknown."""
        return self.file("/proc/sys/kernel/osrelease").text or ""

    @property
    def kernel_version(self) -> Version:
        """The kernel's version (6, 11), or ()."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.kernel)
        return (int(found[1]), int(found[2])) if found else ()

    @cached_property
    def flags(self) -> frozenset[str]:
        """The processor's flags in /proc/cpuinfo (x86 ``flags``, s390 and Arm ``features``)."""
        keys = ("flags", "features", "Features")
        return frozenset(flag for key in keys for flag in self.cpuinfo.get(key, "").split())

    def has_flag(self, flag: str) -> bool:
        """Tell whether /proc/cpuinfo names a flag."""
        return flag in self.flags

    @property
    def cpu_vendor(self) -> str:
        """The processor's vendor as CPUID and Linux name it (``AuthenticAMD``, ``IBM/S390``), '' if unknown."""
        return self.cpuinfo.get("vendor_id", "")

    @property
    def cpu_name(self) -> str:
        """What the processor is called."""
        cpuinfo = self.cpuinfo
        return cpuinfo.get("model name") or cpuinfo.get("cpu") or cpuinfo.get("vendor_id", "")

    @property
    def cpu_family(self) -> int | None:
        """The x86 family, extended family added."""
        return Reading(self.cpuinfo.get("cpu family")).number

    @property
    def cpu_model(self) -> int | None:
        """The x86 model, extended model included."""
        return Reading(self.cpuinfo.get("model")).number

    def cpuid(self, leaf: int) -> tuple[int, int, int, int] | None:
        """Return EAX, EBX, ECX, EDX of a leaf: zeros for one that does not exist, None where CPUID was not told."""
        if not self.cpuid_leaves:
            return None
        return self.cpuid_leaves.get(leaf, (0, 0, 0, 0))

    @property
    def virtual(self) -> str:
        """The hypervisor that this host itself runs on ('' for none, 'some' when it does not say which)."""
        leaf = self.cpuid_leaves.get(0x40000000)
        if leaf:
            name = b"".join(register.to_bytes(4, "little") for register in leaf[1:]).rstrip(b"\0")
            return "".join(chr(byte) for byte in name if 32 <= byte < 127) or "some"
        return self.file("/sys/hypervisor/type").text or ("some" if "hypervisor" in self.flags else "")

    @property
    def container(self) -> str:
        """The container that the record was collected in, '' for none."""
        if self.file("/run/systemd/container").text:
            return self.file("/run/systemd/container").text or ""
        marks = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
        return next(
            (name for path, name in marks.items() if path in self.nodes and self.nodes[path].exists), ""
        )

    @property
    def machine_vendor(self) -> str:
        """Who made the machine, by its firmware (DMI)."""
        return self.file("/sys/class/dmi/id/sys_vendor").text or ""

    def kvm_cap(self, number: int) -> int | None:
        """Return what KVM_CHECK_EXTENSION said, None where it was not asked."""
        return self.kvm_caps.get(number)

    @property
    def vm_types(self) -> int | None:
        """KVM's bitmap of virtual machine types (KVM_CAP_VM_TYPES), None where it was not asked."""
        return self.kvm_cap(235)

    @property
    def sev_cbitpos(self) -> int | None:
        """The position of the encryption bit: CPUID 0x8000001f EBX[5:0], else what a QEMU told, else None."""
        leaf = self.cpuid_leaves.get(0x8000001F)
        if leaf and leaf[0] & 2:
            return leaf[1] & 0x3F
        return next((qemu.sev_cbitpos for qemu in self.qemus or () if qemu.sev_cbitpos), None)

    @property
    def sev_reduced_phys_bits(self) -> int:
        """What a guest loses of its physical address bits: the encryption bit, so 1 (AMD APM 2, 15.34.6).

        CPUID's EBX[11:6], 5 or 6 on EPYC, is what the host loses."""
        return 1

    @property
    def sev_asids(self) -> int | None:
        """How many guests without encrypted state can run: CPUID 0x8000001f ECX - EDX + 1."""
        leaf = self.cpuid_leaves.get(0x8000001F)
        return max(0, leaf[2] - leaf[3] + 1) if leaf and leaf[0] & 2 else None

    @property
    def sev_es_asids(self) -> int | None:
        """How many SEV-ES and SEV-SNP guests can run together: CPUID 0x8000001f EDX - 1."""
        leaf = self.cpuid_leaves.get(0x8000001F)
        return max(0, leaf[3] - 1) if leaf and leaf[0] & 2 else None

    @property
    def sev_firmware(self) -> tuple[Version, str]:
        """The AMD security processor's SEV API version and where it was read; () when unknown."""
        for status, source in (
            (self.snp_platform, "/dev/sev SNP_PLATFORM_STATUS"),
            (self.sev_platform, "/dev/sev PLATFORM_STATUS"),
        ):
            if status.version:
                return status.version, source
        for line in reversed(self.log.lines):
            if found := re.search(r"SEV(?:-SNP)? API:(\d{1,3})\.(\d{1,3})", line):
                return (int(found[1]), int(found[2])), f"kernel log '{line}'"
        return (), ""

    def ids(self, resource: str) -> tuple[int | None, int | None]:
        """Return capacity and use of a misc cgroup resource (``sev``, ``sev_es``, ``tdx``), None for unknown."""
        capacity = used = None
        for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/misc"):
            if capacity is None:
                capacity = _keyed(self.file(f"{folder}/misc.capacity"), resource)
            if used is None:
                used = _keyed(self.file(f"{folder}/misc.current"), resource)
        if used is None:
            children = [path for path in self.files if path.endswith("/misc.current") and path.count("/") > 4]
            counts = [_keyed(self.file(path), resource) for path in children]
            known = [count for count in counts if count is not None]
            used = sum(known) if known else None
        return capacity, used


def _keyed(reading: Reading, key: str) -> int | None:
    for line in (reading.text or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return Reading(value, "").number
    return None
