"""SQ9xx: what a monitor may no longer do to a running guest. `guard` holds its clients to them; `check` has no use
for them. Devices and objects that are plugged in are held to the other rules, see `sequester.guard.plugging`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sequester.findings.case import dotted
from sequester.findings.rule import Rule, Severity
from sequester.guest.part import truth
from sequester.platforms.limitation import Limits, MigrationBlock
from sequester.platforms.registry import object_types
from sequester.rules.monitor_rule import MonitorRule, Situation

_READ = int(Limits.READ_MEMORY)
_DIES_OF_STATUS = (10, 1)
"""The first release after the last one that was seen to survive `x-query-virtio-status` (7.2 and 10.0 do; 11.1.2 does
not: "visit_start_struct: Assertion `!(v->type & VISITOR_OUTPUT) || *obj' failed")."""
_FIRST_STATUS = (7, 2)
_MUST_BE = {
    "confidential-guest-support": None,
    "memory-encryption": None,
    "mem-merge": False,
    "merge": False,
    "dump-guest-core": False,
    "dump": False,
    "iommu_platform": True,
    "disable-modern": False,
    "force-legacy": False,
}
"""Properties that may be set to this only, at run time; None: never."""
_MEMORY = ("pc-dimm", "virtio-mem", "nvdimm", "virtio-pmem")
_WRITERS = ("loader", "guest-loader")
_MONITORS = "monitor-"
_OPENERS = ("qtest", "x-remote-object")
_DISPLAYS = ("vnc", "spice", "@dbus-display")
_CGS_DOC = "https://www.qemu.org/docs/master/system/confidential-guest-support.html"
_SEV_DOC = "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html"

Arguments = Mapping[str, Any]


def _leaving(_arguments: Arguments, situation: Situation) -> str:
    limitation = situation.limitation
    blocked = limitation.demands.migration_blocked
    if blocked is None or (blocked is MigrationBlock.FROM_SWITCHOVER and not situation.engaged):
        return ""
    return f"a guest with {limitation.title} cannot leave its machine or be put aside"


def _debugs(arguments: Arguments, situation: Situation) -> str:
    if situation.engaged:
        return "its registers are its own"
    line = str(arguments.get("command-line", ""))
    return "the stub would stay when the guest switches over" if line.split()[:1] == ["gdbserver"] else ""


def _status(arguments: Arguments, situation: Situation) -> str:
    if _FIRST_STATUS <= situation.version < _DIES_OF_STATUS:
        return ""
    return f"QEMU {dotted(situation.version)} is known to die of it, or not known to survive"


def _protection_made(arguments: Arguments, _situation: Situation) -> str:
    kind = arguments.get("qom-type")
    known = isinstance(kind, str) and kind in object_types()
    return f"{kind} made after the start protects nothing" if known else ""


def _protection_removed(arguments: Arguments, situation: Situation) -> str:
    name = arguments.get("id")
    return f"'{name}' is the protection object" if name and name == situation.identity else ""


def _another_monitor(arguments: Arguments, _situation: Situation) -> str:
    protocol, kind = arguments.get("protocol"), arguments.get("qom-type")
    if isinstance(kind, str) and kind.startswith(_MONITORS):
        return f"{kind[:60]} is another monitor"
    if not isinstance(protocol, str) or protocol in _DISPLAYS:
        return ""
    return f"'{protocol[:60]}' is no display, and may be a monitor"


def _opens_memory(arguments: Arguments, _situation: Situation) -> str:
    kind = arguments.get("qom-type")
    return f"{kind} reads and writes it for whoever connects" if kind in _OPENERS else ""


def _undone(arguments: Arguments, situation: Situation) -> str:
    path, name, value = arguments.get("path"), arguments.get("property"), arguments.get("value")
    if situation.identity and isinstance(path, str) and path.rstrip("/").split("/")[-1] == situation.identity:
        return f"'{situation.identity}' is the protection object"
    if not isinstance(name, str) or name not in _MUST_BE:
        return ""
    wanted = _MUST_BE[name]
    return "" if wanted is not None and truth(value) is wanted else f"{name} is part of the protection"


def _ends_guest(_arguments: Arguments, situation: Situation) -> str:
    since = situation.limitation.demands.reset_since
    if since is None or situation.version >= since:
        return ""
    return f"QEMU {dotted(situation.version)} ends when it resets a guest with {situation.limitation.title}"


def _plugs_processor(arguments: Arguments, situation: Situation) -> str:
    driver = arguments.get("driver")
    if situation.limitation.demands.hot_cpus or not isinstance(driver, str):
        return ""
    is_processor = driver.endswith(("-cpu", "-cpu-core"))
    return (
        f"{driver} is a vCPU, and {situation.limitation.title} has those of the launch"
        if is_processor
        else ""
    )


def _plugs_memory(arguments: Arguments, situation: Situation) -> str:
    driver, demands = arguments.get("driver"), situation.limitation.demands
    if not isinstance(driver, str):
        return ""
    if driver in _WRITERS:
        return f"{driver} writes to the guest's memory"
    if not driver.startswith(_MEMORY):
        return ""
    if demands.guest_memfd:
        return f"{driver} is memory that a guest with {situation.limitation.title} would have to accept first"
    if not demands.discard and driver.startswith("virtio-mem"):
        return f"{driver} discards memory, and {situation.limitation.title} cannot"
    return ""


MONITOR_RULES: tuple[MonitorRule, ...] = (
    MonitorRule(
        "SQ901",
        "Migration of a running guest",
        Severity.ERROR,
        why="Its memory and registers are bound to this machine's keys, so that what arrived elsewhere would be noise.",
        broken="QEMU refuses by itself once it has a blocker: SEV and SEV-SNP from the first `cont` on, so that "
        "before it a migration starts and carries the firmware's ciphertext; TDX and PEF always; s390 from the "
        "switchover on (from QEMU's source; not tried with hardware). Without protection the same commands copy the "
        "whole guest to any address that the host names.",
        remedy="shut the guest down here and start it there",
        references=(_CGS_DOC,),
        limits=_READ,
        commands=(
            *("migrate", "migrate-incoming", "migrate-recover", "migrate-continue", "migrate-pause"),
            *(
                "migrate-start-postcopy",
                "x-colo-lost-heartbeat",
                "xen-colo-do-checkpoint",
                "xen-set-replication",
            ),
        ),
        human=(
            *("migrate", "migrate_incoming", "migrate_recover", "migrate_continue", "migrate_pause"),
            *("migrate_start_postcopy", "x_colo_lost_heartbeat"),
        ),
        look=_leaving,
        from_start=True,
    ),
    MonitorRule(
        "SQ902",
        "A snapshot with the guest's memory",
        Severity.ERROR,
        why="A snapshot holds memory that only this launch's key opens, and loading one puts memory under the guest "
        "that it did not write.",
        broken="snapshot-save has the same blockers as migration (SQ901). Snapshots of the disks alone "
        "(blockdev-snapshot, transaction) work as ever and pass the guard.",
        remedy="snapshot the disks alone",
        references=(_CGS_DOC,),
        limits=_READ,
        commands=(
            *("snapshot-save", "snapshot-load", "xen-save-devices-state", "xen-load-devices-state"),
            *("replay-break", "replay-delete-break", "replay-seek"),
        ),
        human=("savevm", "loadvm", "replay_break", "replay_delete_break", "replay_seek"),
        look=_leaving,
        from_start=True,
    ),
    MonitorRule(
        "SQ903",
        "The guest's memory read by the host",
        Severity.ERROR,
        why="The host has no business in the guest's memory; there it finds ciphertext, zeros, or what the guest "
        "shares.",
        broken="QEMU carries these commands out without a word: on hardware the file holds ciphertext (SEV) or the "
        "shared half (SNP, TDX), and looks like a dump; in a simulation it holds the guest's secrets. An s390 guest "
        "can be dumped encrypted for its owner; that too is kept from clients of the guard.",
        remedy="take a dump from inside the guest (kdump)",
        references=(_SEV_DOC,),
        limits=_READ,
        commands=("dump-guest-memory", "memsave", "pmemsave", "dump-skeys", "query-firmware-log"),
        human=(
            *(
                "x",
                "xp",
                "sum",
                "memsave",
                "pmemsave",
                "dump-guest-memory",
                "dump-skeys",
                "gva2gpa",
                "gpa2hva",
            ),
            *("gpa2hpa", "info tlb", "info mem", "info skeys", "info cmma", "info firmware-log"),
        ),
    ),
    MonitorRule(
        "SQ904",
        "The guest's registers, and debugging it",
        Severity.ERROR,
        why="Registers hold keys in use and show every step; where the platform hides them QEMU shows old or made-up "
        "values.",
        broken="`gdbserver` opens a stub to whoever reaches its port. With SEV alone registers are really read and "
        "set (SQ802); with the others KVM refuses, and QEMU prints what it last knew.",
        remedy="debug from inside the guest",
        references=(_SEV_DOC,),
        limits=_READ,
        commands=("x-query-interrupt-controllers",),
        human=(
            *("gdbserver", "info registers", "print", "p", "info lapic", "info pic", "i", "o", "mce", "log"),
            *("singlestep", "one-insn-per-tb", "info via"),
        ),
        look=_debugs,
        from_start=True,
    ),
    MonitorRule(
        "SQ905",
        "A picture of the guest's screen, a record of its sound",
        Severity.ERROR,
        why="The screen shows what the memory protection hides: texts, passwords while they are typed, a root shell; "
        "a monitor that cannot read memory must not read it there.",
        broken="The picture lies in memory that the guest shares with the host, so screendump works on every "
        "platform, silently. It is no defence against a host that looks itself: it keeps clients of the monitor from "
        "what a person at the console sees.",
        remedy="look at the guest's console as its owner (SQ806 tells how it should be reached)",
        limits=_READ,
        commands=("screendump",),
        human=("screendump", "wavcapture"),
    ),
    MonitorRule(
        "SQ906",
        "The guest's writing to memory watched",
        Severity.ERROR,
        why="Which pages a guest writes, and when, tells what it does; calc-dirty-rate reads samples of the pages too.",
        broken="QEMU 7.2, 10.0 and 11.1 carry calc-dirty-rate out for any guest that runs. Page-sampling on protected "
        "memory counts ciphertext; from QEMU migration/dirtyrate.c, not tried with hardware.",
        remedy="measure from inside the guest",
        limits=_READ,
        commands=("calc-dirty-rate", "set-vcpu-dirty-limit", "xen-set-global-dirty-log"),
        human=("calc_dirty_rate", "set_vcpu_dirty_limit"),
    ),
    MonitorRule(
        "SQ907",
        "A debugging command that shows what lies in memory, or where",
        Severity.ERROR,
        why="These are no stable interface: they show descriptors that lie in the guest's memory, or where in QEMU "
        "that memory is.",
        broken="x-query-virtio-queue-element walks rings and prints their descriptors (7.2, 10.0 and 11.1), and "
        "x-query-ramblock tells where all guest memory is in QEMU (10.0 and 11.1).",
        remedy="use x-query-virtio and qom-get, which pass the guard",
        limits=_READ,
        commands=(
            *(
                "x-query-virtio-queue-element",
                "x-query-virtio-queue-status",
                "x-query-virtio-vhost-queue-status",
            ),
            "x-query-ramblock",
        ),
        human=(
            *("info virtio-queue-element", "info virtio-queue-status", "info virtio-vhost-queue-status"),
            "info ramblock",
        ),
    ),
    MonitorRule(
        "SQ908",
        "A command that QEMU dies of",
        Severity.ERROR,
        why="A monitor command must not end the guest by accident.",
        broken="QEMU 11.1.2 ends with SIGABRT on x-query-virtio-status of any device, with or without a driver: "
        '"visit_start_struct: Assertion `!(v->type & VISITOR_OUTPUT) || *obj\' failed" (x86_64, s390x, ppc64, '
        "aarch64). 7.2 and 10.0 answer.",
        remedy="read the device's iommu_platform with qom-get",
        limits=_READ,
        commands=("x-query-virtio-status",),
        human=("info virtio-status",),
        look=_status,
        from_start=True,
    ),
    MonitorRule(
        "SQ909",
        "A protection object made later",
        Severity.ERROR,
        why="Protection is set up once, when the guest is launched.",
        broken="QEMU 7.2, 10.0 and 11.1 make a second protection object at run time without a word, and nothing "
        "uses it.",
        remedy="start the guest with the object that it should have",
        references=(_CGS_DOC,),
        limits=_READ,
        commands=("object-add",),
        look=_protection_made,
        from_start=True,
    ),
    MonitorRule(
        "SQ910",
        "The protection object deleted",
        Severity.ERROR,
        why="Nothing may take the guest's protection away while it runs.",
        broken="QEMU 7.2, 10.0 and 11.1 delete it without a word although the machine names it (tried before the "
        "machine was made, with -preconfig).",
        remedy="end the guest",
        limits=_READ,
        commands=("object-del",),
        look=_protection_removed,
        from_start=True,
    ),
    MonitorRule(
        "SQ911",
        "A setting that undoes the protection",
        Severity.ERROR,
        why="What the guest was started with holds for its life.",
        broken="QEMU 7.2, 10.0 and 11.1 take merge=true for a memory backend at run time and call "
        "madvise(MADV_MERGEABLE) at once (strace). They let the machine's confidential-guest-support be pointed at "
        "another object too, and mem-merge be turned on for what is plugged in later. iommu_platform of a device that "
        "exists they refuse to change.",
        remedy="leave it as it is",
        limits=_READ,
        commands=("qom-set",),
        look=_undone,
        from_start=True,
    ),
    MonitorRule(
        "SQ912",
        "A reset that ends the guest",
        Severity.ERROR,
        why="The guest's registers and measured memory cannot be set back to their first state; QEMU 11.0 and later "
        "build a new virtual machine for it instead.",
        broken='QEMU before 11.0 says "cpus are not resettable, terminating" and ends (see SQ707).',
        remedy="end the guest (system_powerdown, quit) and start it anew, or use QEMU 11.0 or later",
        limits=_READ,
        commands=("system_reset",),
        human=("system_reset",),
        look=_ends_guest,
        from_start=True,
    ),
    MonitorRule(
        "SQ913",
        "A vCPU plugged into a launched guest",
        Severity.ERROR,
        why="A vCPU's first state is encrypted, and measured, when the guest is launched.",
        broken="See SQ708: KVM gives an error for TDX; SEV-ES and SEV-SNP leave the new vCPU without encrypted state.",
        remedy="give the guest all its vCPUs at start",
        limits=_READ,
        commands=("device_add",),
        look=_plugs_processor,
        from_start=True,
    ),
    MonitorRule(
        "SQ914",
        "Memory plugged into, or written under, a running guest",
        Severity.ERROR,
        why="A guest must accept memory before it can use it as its own, and Linux does not yet for what is plugged "
        "in; what the host writes into its memory the guest would not see, or not trust.",
        broken="See SQ204 and SQ605. A guest that touches memory it has not accepted ends.",
        remedy="give the guest all its memory at start",
        limits=_READ,
        commands=("device_add",),
        look=_plugs_memory,
        from_start=True,
    ),
    MonitorRule(
        "SQ915",
        "A command of the human monitor that is not known to be harmless",
        Severity.ERROR,
        why="The human monitor reads memory and registers in many ways, and is no stable interface.",
        broken="Commands that only tell of QEMU's own state, or act on disks and networks, pass the guard; the list "
        "is in docs/guard.md. device_add, object_add and qom-set do so in QMP, where their arguments can be judged.",
        remedy="use the QMP command of that name",
        references=("https://www.qemu.org/docs/master/system/monitor.html",),
        limits=_READ,
        from_start=True,
    ),
    MonitorRule(
        "SQ916",
        "A command that nobody has judged",
        Severity.ERROR,
        why="QEMU gets new commands with every release, and one that this program does not know may read the guest's "
        "memory.",
        broken="Known are the commands of QEMU 7.2, 10.0 and 11.1. Of others those whose name begins with query- pass.",
        remedy="use a newer sequester, or let such commands pass with --unknown allow",
        limits=_READ,
        from_start=True,
    ),
    MonitorRule(
        "SQ917",
        "A connection to a monitor that nobody guards",
        Severity.ERROR,
        why="Whoever reaches another monitor of the same QEMU is held to nothing.",
        broken="With QEMU 7.2, 10.0 and 11.1 add_client hands a connection not only to a display but to any socket "
        "chardev that has none, by its id, and a monitor on that chardev then greets; with 11.1 chardev-add and "
        "object-add monitor-qmp make a new one (all tried).",
        remedy="connect to the guard again; it serves many clients",
        limits=_READ,
        commands=("add_client", "object-add"),
        look=_another_monitor,
        from_start=True,
    ),
    MonitorRule(
        "SQ918",
        "An object that opens the guest's memory",
        Severity.ERROR,
        why="What serves the guest's memory to another process gives away all that is not encrypted.",
        broken="QEMU 7.2, 10.0 and 11.1 make an object qtest at run time, on any chardev and with any accelerator: "
        "whoever connects there reads and writes memory and ports by line (tried).",
        remedy="do without it",
        limits=_READ,
        commands=("object-add",),
        look=_opens_memory,
        from_start=True,
    ),
)

RULES: tuple[Rule, ...] = MONITOR_RULES
