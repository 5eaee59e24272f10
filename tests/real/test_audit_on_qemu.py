"""Real QEMUs, audited: with devices that are right and wrong, plugged in later, under a guest that drives them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_qemu import RealQemu, manifest
from test_guest_image import the_image

from sequester.audit.auditing import Audit, audit
from sequester.audit.qmp_socket import connect
from sequester.errors import GuestError
from sequester.findings.rule import Severity
from sequester.formats.sources import from_argv
from sequester.guest.guest import Guest

ROOT = Path(os.environ.get("SEQUESTER_REAL_TOOLS") or Path(__file__).resolve().parents[2] / ".cache" / "real")
pytestmark = pytest.mark.real_qemu
MACHINES = {
    "x86_64": ("q35", "pci", "sev-snp"),
    "s390x": ("s390-ccw-virtio", "ccw", "s390-pv"),
    "ppc64": ("pseries", "pci", "pef"),
    "aarch64": ("virt", "pci", "cca"),
}
RIGHT = {"pci": "iommu_platform=on,disable-legacy=on", "ccw": "iommu_platform=on"}
CONSOLES = {
    "x86_64": ("-serial", "chardev:c0"),
    "s390x": ("-cpu", "max", "-device", "sclpconsole,chardev=c0"),
    "ppc64": ("-cpu", "power9", "-serial", "chardev:c0"),
}
READY_SECONDS = 240


@contextmanager
def started(qemu: RealQemu, folder: Path, *words: str, held: bool = True) -> Iterator[str]:
    """A QEMU without defaults, before its first instruction unless told otherwise; yields its QMP socket."""
    path = folder / "qmp.sock"
    machine = MACHINES[qemu.arch][0]
    argv = [qemu.path, "-nodefaults", "-display", "none", "-M", machine, "-m", "256", *words]
    if held:
        argv.append("-S")
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [*argv, "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL, stderr=errors
        )
    try:
        until = time.monotonic() + 60
        while not listens(path) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert process.poll() is None, (folder / "errors").read_text()
        yield str(path)
        assert process.poll() is None, "the audit killed QEMU"
    finally:
        process.kill()
        process.wait()


def listens(path: Path) -> bool:
    """Tell whether QEMU listens: the socket's file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def audited(path: str, limit: str | None = None, planned: Guest | None = None) -> Audit:
    monitor = connect(path)
    try:
        return audit(monitor, limit, planned)
    finally:
        monitor.close()


def asked(path: str, *commands: dict[str, Any]) -> list[Any]:
    """Ask over a connection of our own, as a management layer would before or after an audit."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        lines = sock.makefile("rb")
        lines.readline()
        answers = []
        for one in ({"execute": "qmp_capabilities"}, *commands):
            sock.sendall(json.dumps(one).encode() + b"\n")
            while "event" in (answer := json.loads(lines.readline())):
                pass
            assert "return" in answer, answer
            answers.append(answer["return"])
        return answers[1:]


def places(found: Audit, code: str) -> list[str]:
    return sorted(f.part.id for f in found.findings if f.code == code and f.part is not None)


def test_each_device_is_found_and_judged_by_what_it_has(qemu: RealQemu, tmp_path: Path) -> None:
    _, way, limit = MACHINES[qemu.arch]
    words = [
        *("-netdev", "user,id=n0", "-device", f"virtio-net-{way},id=net0,netdev=n0,{RIGHT[way]}"),
        *("-device", f"virtio-rng-{way},id=rng0", "-device", f"virtio-serial-{way}"),
    ]
    with started(qemu, tmp_path, *words) as path:
        found = audited(path, limit)
    devices = {part.id: part for part in found.case.guest.devices}
    assert devices["net0"].flag("iommu_platform") is True
    assert devices["rng0"].flag("iommu_platform") is False
    assert places(found, "SQ301") == ["/machine/peripheral-anon/device[0]", "rng0"]
    assert "SQ950" in {finding.code for finding in found.findings}
    assert found.case.qemu_version[:2] == qemu.release
    assert found.case.guest.arch == qemu.arch
    machine = MACHINES[qemu.arch][0]
    assert found.case.guest.machine.type.removeprefix("pc-").startswith(machine)


@pytest.mark.real_qemu(arch="x86_64")
def test_what_is_plugged_in_is_seen_and_compared_with_the_plan(qemu: RealQemu, tmp_path: Path) -> None:
    words = "-device pcie-root-port,id=rp0,chassis=1 -device virtio-rng-pci,id=rng0,iommu_platform=on,bus=rp0"
    port = "-device pcie-root-port,id=rp1,chassis=2"
    planned = from_argv(
        ["qemu-system-x86_64", "-nodefaults", *words.split(), *port.split(), "-device", "virtio-net,id=net0"]
    ).guest
    plug = {"driver": "virtio-rng-pci", "id": "hot0", "bus": "rp1", "iommu_platform": False}
    with started(qemu, tmp_path, *words.split(), *port.split()) as path:
        asked(path, {"execute": "device_add", "arguments": plug})
        found = audited(path, "sev-snp", planned)
    assert places(found, "SQ958") == ["hot0"]
    assert places(found, "SQ301") == ["hot0"]
    assert places(found, "SQ959") == ["net0"]


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(("merge", "codes"), [("on", {"SQ201"}), ("off", set())])
def test_merging_is_what_the_kernel_says(qemu: RealQemu, tmp_path: Path, merge: str, codes: set[str]) -> None:
    if not Path("/sys/kernel/mm/ksm").exists():
        pytest.skip("this kernel has no KSM")
    with started(qemu, tmp_path, "-M", f"q35,mem-merge={merge}") as path:
        found = audited(path, "sev-snp")
    running = found.case.running
    assert running is not None
    assert running.merging is not None
    assert running.merging.mergeable is (merge == "on")
    assert {finding.code for finding in found.findings} & {"SQ201", "SQ202", "SQ951"} == codes


@pytest.mark.real_qemu(arch="x86_64")
def test_a_guest_that_lacks_the_object_alone_has_one_error(qemu: RealQemu, tmp_path: Path) -> None:
    images = [ROOT / entry["path"] for entry in manifest(ROOT).get("firmware", [])]
    tdvf = next((path for path in images if "inteltdx" in path.name and path.exists()), None)
    if tdvf is None:
        pytest.skip("no firmware for TDX here; tools/real-tools fetches Debian's")
    words = [
        *("-M", "q35,mem-merge=off,dump-guest-core=off,smm=off,pic=off", "-bios", str(tdvf)),
        *("-cpu", "max,pmu=off", "-device", f"virtio-rng-pci,{RIGHT['pci']}"),
    ]
    with started(qemu, tmp_path, *words) as path:
        found = audited(path, "tdx")
    assert [f.code for f in found.findings if f.severity > Severity.NOTE] == ["SQ950"]


@pytest.mark.real_qemu(arch="x86_64")
def test_an_object_that_nothing_names_is_found_with_all_its_properties(
    qemu: RealQemu, tmp_path: Path
) -> None:
    with started(
        qemu, tmp_path, "-object", "sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1,policy=7"
    ) as path:
        found = audited(path)
    assert [finding.code for finding in found.findings] == ["SQ101"]
    (part,) = [part for part in found.case.guest.objects if part.type == "sev-guest"]
    assert (part.get("policy"), part.get("cbitpos")) == (7, 51)


@pytest.mark.real_qemu(arch="x86_64")
def test_open_doors_are_found(qemu: RealQemu, tmp_path: Path) -> None:
    stub = {"command-line": f"gdbserver unix:{tmp_path}/gdb,server=on,wait=off"}
    with started(qemu, tmp_path, "-monitor", "tcp:127.0.0.1:0,server=on,wait=off") as path:
        before = {finding.code for finding in audited(path, "sev-snp").findings}
        asked(path, {"execute": "human-monitor-command", "arguments": stub})
        found = audited(path, "sev-snp")
    assert "SQ805" in before
    assert "SQ955" not in before
    assert {"SQ955", "SQ805"} <= {finding.code for finding in found.findings}


@pytest.mark.real_qemu(arch="x86_64", version="7.2")
def test_virtio_mmio_is_judged_by_its_transport(qemu: RealQemu, tmp_path: Path) -> None:
    for legacy, expected in (("on", ["m0"]), ("off", [])):
        words = f"-M microvm -global virtio-mmio.force-legacy={legacy} -device virtio-rng-device,id=m0"
        with started(qemu, tmp_path, *words.split()) as path:
            assert places(audited(path, "sev"), "SQ304") == expected
        (tmp_path / "qmp.sock").unlink()


@pytest.mark.real_qemu(arch="x86_64")
def test_a_guest_in_the_making_is_told_of(qemu: RealQemu, tmp_path: Path) -> None:
    words = "-preconfig -object sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1"
    with (
        started(qemu, tmp_path, *words.split(), held=False) as path,
        pytest.raises(GuestError, match="has not made its machine yet"),
    ):
        audited(path)


@pytest.mark.real_qemu(arch="x86_64")
def test_a_vcpu_that_is_plugged_in_is_seen(qemu: RealQemu, tmp_path: Path) -> None:
    cpu = {"driver": "qemu64-x86_64-cpu", "socket-id": 1, "core-id": 0, "thread-id": 0}
    words = "-cpu qemu64 -smp 1,maxcpus=2,sockets=2"
    with started(qemu, tmp_path, *words.split()) as path:
        assert "SQ958" not in {finding.code for finding in audited(path, "sev-snp").findings}
        asked(path, {"execute": "device_add", "arguments": cpu})
        found = {finding.code: finding for finding in audited(path, "sev-snp").findings}
    assert "no launch has measured its state" in found["SQ958"].found


def test_what_a_linux_guests_drivers_took_is_known_where_qemu_can_be_asked(
    qemu: RealQemu, tmp_path: Path
) -> None:
    if qemu.arch not in CONSOLES:
        pytest.skip(f"no Linux is made for {qemu.arch}")
    _, way, limit = MACHINES[qemu.arch]
    image = the_image(qemu.arch)
    words = [
        *("-m", "768", "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append"),
        f"{image.command_line()} sequester.stay",
        *("-chardev", f"file,id=c0,path={tmp_path}/console", *CONSOLES[qemu.arch]),
        *("-netdev", "user,id=n0", "-device", f"virtio-net-{way},id=net0,netdev=n0,{RIGHT[way]}"),
        *("-device", f"virtio-rng-{way},id=rng0"),
    ]
    with started(qemu, tmp_path, *words, held=False) as path:
        until = time.monotonic() + READY_SECONDS
        while "sequester-guest: ready" not in console(tmp_path) and time.monotonic() < until:
            time.sleep(0.2)
        found = audited(path, limit)
        (status,) = asked(path, {"execute": "query-status"})
    assert status["running"]  # an audit leaves the guest as it was
    running = found.case.running
    assert running is not None
    taken = {found.case.guest.by_key[one.key].id: (one.driven, one.accepted) for one in running.negotiations}
    if qemu.release < (10, 1):
        assert taken == {"net0": (True, True), "rng0": (True, False)}
    else:
        assert taken == {"net0": (False, None), "rng0": (False, None)}
        assert "SQ953" in {finding.code for finding in found.findings}
    errors = {finding.code for finding in found.findings if finding.severity is Severity.ERROR}
    assert {"SQ301", "SQ950"} <= errors


def console(folder: Path) -> str:
    path = folder / "console"
    return path.read_text(errors="replace") if path.exists() else ""
