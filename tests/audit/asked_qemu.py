"""A QEMU of answers: what a protected guest's QEMU would say, made of a few words, and asked without a socket."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sequester.audit.asking import Answer, Command, children, command, prop
from sequester.audit.questions import ANONYMOUS, CHARDEVS, MACHINE, NODES, OBJECTS, PERIPHERAL, UNATTACHED

SNP = {"policy": 196608, "cbitpos": 51, "reduced-phys-bits": 1, "kernel-hashes": False, "host-data": ""}
SEV = {"policy": 15, "cbitpos": 51, "reduced-phys-bits": 1, "session-file": "/s", "dh-cert-file": "/d"}
GOOD = {"iommu_platform": True, "disable-legacy": "on", "disable-modern": False, "hotplugged": False}
TAKEN = {
    "status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]},
    "guest-features": {"transports": ["VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform"]},
}
NOT_TAKEN = {**TAKEN, "guest-features": {"transports": ["VIRTIO_F_VERSION_1: Device compliant for v1 spec"]}}
BLOCKED = {"blocked-reasons": ["SEV: Migration is not implemented"]}
FIRMWARE = "/usr/share/ovmf/OVMF.amdsev.fd"


@dataclass
class AskedQemu:
    """Answers by command; anything else is refused as QEMU refuses what it does not know."""

    answers: dict[Command, Any] = field(default_factory=dict)
    where: str = "fake"
    peer: int | None = None
    rounds: int = 0
    asked: list[Command] = field(default_factory=list)

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        self.rounds += 1
        self.asked += commands
        refused = Answer(error="there is no such thing")
        return [Answer(self.answers[one]) if one in self.answers else refused for one in commands]

    def say(self, name: str, value: Any, **arguments: Any) -> None:
        self.answers[command(name, **arguments)] = value

    def machine(self, **properties: Any) -> None:
        self.properties(MACHINE, {name.replace("_", "-"): value for name, value in properties.items()})

    def properties(self, path: str, properties: Mapping[str, Any]) -> None:
        self.answers.update({prop(path, name): value for name, value in properties.items()})

    def add(self, parent: str, name: str, kind: str, properties: Mapping[str, Any] | None = None) -> str:
        """Put an object into the tree; return its path."""
        self.answers.setdefault(children(parent), []).append({"name": name, "type": f"child<{kind}>"})
        self.properties(f"{parent}/{name}", {"type": kind, **(properties or {})})
        return f"{parent}/{name}"

    def virtio(self, name: str, kind: str = "virtio-net-pci", status: Any = None, **changed: Any) -> str:
        """Add a virtio device, as good as it can be but for what is changed."""
        given = {**GOOD, **{key.replace("_", "-"): value for key, value in changed.items()}}
        if "iommu-platform" in given:
            given["iommu_platform"] = given.pop("iommu-platform")
        path = self.add(PERIPHERAL, name, kind, given)
        self.answers.setdefault(command("x-query-virtio"), []).append(
            {"name": kind, "path": f"{path}/virtio-backend"}
        )
        self.say("x-query-virtio-status", TAKEN if status is None else status, path=f"{path}/virtio-backend")
        return path


def qemu(
    kind: str = "sev-snp-guest",
    properties: Mapping[str, Any] = SNP,
    version: tuple[int, int, int] = (10, 0, 2),
    link: bool = True,
    arch: str = "x86_64",
) -> AskedQemu:
    """Return the QEMU of a guest that runs protected, with nothing wrong, and one network card."""
    made = AskedQemu()
    major, minor, micro = version
    machine = {"x86_64": f"pc-q35-{major}.{minor}", "s390x": f"s390-ccw-virtio-{major}.{minor}"}[arch]
    made.say("query-version", {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""})
    made.say("query-target", {"arch": arch})
    made.say("query-status", {"status": "running", "running": True})
    made.say("query-name", {"name": "web"})
    made.say("query-kvm", {"enabled": True, "present": True})
    ram = {"id": "ram0", "size": 1 << 30, "merge": False, "dump": False, "share": False, "prealloc": False}
    made.say("query-memdev", [{**ram, "policy": "default", "host-nodes": []}])
    made.say("query-memory-size-summary", {"base-memory": 1 << 30, "plugged-memory": 0})
    made.say("query-migrate", BLOCKED)
    made.say("query-migrate-capabilities", [{"capability": "events", "state": True}])
    made.say("query-chardev", [{"label": "compat_monitor0", "filename": "unix:/run/q,server=on"}])
    made.say("query-vnc", {"enabled": False})
    made.say("query-sev", {"enabled": True, "state": "running", "sev-type": "sev-snp", "snp-policy": 196608})
    made.say("query-block", [])
    made.answers[NODES] = []
    cpu = f"{UNATTACHED}/device[0]"
    made.say("query-cpus-fast", [{"cpu-index": 0, "thread-id": 77, "qom-path": cpu}])
    made.properties(cpu, {"type": f"EPYC-v4-{arch}-cpu", "pmu": False, "unpack": True})
    made.machine(
        type=f"{machine}-machine",
        mem_merge=False,
        dump_guest_core=False,
        memory_backend=f"{OBJECTS}/ram0",
        smm="off",
        firmware=FIRMWARE,
        smp={"cpus": 1, "maxcpus": 1},
        memory={"size": 1 << 30},
    )
    for parent in (PERIPHERAL, ANONYMOUS, UNATTACHED, OBJECTS, CHARDEVS):
        made.answers[children(parent)] = [{"name": "type", "type": "string"}]
    made.add(OBJECTS, "ram0", "memory-backend-ram")
    if kind:
        made.add(OBJECTS, "htl0", kind, properties)
        made.machine(**{"confidential-guest-support": f"{OBJECTS}/htl0" if link else ""})
    made.virtio("net0", "virtio-net-ccw" if arch == "s390x" else "virtio-net-pci")
    return made


def as_json(made: AskedQemu) -> dict[str, Any]:
    """Return the answers by command in JSON, for a server that gives them."""
    return {json.dumps(one.request(), sort_keys=True): value for one, value in made.answers.items()}
