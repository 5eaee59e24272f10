"""Our small Linux boots in real QEMUs and says what it found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from real_qemu import Qemus, RealQemu

from sequester.errors import HostError
from sequester.run.guest_line import GuestLine, read_line
from sequester.run.image import GuestImage, ensure_image, write_disk

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "sequester"  # `make run` uses it too
PCI = "disable-legacy=on,iommu_platform=on"
CCW = "iommu_platform=on"
MACHINES = {
    "x86_64": (["-machine", "q35", "-cpu", "max"], "pci", PCI),
    "s390x": (["-machine", "s390-ccw-virtio", "-cpu", "max"], "ccw", CCW),
    "ppc64": (["-machine", "pseries", "-cpu", "power9"], "pci", PCI),
}
Boot = Callable[..., list[GuestLine]]


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    """Boot the guest of the QEMU's target with a marked disk, a network, and what the test adds."""

    def run(qemu: RealQemu, flags: str | None = None, *, marked: bool = True) -> list[GuestLine]:
        machine, transport, on = MACHINES[qemu.arch]
        flags = on if flags is None else flags
        image = the_image(qemu.arch)
        disk = tmp_path / "disk"
        write_disk(disk)
        if not marked:
            disk.write_bytes(bytes(1024 * 1024))
        console = ["-chardev", "stdio,id=c0", "-device", "sclpconsole,chardev=c0"]
        arguments = [
            *(
                *machine,
                "-accel",
                "tcg",
                "-m",
                "768",
                "-smp",
                "2",
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ),
            *(console if qemu.arch == "s390x" else ["-serial", "stdio"]),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.command_line()),
            *("-drive", f"file={disk},format=raw,if=none,id=d0"),
            *("-device", f"virtio-blk-{transport},drive=d0,{flags}"),
            *("-netdev", "user,id=n0", "-device", f"virtio-net-{transport},netdev=n0,{on}"),
            *("-device", f"virtio-rng-{transport},{on}"),
        ]
        done = qemu.run(arguments, timeout=300)
        assert done.returncode == 0, done.stderr
        return [line for text in done.stdout.splitlines() if (line := read_line(text)) is not None]

    return run


def the_image(arch: str) -> GuestImage:
    try:
        return ensure_image(arch, CACHE, print)
    except HostError as error:
        pytest.skip(f"no guest image: {error}")


def of_kind(lines: list[GuestLine], kind: str) -> list[dict[str, str]]:
    return [dict(line.values) for line in lines if line.kind == kind]


def assert_all_is_well(lines: list[GuestLine]) -> None:
    drivers = {device["driver"]: device for device in of_kind(lines, "device")}
    assert drivers.keys() == {"virtio_blk", "virtio_net", "virtio_rng"}
    assert all(device["access_platform"] == device["version_1"] == "1" for device in drivers.values())
    assert [disk["marker"] for disk in of_kind(lines, "disk")] == ["ok"]
    assert of_kind(lines, "network")[0]["gateway"] == "reached"
    assert of_kind(lines, "protection") == [{"seen": "none"}]
    (ready,) = of_kind(lines, "ready")
    assert ready == {"devices": "3", "driven": "3", "access_platform": "3", "disk": "ok", "network": "ok"}


@pytest.mark.real_qemu(arch="x86_64")
def test_the_guest_boots_reads_its_disk_reaches_its_network_and_powers_off(
    qemu: RealQemu, boot: Boot
) -> None:
    assert_all_is_well(boot(qemu))


@pytest.mark.real_qemu
@pytest.mark.parametrize("arch", ["s390x", "ppc64"])
def test_the_guest_of_another_architecture_boots_too(qemus: Qemus, boot: Boot, arch: str) -> None:
    assert_all_is_well(boot(qemus.get(arch)))


@pytest.mark.real_qemu
def test_the_guest_tells_a_device_without_access_platform_and_a_disk_without_marker(
    qemus: Qemus, boot: Boot
) -> None:
    lines = boot(qemus.get("x86_64"), "disable-legacy=on,iommu_platform=off", marked=False)
    drivers = {device["driver"]: device["access_platform"] for device in of_kind(lines, "device")}
    assert drivers == {"virtio_blk": "0", "virtio_net": "1", "virtio_rng": "1"}
    assert [disk["marker"] for disk in of_kind(lines, "disk")] == ["absent"]
    assert of_kind(lines, "ready")[0]["access_platform"] == "2"
