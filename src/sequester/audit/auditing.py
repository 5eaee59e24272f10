"""The story: ask a running QEMU, make a guest of its answers, judge it by all rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sequester.audit import process
from sequester.audit.asking import Monitor, Seen, boolean, command, integer, record, records, string, strings
from sequester.audit.comparing import differences
from sequester.audit.model import by_place, guest_of, protection_path, says_mergeable
from sequester.audit.questions import Answered, ask, status_of
from sequester.findings.case import Case, Firmware
from sequester.findings.rule import Finding
from sequester.guest.firmware import images
from sequester.guest.guest import Guest
from sequester.guest.listening import consoles, displays, monitors
from sequester.guest.running import Merging, Negotiation, Running, SevState
from sequester.guest.virtio import is_virtio
from sequester.host.emulator import QemuFacts
from sequester.platforms.registry import named, resolve
from sequester.rules import engine
from sequester.rules.catalogue import rules
from sequester.rules.engine import Selection

ACCESS_PLATFORM = ("VIRTIO_F_IOMMU_PLATFORM", "VIRTIO_F_ACCESS_PLATFORM")
"""Feature bit 33, by QEMU's name for it and the specification's."""

NOT_SEEN = ("SQ306", "SQ311", "SQ415", "SQ706", "SQ707")
"""Rules that a running QEMU cannot be judged by: a vhost-user backend that it took has agreed, every card brings an
option ROM by default, and it does not tell of -S and -no-reboot."""


@dataclass(frozen=True)
class Audit:
    """What was found in a running guest: the case it made, and its findings."""

    case: Case
    findings: tuple[Finding, ...]

    @property
    def protected(self) -> bool:
        """Tell whether the machine names a protection object."""
        return self.case.engaged and self.case.limitation is not None


def audit(
    monitor: Monitor,
    limit: str | None = None,
    planned: Guest | None = None,
    selection: Selection | None = None,
    proc: Path = process.PROC,
) -> Audit:
    """Ask a running QEMU and judge it.

    `limit` names the platform that it should have, `planned` the guest that it should be. Raises InputError for an
    unknown platform or selection, HostError and GuestError where the QEMU cannot be asked.
    """
    chosen = selection.of(rules()) if selection else rules()
    chosen = tuple(rule for rule in chosen if rule.code not in NOT_SEEN)
    case = case_of(ask(Seen(monitor)), monitor.peer, limit, planned, proc)
    found = engine.check(case, chosen, Selection(downgrade=selection.downgrade) if selection else None)
    return Audit(case, tuple(_as_it_runs(finding) for finding in found))


def case_of(
    told: Answered,
    peer: int | None,
    limit: str | None = None,
    planned: Guest | None = None,
    proc: Path = process.PROC,
) -> Case:
    """Put together what the rules look at. `peer` is the process at the other end of the socket, where it is known."""
    seen = told.seen
    threads = [integer(cpu.get("thread-id")) for cpu in records(seen.value(command("query-cpus-fast")))]
    local = peer if peer is not None and process.is_qemu(peer, threads, proc) else None
    merging = process.merging(local, proc) if local is not None else None
    guest, keys = guest_of(told, merging.mergeable if merging else None)
    wanted = limit
    if wanted is None and planned is not None and (meant := resolve(planned)) is not None:
        wanted = meant.name
    engaged = bool(protection_path(seen))
    limitation = resolve(guest)
    if limitation is None and wanted is not None:
        limitation = named(wanted)()
    running = _running(told, guest, keys, named(wanted).name if wanted else "", merging)
    if local is not None:
        running = replace(running, listening=_unexplained(guest, process.listening(local, proc) or ()))
    if planned is not None:
        running = _compared(running, guest, keys, planned)
    emulator = QemuFacts(f"QEMU {'.'.join(map(str, told.version))}", told.version, arch=told.arch)
    return Case(
        guest,
        limitation,
        emulator,
        firmware=_firmware(guest) if local is not None else {},
        engaged=engaged,
        running=running,
    )


def _running(
    told: Answered, guest: Guest, keys: dict[str, int], wanted: str, merging: Merging | None
) -> Running:
    seen = told.seen
    migrate = seen.value(command("query-migrate"))
    # Until 5.2 blockers were not told; an answer without them is one that has none.
    blockers = None if migrate is None else tuple(strings(record(migrate).get("blocked-reasons")))
    capabilities = records(seen.value(command("query-migrate-capabilities")))
    return Running(
        string(record(seen.value(command("query-status"))).get("status", "")),
        wanted,
        tuple(_negotiations(told, guest, keys)),
        blockers,
        string(record(migrate).get("status", "")),
        frozenset(string(one.get("capability")) for one in capabilities if one.get("state") is True),
        says_mergeable(seen),
        merging,
        _sev(seen),
        _gdb(seen),
        plugged=frozenset(
            keys[place.path]
            for place in told.devices
            if by_place(place.path) and seen.property(place.path, "hotplugged") is True
        ),
    )


def _negotiations(told: Answered, guest: Guest, keys: dict[str, int]) -> list[Negotiation]:
    found = []
    for place in told.devices:
        part = guest.by_key[keys[place.path]]
        if not is_virtio(part):
            continue
        status = told.seen.value(status_of(place)) if told.status_asked else None
        if status is None:
            found.append(Negotiation(part.key, None, False))
            continue
        words = strings(record(record(status).get("status")).get("statuses"))
        driven = any(word.startswith("VIRTIO_CONFIG_S_DRIVER_OK") for word in words)
        taken = strings(record(record(status).get("guest-features")).get("transports"))
        accepted = any(word.split(":")[0] in ACCESS_PLATFORM for word in taken)
        found.append(Negotiation(part.key, accepted, driven))
    return found


def _sev(seen: Seen) -> SevState | None:
    answer = seen.value(command("query-sev"))
    if answer is None:
        return None
    state = record(answer)
    policy = state.get("policy", state.get("snp-policy"))
    return SevState(
        boolean(state.get("enabled")),
        string(state.get("state", "")),
        integer(policy) if policy is not None else None,
    )


def _gdb(seen: Seen) -> str:
    for entry in records(seen.value(command("query-chardev"))):
        if entry.get("label") == "gdb":
            return string(entry.get("filename", "")).removeprefix("disconnected:")
    return ""


def _unexplained(guest: Guest, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses at which no monitor, console, display or character device is known to listen."""
    ports = {str(part.get("port")) for part in guest.of("chardev") if "port" in part.properties}
    ports |= {str(part.get(name)) for part in guest.of("spice") for name in ("port", "tls-port")}
    for endpoint in (*monitors(guest), *consoles(guest), *displays(guest)):
        text = endpoint.part.type.partition(",")[0]
        ports.add(text.rpartition(":")[2])
    return tuple(address for address in addresses if address.rpartition(":")[2] not in ports)


def _compared(running: Running, guest: Guest, keys: dict[str, int], planned: Guest) -> Running:
    there = [guest.by_key[key] for path, key in keys.items()]
    asked_for = frozenset(key for path, key in keys.items() if by_place(path))
    missing, strangers = differences(planned, there)
    return replace(
        running,
        planned=True,
        missing=tuple(replace(part, line=0) for part in missing),  # a line of the plan is none of the guest
        strangers=frozenset(part.key for part in strangers if part.key in asked_for),
    )


def _firmware(guest: Guest) -> dict[str, Firmware]:
    paths = sorted({image.path for image in images(guest) if image.path.startswith("/")})
    from sequester.host.firmware import inspect  # only where there is an image to look into

    return {path: inspect(path) for path in paths if Path(path).is_file()}


def _as_it_runs(finding: Finding) -> Finding:
    """Take the fix out of a finding: a plan can be changed, a guest that runs cannot."""
    return replace(finding, fixable=False, change="", fix=()) if finding.fix else finding
