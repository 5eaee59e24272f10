"""`run libvirt:NAME` at a real libvirtd that believes this machine has SEV: up to what QEMU says to that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from libvirt_bindings import bindings_beside
from real_libvirt import RealLibvirt

from sequester.cli.main import main
from sequester.run import preflight

pytestmark = pytest.mark.real_libvirt
FIRMWARE = "/usr/share/ovmf/OVMF.amdsev.fd"
DOMAIN = f"""\
<domain type='kvm'>
  <name>sev0</name>
  <memory unit='MiB'>512</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='rom'>{FIRMWARE}</loader>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <graphics type='vnc' passwd='hunter2' listen='127.0.0.1'/>
  </devices>
  <launchSecurity type='sev'>
    <cbitpos>51</cbitpos>
    <reducedPhysBits>1</reducedPhysBits>
    <policy>0x000f</policy>
  </launchSecurity>
</domain>
"""


@pytest.fixture
def domain(
    libvirt: RealLibvirt,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RealLibvirt]:
    """The domain, defined at the default libvirtd of libvirt-python; gone afterwards."""
    if not libvirt.has_kvm:
        pytest.skip("libvirtd has no KVM here")
    bindings_beside(tmp_path_factory.mktemp("bindings"))
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", f"qemu+unix:///system?socket={libvirt.socket}")
    monkeypatch.setenv("PATH", f"{libvirt.virsh.parent}:{os.environ['PATH']}")
    (tmp_path / "domain.xml").write_text(DOMAIN)
    libvirt.call("define", str(tmp_path / "domain.xml"))
    yield libvirt
    libvirt.call("undefine", "sev0")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that says of itself that it can."""
    monkeypatch.setattr(preflight, "demand", lambda *_: None)


def inactive(libvirt: RealLibvirt) -> str:
    return libvirt.call("dumpxml", "--inactive", "--security-info", "sev0")


def test_a_host_that_cannot_is_told_before_anything_is_changed(
    domain: RealLibvirt, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inactive(domain)
    assert main(["run", "libvirt:sev0", "--define"]) in (1, 3)
    assert capsys.readouterr().err.count("\n") <= 2
    assert inactive(domain) == before


def test_a_domain_that_is_not_as_its_plan_is_not_started_and_not_changed(
    domain: RealLibvirt, able: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inactive(domain)
    assert main(["run", "libvirt:sev0"]) == 1
    error = capsys.readouterr().err
    assert "this domain is not as its plan" in error
    assert "--define" in error
    assert inactive(domain) == before
    assert domain.call("domstate", "sev0").strip() == "shut off"


def test_a_plan_is_written_into_the_domain_where_that_is_wanted_and_loses_no_password(
    domain: RealLibvirt, able: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "libvirt:sev0", "--define"]) == 4  # QEMU finds no SEV
    error = capsys.readouterr().err
    assert "writing" in error
    assert "libvirt could not start this domain" in error
    after = inactive(domain)
    assert "<nosharepages/>" in after
    assert "passwd='hunter2'" in after
    assert domain.call("domstate", "sev0").strip() == "shut off"
    assert main(["run", "libvirt:sev0"]) == 4  # it is as its plan now
    assert "not as its plan" not in capsys.readouterr().err


def test_a_dry_run_shows_the_domain_as_it_would_be(
    domain: RealLibvirt, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inactive(domain)
    assert main(["run", "libvirt:sev0", "--dry-run"]) == 0
    assert "<nosharepages/>" in capsys.readouterr().out
    assert inactive(domain) == before


def test_a_domain_that_is_not_there_is_told_of(
    domain: RealLibvirt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "libvirt:nix"]) == 2
    assert "libvirt does not have this domain" in capsys.readouterr().err
