"""Linux boots behind the guard, uses what is plugged in through it, and notices nothing of what was refused."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_qemu import RealQemu
from test_guest_image import the_image

from sequester.run.guest_line import GuestLine, read_line
from sequester.run.image import write_disk

pytestmark = pytest.mark.real_qemu
WATCH = 90
PLATFORMS = {"x86_64": "sev-snp", "s390x": "s390-pv", "ppc64": "pef"}
MACHINES = {
    "x86_64": [
        "-M",
        "q35",
        "-cpu",
        "EPYC",
        "-device",
        "pcie-root-port,id=rp0,chassis=1",
        "-device",
        "pcie-root-port,id=rp1,chassis=2",
    ],
    "s390x": ["-M", "s390-ccw-virtio", "-cpu", "max,unpack=on"],
    "ppc64": ["-M", "pseries", "-cpu", "power9"],
}
KIND = {"x86_64": "pci", "s390x": "ccw", "ppc64": "pci"}
BUSES = {"x86_64": ({"bus": "rp0"}, {"bus": "rp1"}), "s390x": ({}, {}), "ppc64": ({}, {})}


class Monitor:
    """A plain client of the guard, as `socat` would be one."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        assert "QMP" in json.loads(self._lines.readline())
        assert self("qmp_capabilities") == {"return": {}}

    def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer: dict[str, Any] = json.loads(self._lines.readline())
            if "event" not in answer:
                return answer

    def given(self, command: str, **arguments: Any) -> Any:
        answer = self(command, **arguments)
        assert "return" in answer, answer
        return answer["return"]

    def refused(self, command: str, **arguments: Any) -> str:
        answer = self(command, **arguments)
        assert answer["error"]["class"] == "GenericError", answer
        return str(answer["error"]["desc"])


class Guest:
    """A guest that `sequester run` runs, as its events tell."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._events = (json.loads(line) for line in process.stdout)
        self.seen: list[GuestLine] = []
        self.decided: list[str] = []
        steps = (event["what"] for event in self._events if event["event"] == "step")
        told = next((what for what in steps if "monitors" in what), None)
        if told is None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read())
        self.monitor = told.rpartition(" ")[2]

    def until(self, kind: str) -> GuestLine:
        """Return the guest's next line of this kind."""
        for event in self._events:
            if event["event"] == "guard":
                self.decided.append(event["what"])
            said = read_line(event["line"]) if event["event"] == "console" else None
            if said is not None:
                self.seen.append(said)
                if said.kind == kind:
                    return said
        raise AssertionError(f"the guest ended before '{kind}': {self.seen}")

    def rest(self) -> list[dict[str, Any]]:
        return list(self._events)


@contextmanager
def guest(qemu: RealQemu, tmp_path: Path) -> Iterator[tuple[Guest, subprocess.Popen[str]]]:
    image = the_image(qemu.arch)
    append = f"{image.command_line()} sequester.watch={WATCH} svm=on"
    command = [sys.executable, "-m", "sequester", "run", "--json", "--simulate", PLATFORMS[qemu.arch]]
    command += ["--simulated-identity", str(tmp_path / "identity"), "--", str(qemu.path)]
    command += [*MACHINES[qemu.arch], "-accel", "kvm", "-m", "768", "-nodefaults", "-no-reboot"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", append]
    if qemu.arch == "s390x":
        command += ["-chardev", "stdio,id=c0", "-device", "sclpconsole,chardev=c0"]
    command += ["-device", f"virtio-rng-{KIND[qemu.arch]},id=rng0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            yield Guest(process), process
        finally:
            process.kill()


@pytest.mark.parametrize("arch", ["x86_64", "s390x"])
def test_a_plugged_disk_and_network_are_used_with_access_platform(
    arch: str, qemus: Any, tmp_path: Path
) -> None:
    qemu = qemus.get(arch, "7.2" if arch == "x86_64" else "10.0")
    disk = tmp_path / "disk.img"
    write_disk(disk)
    kind, (one, other) = KIND[arch], BUSES[arch]
    with guest(qemu, tmp_path) as (running, process):
        assert running.until("ready").values["access_platform"] == "1"
        monitor = Monitor(running.monitor)
        monitor.given(
            "blockdev-add",
            driver="raw",
            **{"node-name": "d1"},
            file={"driver": "file", "filename": str(disk)},
        )
        monitor.given("netdev_add", type="user", id="n1")
        monitor.given("device_add", driver=f"virtio-blk-{kind}", id="disk1", drive="d1", **one)
        plugged = running.until("plugged").values
        assert (plugged["driver"], plugged["access_platform"]) == ("virtio_blk", "1")
        assert running.until("disk").values["marker"] == "ok"
        monitor.given("device_add", driver=f"virtio-net-{kind}", id="net1", netdev="n1", **other)
        plugged = running.until("plugged").values
        assert (plugged["driver"], plugged["access_platform"]) == ("virtio_net", "1")
        assert running.until("network").values["gateway"] == "reached"
        assert any("iommu_platform=on" in what for what in running.decided)
        monitor.given("quit")
        running.rest()
        assert process.wait(60) == 0, process.stderr and process.stderr.read()


def test_a_refused_command_leaves_the_guest_as_it_was(qemus: Any, tmp_path: Path) -> None:
    qemu = qemus.get("x86_64", "7.2")
    with guest(qemu, tmp_path) as (running, process):
        running.until("ready")
        monitor = Monitor(running.monitor)
        before = monitor.given("qom-list", path="/machine/peripheral"), monitor.given("query-status")
        dump = tmp_path / "memory"
        assert "SQ9" in monitor.refused("dump-guest-memory", paging=False, protocol=f"file:{dump}")
        assert "SQ9" in monitor.refused("pmemsave", val=0, size=4096, filename=str(dump))
        assert "SQ9" in monitor.refused("migrate", uri=f"exec:cat > {dump}")
        assert "SQ9" in monitor.refused("human-monitor-command", **{"command-line": "xp /4x 0"})
        assert "SQ9" in monitor.refused("human-monitor-command", **{"command-line": "gdbserver"})
        refused = monitor.refused(
            "device_add", driver="virtio-rng-pci", id="r1", bus="rp0", iommu_platform=False
        )
        assert "SQ301" in refused
        assert "SQ302" in monitor.refused(
            "device_add", driver="virtio-rng-pci-transitional", id="r1", bus="rp0"
        )
        assert not dump.exists()
        assert (
            monitor.given("qom-list", path="/machine/peripheral"),
            monitor.given("query-status"),
        ) == before
        monitor.given("quit")
        running.rest()
        assert process.wait(60) == 0, process.stderr and process.stderr.read()


def test_a_ppc64_guest_becomes_secure_with_its_first_line_and_is_guarded_from_then_on(
    qemus: Any, tmp_path: Path
) -> None:
    qemu = qemus.get("ppc64", "7.2")
    with guest(qemu, tmp_path) as (running, process):
        assert running.until("ready").values["access_platform"] == "1"
        monitor = Monitor(running.monitor)
        assert "SQ9" in monitor.refused("pmemsave", val=0, size=4096, filename=str(tmp_path / "memory"))
        monitor.given("device_add", driver="virtio-rng-pci", id="rng1")
        assert monitor.given("qom-get", path="/machine/peripheral/rng1", property="iommu_platform") is True
        monitor.given("quit")
        running.rest()
        assert process.wait(60) == 0, process.stderr and process.stderr.read()
