"""The hook and `audit` at a real libvirtd, and a domain's life with us: TCG domains, started by libvirt itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import real_libvirt
from libvirt_bindings import bindings_beside
from real_libvirt import LibvirtRefusedError, RealLibvirt

from sequester.audit.auditing import audit
from sequester.domains.connection import connected, domain_of
from sequester.domains.domain import BoundDomain
from sequester.domains.monitor import BoundMonitor, VirshMonitor
from sequester.errors import GuestError, InputError
from sequester.hook.installing import install
from sequester.run import domain as run_domain
from sequester.run.domain import launch_domain
from sequester.run.launch import Wish

pytestmark = pytest.mark.real_libvirt
CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("SEQUESTER_REAL_TOOLS") or CHECKOUT / ".cache" / "real")
PLAIN = """\
<domain type='qemu'>
  <name>plain</name>
  <memory unit='MiB'>128</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""
QEMU = "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
LOOSE = (
    PLAIN.replace("<domain type='qemu'>", QEMU)
    .replace("plain", "loose")
    .replace(
        "</domain>",
        "<qemu:commandline><qemu:arg value='-object'/>"
        "<qemu:arg value='sev-guest,id=sev0,cbitpos=51,reduced-phys-bits=1'/></qemu:commandline></domain>",
    )
)
SEV = PLAIN.replace("plain", "sev0").replace(
    "<devices>",
    "<launchSecurity type='sev'><policy>0x000f</policy></launchSecurity><devices>",
)
RELAY = """\
#!/usr/bin/python3
# libvirtd is in a root of its own here, without our Python: go to the machine's own root, and be the hook there.
import os, sys
os.chroot("/proc/1/root")
os.chdir("/")
os.execv({hook!r}, [{hook!r}, *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def hooked(
    libvirt_entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RealLibvirt, Path]]:
    """A libvirtd with the installed hook in its /etc/libvirt/hooks/qemu.d, and the file that it logs to."""
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root, for its mount namespace")
    folder = tmp_path_factory.mktemp("hooked")
    share = folder / "share"
    hook = install(str(folder / "hooks"), str(folder / "hook.toml"))
    place = share / "hooks" / "qemu.d"
    place.mkdir(parents=True)
    (place / hook.name).write_text(RELAY.format(hook=str(hook)))
    (place / hook.name).chmod(0o755)
    try:
        running, daemon = real_libvirt.start(ROOT, libvirt_entry, CHECKOUT / "tools" / "real-libvirtd", share)
    except real_libvirt.NoLibvirtError as error:
        pytest.skip(f"libvirtd does not run here: {error}")
    yield running, share / "log"
    daemon.stop()


@pytest.fixture
def libvirtd(hooked: tuple[RealLibvirt, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[RealLibvirt]:
    """That libvirtd, as the default one of virsh and libvirt-python, without domains before and after."""
    running, _ = hooked
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", f"qemu+unix:///system?socket={running.socket}")
    monkeypatch.setenv("PATH", f"{running.virsh.parent}:{os.environ['PATH']}")
    yield running
    for name in running.call("list", "--all", "--name").split():
        if name in running.call("list", "--name").split():
            running.call("destroy", name)
        running.call("undefine", name)


@pytest.fixture(scope="session")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> None:
    bindings_beside(tmp_path_factory.mktemp("bindings"))


def define(libvirtd: RealLibvirt, xml: str, folder: Path) -> None:
    path = folder / "domain.xml"
    path.write_text(xml)
    libvirtd.call("define", str(path))


def test_a_domain_that_asks_for_nothing_is_started(libvirtd: RealLibvirt, tmp_path: Path) -> None:
    define(libvirtd, PLAIN, tmp_path)
    libvirtd.call("start", "plain")
    assert libvirtd.call("domstate", "plain").strip() == "running"


def test_a_misconfigured_domain_is_refused_with_our_reason_in_libvirts_error_and_log(
    libvirtd: RealLibvirt, hooked: tuple[RealLibvirt, Path], tmp_path: Path
) -> None:
    define(libvirtd, LOOSE, tmp_path)
    with pytest.raises(LibvirtRefusedError, match="domain loose is not started: SQ101: "):
        libvirtd.call("start", "loose")
    assert libvirtd.call("domstate", "loose").strip() == "shut off"
    assert "domain loose is not started: SQ101: " in hooked[1].read_text(errors="replace")


def test_without_the_hook_libvirt_starts_it_unprotected(libvirt: RealLibvirt, tmp_path: Path) -> None:
    define(libvirt, LOOSE, tmp_path)
    try:
        libvirt.call("start", "loose")
        libvirt.call("destroy", "loose")
    finally:
        libvirt.call("undefine", "loose")


def test_a_domain_with_launch_security_that_could_not_run_is_refused(
    libvirtd: RealLibvirt, tmp_path: Path
) -> None:
    define(libvirtd, SEV, tmp_path)  # without KVM, and without firmware
    with pytest.raises(LibvirtRefusedError, match="domain sev0 is not started: SQ"):
        libvirtd.call("start", "sev0")


@pytest.mark.parametrize("way", ["bindings", "virsh"])
def test_a_running_domain_is_audited(libvirtd: RealLibvirt, bindings: None, tmp_path: Path, way: str) -> None:
    define(libvirtd, PLAIN, tmp_path)
    libvirtd.call("start", "plain")
    monitor = VirshMonitor("plain") if way == "virsh" else BoundMonitor(domain_of(connected(), "plain"))
    found = audit(monitor, "sev-snp")
    (device,) = [part for part in found.case.guest.devices if part.type == "virtio-rng-pci"]
    assert device.id == "rng0"
    assert {"SQ301", "SQ950"} <= {finding.code for finding in found.findings}
    assert found.case.guest.name == "plain"
    assert libvirtd.call("domstate", "plain").strip() == "running"


def test_a_domain_that_libvirt_does_not_have_is_told_of(libvirtd: RealLibvirt, bindings: None) -> None:
    with pytest.raises(InputError, match="libvirt does not have this domain"):
        domain_of(connected(), "nix")


class Told:
    """Listens to a run, and keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, what: str) -> None:
        self.lines.append(what)

    warn = console = step

    def event(self, name: str, data: object) -> None:
        self.lines.append(f"{name} {data}")

    decided = measured = event  # type: ignore[assignment]


def test_a_domain_lives_with_us_and_ends_when_that_is_wished(
    libvirtd: RealLibvirt, bindings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_domain, "POWERDOWN_SECONDS", 1.0)  # firmware without a disk powers nothing off
    define(libvirtd, PLAIN, tmp_path)
    connection = connected()
    domain, told = BoundDomain(connection, domain_of(connection, "plain")), Told()

    async def life() -> str:
        wish = Wish()
        asyncio.get_running_loop().call_later(0.5, wish.end.set)
        return await launch_domain(domain, False, "sev", None, told, wish)

    assert asyncio.run(life()) == "destroyed"
    assert told.lines[:2] == ["starting the domain", "running"]
    assert libvirtd.call("domstate", "plain").strip() == "shut off"


def test_a_domain_does_not_outlive_us_even_when_we_are_killed(
    libvirtd: RealLibvirt, bindings: None, tmp_path: Path
) -> None:
    import libvirt

    define(libvirtd, PLAIN, tmp_path)
    code = (
        f"import sys; sys.path[:0] = [{str(Path(libvirt.__file__).parent)!r}, {str(CHECKOUT / 'src')!r}]\n"
        "from sequester.domains.connection import connected, domain_of\n"
        "from sequester.domains.domain import BoundDomain\n"
        "c = connected(); BoundDomain(c, domain_of(c, 'plain')).start(paused=True)\n"
        "print('started', flush=True); import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == "started\n"
        assert libvirtd.call("domstate", "plain").strip() == "paused"
        ours.send_signal(signal.SIGKILL)
        ours.wait()
    until = time.monotonic() + 20
    while libvirtd.call("domstate", "plain").strip() != "shut off" and time.monotonic() < until:
        time.sleep(0.1)
    assert libvirtd.call("domstate", "plain").strip() == "shut off"


def test_the_hooks_reason_reaches_whoever_runs_a_domain(
    libvirtd: RealLibvirt, bindings: None, tmp_path: Path
) -> None:
    define(libvirtd, LOOSE, tmp_path)
    connection = connected()
    domain = BoundDomain(connection, domain_of(connection, "loose"))
    with pytest.raises(GuestError, match="domain loose is not started: SQ101"):
        asyncio.run(launch_domain(domain, False, "sev", None, Told(), Wish()))
