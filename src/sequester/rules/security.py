"""SQ8xx: what the guest's owner should know of its protection. Here: the policy and the ways in from the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.guest import Guest
from sequester.guest.listening import Endpoint, consoles, displays, monitors
from sequester.guest.part import Part
from sequester.platforms.limitation import Engagement, Limits
from sequester.platforms.property import Property
from sequester.rules.secrets import SECRET_RULES

_READ = int(Limits.READ_MEMORY)
_AGENTS = frozenset({"org.qemu.guest_agent.0"})
_FILE_SHARES = ("vhost-user-fs", "virtio-9p")
_SNP_ABI = "AMD SEV-SNP Firmware ABI 1.58 (56860), table 9"
_SEV_API = "AMD Secure Encrypted Virtualization API 0.24 (55766), table 2"


def _policies(case: Case) -> Iterator[tuple[Property, int]]:
    """Yield the properties that hold the host to something, with their value, given or by default."""
    limitation = case.limitation
    if limitation is None:
        return
    for prop in limitation.properties:
        if prop.debug is not None or prop.agent or prop.leaves:
            value = limitation.values.get(prop.name, prop.default)
            if isinstance(value, int):
                yield prop, value


def _debuggable(case: Case) -> Iterator[Breach]:
    for prop, given in _policies(case):
        if prop.debug is not None and given & prop.debug[0] == prop.debug[1]:
            mask, value = prop.debug
            bit = prop.bit(mask.bit_length() - 1)
            yield Breach(
                f"{prop.name} {given:#x} lets the host debug the guest: bit {bit} is {'set' if value else 'clear'}",
                case.guest.limitation,
                remedy=f"{'clear' if value else 'set'} bit {bit}",
            )


def _registers(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is not None and not limitation.limits & Limits.READ_REGISTERS:
        yield Breach(
            f"{limitation.title} encrypts memory alone: the host reads and sets the guest's registers",
            case.guest.limitation,
        )


def _replay(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is not None and not limitation.limits & Limits.CHANGE_MEMORY:
        yield Breach(
            f"{limitation.title} does not notice when the host puts old or other ciphertext into memory",
            case.guest.limitation,
        )


def _agent(case: Case) -> Iterator[Breach]:
    for prop, given in _policies(case):
        if given & prop.agent:
            bit = prop.bit(prop.agent.bit_length() - 1)
            yield Breach(
                f"{prop.name} {given:#x} lets a migration agent take the guest's state: bit {bit} is set",
                case.guest.limitation,
                remedy=f"clear bit {bit}",
            )


def _leaves(case: Case) -> Iterator[Breach]:
    for prop, given in _policies(case):
        left = [what for mask, value, what in prop.leaves if given & mask == value]
        if left:
            yield Breach(f"{prop.name} {given:#x}: {'; '.join(left)}", case.guest.limitation)


def _no_session(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.measured_launch:
        return
    files = [prop.name for prop in limitation.properties if prop.file]
    if files and not any(name in limitation.values for name in files):
        yield Breach(
            f"without {' and '.join(files)} no owner has a key with which to check the launch measurement",
            case.guest.limitation,
        )


def _monitor(case: Case) -> Iterator[Breach]:
    for found in monitors(case.guest):
        if found.secured:
            continue
        gdb = found.part.group == "gdb"
        what = "the gdb stub" if gdb else "the monitor"
        remedy = "remove it, or use a UNIX socket (-gdb unix:PATH,server=on,wait=off)" if gdb else ""
        if found.everywhere:
            yield Breach(f"{what} is open to the network on {found.shown}", found.part, remedy=remedy)
        else:
            yield Breach(
                f"{what} is open to every user of the host on {found.shown}",
                found.part,
                severity=Severity.NOTE,
                remedy=remedy,
            )


def _screen(case: Case) -> Iterator[Breach]:
    yield from _shown(displays(case.guest), "the guest's screen")
    yield from _shown(consoles(case.guest), "the guest's console")


def _shown(found: Iterable[Endpoint], what: str) -> Iterator[Breach]:
    for endpoint in found:
        if endpoint.secured or not endpoint.everywhere:
            continue
        if endpoint.password:
            yield Breach(
                f"{what} goes over the network ({endpoint.shown}) with a password and no encryption",
                endpoint.part,
                severity=Severity.NOTE,
            )
        else:
            yield Breach(f"{what} is open to the network on {endpoint.shown}", endpoint.part)


def _guest_agent(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if part.type == "virtserialport" and part.text("name") in _AGENTS:
            yield Breach(
                f"{part.label()} is the guest agent's channel, over which the host commands it", part
            )


def _file_shares(case: Case) -> Iterator[Breach]:
    limitation, guest = case.limitation, case.guest
    if limitation is None or limitation.engages is not Engagement.AT_START:
        return
    for part in guest.devices:
        if part.type.startswith(_FILE_SHARES) and not _read_only(guest, part):
            yield Breach(f"{part.label()} is a folder of the host, which reads and changes all in it", part)


def _read_only(guest: Guest, part: Part) -> bool:
    source = guest.by_id.get(part.text("fsdev") or "")
    if source is None and part.implied:
        source = next((share for share in guest.of("virtfs") if share.spelled == part.spelled), None)
    return source is not None and bool(source.flag("readonly"))


RULES: tuple[Rule, ...] = (
    Rule(
        "SQ801",
        "A policy that lets the host debug the guest",
        Severity.ERROR,
        _debuggable,
        why="The policy is what the firmware holds the host to. With debugging allowed the host may have any page of "
        "the guest decrypted, at any time, and change it.",
        broken="SEV: the firmware's DBG_DECRYPT and DBG_ENCRYPT work (Linux KVM_SEV_DBG_DECRYPT); SNP: "
        "SNP_DBG_DECRYPT; TDX: off-TD debug. The guest cannot tell, only its evidence shows the bit. From the manuals; "
        "not tried, as it takes the hardware. QEMU 7.2, 10.0 and 11.1 make an object with such a policy without a "
        "word; TDX's bit they refuse at launch.",
        remedy="forbid it in the policy (SEV: set bit 0; SNP: clear bit 19; TDX attributes: clear bit 0)",
        references=(_SEV_API, _SNP_ABI),
        limits=_READ,
    ),
    Rule(
        "SQ802",
        "Memory is encrypted, registers are not",
        Severity.WARNING,
        _registers,
        why="At every exit the guest's registers lie open, and with them keys in use, addresses and data, a few bytes "
        "at a time; the host can set them too, and so make the guest do what it likes.",
        broken="Published attacks read and write memory of such guests through their registers. SEV-ES closes this "
        "with the same hardware from EPYC 7002 on and QEMU 6.0.",
        remedy="use a platform that protects registers: SEV-ES (policy bit 2) or SEV-SNP",
        references=(
            "AMD, Protecting VM Register State with SEV-ES (February 2017)",
            "Hetzelt and Buhren, Security Analysis of Encrypted Virtual Machines (VEE 2017)",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ803",
        "The host can change memory unseen",
        Severity.NOTE,
        _replay,
        why="Without integrity, ciphertext that is put back, or moved, decrypts to something that the guest takes for "
        "its own.",
        broken="AMD's manuals say so of SEV and SEV-ES; SEV-SNP's table of page owners ends it.",
        remedy="use SEV-SNP where the host can",
        references=(
            "AMD, SEV-SNP: Strengthening VM Isolation with Integrity Protection and More (January 2020)",
            "Morbitzer et al., SEVered: Subverting AMD's Virtual Machine Encryption (EuroSec 2018)",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ804",
        "A migration agent may take the guest",
        Severity.WARNING,
        _agent,
        why="The agent is another guest, of the host's choosing, to which the firmware hands this one's state. Who "
        "trusts the guest has to trust that agent.",
        broken="QEMU 10.0 and 11.1 take the bit silently, and neither can migrate such a guest: it only opens a door. "
        "From the manual; not tried, as it takes the hardware.",
        remedy="clear the bit in the policy",
        references=(_SNP_ABI,),
        limits=_READ,
    ),
    Rule(
        "SQ805",
        "A control socket on the network",
        Severity.WARNING,
        _monitor,
        why="Whoever reaches the monitor owns this guest's QEMU: it reads what the guest shares, swaps its disks, "
        "stops it, and opens files as QEMU's user. It asks for no password.",
        broken="QEMU 7.2 and 11.1 listen on all addresses, IPv4 and IPv6, for tcp::PORT, for a chardev with an empty "
        "host, for -s and for -gdb tcp::PORT; host 127.0.0.1 or localhost keeps it to the machine (ss).",
        remedy="use a UNIX socket (-qmp unix:PATH,server=on), or TLS with tls-creds and an authorization list",
        references=("https://www.qemu.org/docs/master/system/security.html",),
        limits=_READ,
    ),
    Rule(
        "SQ806",
        "The guest's screen or console on the network",
        Severity.WARNING,
        _screen,
        why="The screen and console show, and take, what the memory protection hides: passwords typed, root shells.",
        broken="QEMU 7.2 and 11.1 listen on 0.0.0.0 and [::] without a password for -vnc :N, -display vnc=:N and "
        "-serial tcp::PORT, and 7.2 on 0.0.0.0 for -spice port=N (ss). VNC's password is sent in a way that can be "
        "broken from one recording.",
        remedy="listen on 127.0.0.1 or a UNIX socket and go through SSH, or use TLS (tls-creds)",
        references=("https://www.qemu.org/docs/master/system/vnc-security.html",),
        limits=_READ,
    ),
    *SECRET_RULES,
    Rule(
        "SQ809",
        "No owner takes part in the launch",
        Severity.NOTE,
        _no_session,
        why="The launch measurement is keyed with a secret that the owner's session brings. Without a session only the "
        "host can tell that the guest is what it should be.",
        broken="The guest starts encrypted all the same, and query-sev-launch-measure answers with a measurement that "
        "nobody else can check (QEMU docs; not tried, as it takes the hardware).",
        remedy="make a session (sevctl session) and give dh-cert-file and session-file, with -S",
        references=("https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html",),
        limits=_READ,
    ),
    Rule(
        "SQ810",
        "A policy that leaves the host more than it needs",
        Severity.NOTE,
        _leaves,
        why="Each right that the policy leaves is one that the host can use without the guest's knowledge; QEMU needs "
        "none of these.",
        broken="QEMU's default policy (0x1) leaves both. QEMU up to 11.1 neither shares keys by itself nor migrates, "
        "other software on the host could ask the firmware. From the manual; not tried, as it takes the hardware.",
        remedy="set bits 1 and 3 of the policy (0x0b; SEV-ES: 0x0f); a session file is bound to its policy and has to "
        "be made anew",
        references=(_SEV_API,),
        limits=_READ,
    ),
    Rule(
        "SQ811",
        "The host can give orders to the guest's agent",
        Severity.NOTE,
        _guest_agent,
        why="qemu-ga in the guest runs programs, reads and writes files and sets passwords as root for whoever writes "
        "to this channel, and that is the host.",
        broken="It works as ever in a protected guest: nothing of the channel is encrypted. What the agent obeys is "
        "set in the guest (qemu-ga --allow-rpcs, --block-rpcs).",
        remedy="leave the channel out, or block guest-exec, guest-file-* and guest-set-user-password in the guest",
        references=("https://www.qemu.org/docs/master/interop/qemu-ga.html",),
        limits=_READ,
    ),
    Rule(
        "SQ812",
        "A folder of the host in the guest",
        Severity.NOTE,
        _file_shares,
        why="Files in it are neither encrypted nor checked: the host sees what the guest writes and decides what it "
        "reads, programs included.",
        broken="It works as ever, where it works at all (see SQ306 for virtio-fs).",
        remedy="use an encrypted disk with integrity (dm-crypt with dm-integrity or dm-verity) for what matters",
        limits=_READ,
    ),
)
