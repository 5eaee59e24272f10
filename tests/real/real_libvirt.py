"""A real libvirtd of a private tree, started for the tests and gone after them.

libvirt refuses a `<launchSecurity>` of a platform that the host has not. Its opinion of the host comes from QEMU
and is kept in a cache of XML files; here the cache is told that SEV, SEV-SNP, TDX and s390 PV are there, so that
all that libvirt checks after that, and the QEMU command line it makes, can be seen on any machine.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

START_TIMEOUT = 60.0  # seconds; it probes every emulator of the tree, about half a second each
SEV = (
    "<sev><cbitpos>51</cbitpos><reducedPhysBits>1</reducedPhysBits>"
    "<pdh>AAAA</pdh><certChain>AAAA</certChain><cpu0Id>AAAA</cpu0Id></sev>"
)
# What is added to libvirt's cached capabilities, by emulator. Flags: libvirt src/qemu/qemu_capabilities.c.
PRETENDED = {
    "qemu-system-x86_64": "<flag name='sev-guest'/><flag name='sev-snp-guest'/><flag name='tdx-guest'/>"
    + SEV,
    "qemu-system-s390x": "<flag name='s390-pv-guest'/><kvmSupportsSecureGuest/>",
}


class LibvirtRefusedError(Exception):
    """libvirt refused; the message is its own."""


class NoLibvirtError(Exception):
    """libvirtd cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Schema:
    """libvirt's RELAX NG schema of a domain."""

    relaxng: etree.RelaxNG

    def error(self, xml: str) -> str | None:
        """Why `xml` is not a valid domain, or None when it is."""
        if self.relaxng.validate(etree.fromstring(xml.encode())):
            return None
        return "; ".join(f"line {entry.line}: {entry.message}" for entry in self.relaxng.error_log)


@dataclass(frozen=True, slots=True)
class RealLibvirt:
    """A libvirtd that runs, spoken to through its own virsh."""

    version: str
    virsh: Path
    socket: Path
    schema: Schema
    has_kvm: bool  # whether <domain type='kvm'> can be defined; 'qemu' always can

    def call(self, *arguments: str) -> str:
        """Run one virsh command; raises `LibvirtRefusedError` with libvirt's message."""
        done = subprocess.run(
            [self.virsh, "-q", "-c", f"qemu:///system?socket={self.socket}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise LibvirtRefusedError(
                re.sub(r"^error: (Failed to [^\n]*\nerror: )?", "", done.stderr.strip())
            )
        return done.stdout

    def define(self, xml: str) -> str:
        """Define the domain, schema checked too; returns it as libvirt then has it, and undefines it again."""
        name = etree.fromstring(xml.encode()).findtext("name") or ""
        with _file(xml) as path:
            self.call("define", "--validate", path)
        try:
            return self.call("dumpxml", "--inactive", name)
        finally:
            self.call("undefine", name, "--nvram")

    def argv(self, xml: str) -> list[str]:
        """The QEMU command line that libvirt would run: `domxml-to-native`, without the environment."""
        with _file(xml) as path:
            words = shlex.split(self.call("domxml-to-native", "qemu-argv", path))
        start = next(index for index, word in enumerate(words) if "=" not in word.split("/", 1)[0])
        return words[start:]


@contextmanager
def _file(text: str) -> Iterator[str]:
    """The text as a file for the time of a `with`."""
    with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        yield file.name


def schema(root: Path, entry: Mapping[str, Any]) -> Schema:
    """The schema in the tree; needs no libvirtd and no root."""
    return Schema(etree.RelaxNG(etree.parse(root / entry["schemas"] / "domain.rng")))


@dataclass(slots=True)
class Daemon:
    """The running libvirtd; `stop` it."""

    command: Sequence[str]
    share: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its socket; raises `NoLibvirtError`."""
        with (self.share / "log").open("wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT
        while not (self.share / "libvirt-sock").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = (self.share / "log").read_text(errors="replace").strip().splitlines()
                raise NoLibvirtError(said[-1] if said else "libvirtd ended without a word")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it; its namespaces, with all mounts and processes in them, go with it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for socket in self.share.glob("libvirt*sock*"):
            socket.unlink()


def start(root: Path, entry: Mapping[str, Any], launcher: Path, share: Path) -> tuple[RealLibvirt, Daemon]:
    """Start libvirtd with the pretended platforms; raises `NoLibvirtError` when this machine does not let us."""
    # It dies with the tests, even when those are killed.
    command = ["setpriv", "--pdeathsig", "KILL", str(launcher), str(root / entry["tree"]), str(share)]
    daemon = Daemon(command, share)
    libvirt = RealLibvirt(
        entry["version"], root / entry["virsh"], share / "libvirt-sock", schema(root, entry), False
    )
    daemon.start()
    try:
        capabilities = libvirt.call("capabilities")  # makes it probe all emulators, and fill the cache
    finally:
        daemon.stop()
    for cached in (share / "cache" / "qemu" / "capabilities").glob("*.xml"):
        _pretend(cached)
    daemon.start()
    has_kvm = "<domain type='kvm'/>" in capabilities
    return RealLibvirt(libvirt.version, libvirt.virsh, libvirt.socket, libvirt.schema, has_kvm), daemon


def _pretend(cached: Path) -> None:
    text = cached.read_text(encoding="utf-8")
    emulator = re.search(r"<emulator>.*/([^/<]*)</emulator>", text)
    if emulator is not None and emulator.group(1) in PRETENDED:
        text = text.replace("</qemuCaps>", PRETENDED[emulator.group(1)] + "</qemuCaps>")
        cached.write_text(text, encoding="utf-8")
