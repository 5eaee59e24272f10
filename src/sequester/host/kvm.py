"""Checks on what a guest takes from the host: device nodes, KVM, the security processor, ids, lockable memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sequester.host.kernel import LOG_REMEDY, dotted
from sequester.host.printable import shown
from sequester.host.requirement import Check, Verdict, failed, passed, unknown

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts, Node


def node_usable(path: str, missing: str = "", remedy: str = "") -> Check:
    """The user may read and write a device node. `missing`: what it means that there is none; `remedy` mends it."""

    def check(facts: HostFacts) -> Verdict:
        node = facts.node(path)
        if node.absent:
            inside = (
                f"; this is a container ({facts.container}), which may hide it" if facts.container else ""
            )
            return failed(f"no {path}", missing + inside, remedy)
        if not node.exists:
            return unknown(f"{path}: {shown(node.error)}", "", "probe as root")
        read = f"{path} {node.mode} {_owner(node)}"
        if node.kind != "character device":
            return failed(f"{path} is a {node.kind}, not a device", "", remedy)
        if node.readable and node.writable:
            return passed(f"{read}: usable")
        return failed(f"{read}: this user (uid {facts.uid}) may not use it", "", _admit(node, facts))

    return check


def kvm_usable() -> Check:
    """KVM is there, answers, and may be used."""
    usable = node_usable(
        "/dev/kvm",
        "the KVM module is not loaded, or virtualization is off in the machine's firmware",
        "modprobe kvm_amd or kvm_intel; if that fails, turn on SVM Mode (AMD) or VMX (Intel) in the firmware's setup",
    )

    def check(facts: HostFacts) -> Verdict:
        node = facts.node("/dev/kvm")
        if facts.kvm_api == 12:
            return passed("/dev/kvm answers, API 12")
        if facts.kvm_api is not None:
            return failed(f"/dev/kvm answers with API {facts.kvm_api}, not 12")
        if node.kind == "character device" and node.readable and node.writable:
            return failed(f"/dev/kvm does not answer: {shown(facts.kvm_error)}")
        return usable(facts)

    return check


def kvm_vm_type(bit: int, name: str) -> Check:
    """KVM can create virtual machines of a type (bitmap of KVM_CAP_VM_TYPES)."""

    def check(facts: HostFacts) -> Verdict:
        types = facts.vm_types
        if types is None:
            return unknown(
                f"KVM was not asked for its VM types: {shown(facts.kvm_error)}", "", _kvm_remedy(facts)
            )
        read = f"KVM_CAP_VM_TYPES = {types:#x}: bit {bit} ({name})"
        if types >> bit & 1:
            return passed(f"{read} is set")
        return failed(f"{read} is clear", f"this KVM makes no {name} guests")

    return check


def kvm_capability(number: int, name: str) -> Check:
    """KVM has a capability."""

    def check(facts: HostFacts) -> Verdict:
        value = facts.kvm_cap(number)
        if value is None:
            return unknown(f"KVM was not asked for {name}: {shown(facts.kvm_error)}", "", _kvm_remedy(facts))
        if value > 0:
            return passed(f"KVM has {name} ({value})")
        return failed(f"KVM has no {name}")

    return check


def sev_firmware_at_least(*version: int) -> Check:
    """AMD's security processor runs at least an API version of its SEV firmware."""

    def check(facts: HostFacts) -> Verdict:
        found, source = facts.sev_firmware
        if not found:
            errors = dict.fromkeys((facts.snp_platform.error, facts.sev_platform.error, facts.log.error))
            read = "; ".join(shown(error) for error in errors if error)
            return unknown(
                f"SEV firmware version unknown ({read})", "", f"access to /dev/sev tells; {LOG_REMEDY}"
            )
        if found >= version:
            return passed(f"SEV API {dotted(found)} ({shown(source)})")
        return failed(f"SEV API {dotted(found)}, older than {dotted(version)} ({shown(source)})")

    return check


def ids_free(resource: str, what: str, slots: str = "") -> Check:
    """An id is free for one more guest (misc cgroup), or at least there are any.

    `slots` names the property of the facts that tells their number from CPUID where the cgroup does not.
    """

    def check(facts: HostFacts) -> Verdict:
        capacity, used = facts.ids(resource)
        if capacity is None:
            count = getattr(facts, slots) if slots else None
            if count is None:
                return unknown(
                    f"misc.capacity does not tell the number of {what}",
                    "",
                    "CONFIG_CGROUP_MISC and cgroup v2",
                )
            if count:
                return passed(f"{count} {what} by CPUID; how many are in use is not told")
            return failed(f"no {what}: CPUID gives none to this kind of guest")
        if not capacity:
            return failed(f"misc.capacity: {resource} 0", f"there are no {what}")
        if used is None:
            return passed(f"{capacity} {what}; how many are in use is not told")
        if used < capacity:
            return passed(f"{capacity - used} of {capacity} {what} are free")
        why = f"all {what} are taken by running guests"
        return failed(
            f"misc.capacity: {resource} {capacity}, misc.current: {used}", why, "stop a protected guest"
        )

    return check


def memory_lockable(least: int) -> Check:
    """The user may lock at least some bytes of memory (RLIMIT_MEMLOCK); root always may."""

    def check(facts: HostFacts) -> Verdict:
        if facts.memlock is None or facts.is_root:
            return passed(
                "locked memory: no limit" if facts.memlock is None else "locked memory: root is not limited"
            )
        read = f"locked memory: at most {facts.memlock >> 20} MiB (ulimit -H -l)"
        return passed(read) if facts.memlock >= least else failed(read)

    return check


def _owner(node: Node) -> str:
    return f"{'root' if node.uid == 0 else node.uid}:{shown(node.group) or node.gid}"


def _admit(node: Node, facts: HostFacts) -> str:
    group_may = node.mode[-2:-1] in ("6", "7")
    if group_may and node.group and node.group != "root":
        if node.group in facts.groups:
            return "ask who confines this user (AppArmor, SELinux, the container's device rules)"
        return f"usermod -aG {shown(node.group)} USER, then log in again"
    rule = f'KERNEL=="{node.path.rpartition("/")[2]}", GROUP="kvm", MODE="0660"'
    return f"run as root, or give it to the group kvm: {rule} in /etc/udev/rules.d/65-kvm.rules, then udevadm trigger"


def _kvm_remedy(facts: HostFacts) -> str:
    node = facts.node("/dev/kvm")
    return _admit(node, facts) if node.exists else ""
