"""A plan is accepted by real QEMUs up to the very point where the hardware is missing.

Two starts for every guest: with the protection object left out (devices are really made, and each must offer
access-platform), and with it (QEMU may complain of the hardware, and of nothing else).
"""

import random
import re

import pytest
from realtools.qmp import QmpError, ask

import sequester
from sequester.platforms.registry import platforms
from sequester.run.simulate import simulate

NULL = "driver=null-co,node-name={0}"

DEVICES = {
    "x86_64": [
        "-device virtio-net-pci,id=d{n}",
        "-device virtio-net-pci-transitional,id=d{n}",
        "-device virtio-net-pci,id=d{n},disable-legacy=off,iommu_platform=off",
        "-blockdev driver=null-co,node-name=b{n} -device virtio-blk-pci,id=d{n},drive=b{n},disable-legacy=off",
        "-device virtio-scsi-pci,id=d{n} -blockdev driver=null-co,node-name=s{n} -device scsi-hd,bus=d{n}.0,drive=s{n}",
        "-device virtio-serial-pci,id=d{n} -chardev null,id=c{n} -device virtserialport,bus=d{n}.0,chardev=c{n},name=p",
        "-device virtio-rng-pci,id=d{n},iommu_platform=off",
        "-device virtio-balloon-pci,id=d{n}",
        "-device virtio-keyboard-pci,id=d{n}",
        "-device virtio-gpu-pci,id=d{n}",
        "-device virtio-vga,id=d{n}",
        "-drive if=virtio,file=null-co://,format=raw,id=d{n}",
        "-nic user,model=virtio",
        "-device e1000e,id=d{n}",
        "-device qemu-xhci,id=d{n} -device usb-tablet,bus=d{n}.0",
        "-device pcie-root-port,id=d{n},chassis={n} -device virtio-net-pci,id=e{n},bus=d{n}",
        '-device \'{{"driver":"virtio-net-pci","id":"d{n}","iommu_platform":false}}\'',
        "-device virtio-net-pci,id=d{n} -set device.d{n}.iommu_platform=off",
        "-global virtio-rng-pci.iommu_platform=off -device virtio-rng-pci,id=d{n}",
        "-device i6300esb,id=d{n}",
        "-device virtio-9p-pci,id=d{n},fsdev=f{n},mount_tag=t{n} -fsdev local,id=f{n},path=/,security_model=none",
    ],
    "s390x": [
        "-device virtio-net-ccw,id=d{n}",
        "-device virtio-net-ccw,id=d{n},iommu_platform=off",
        "-blockdev driver=null-co,node-name=b{n} -device virtio-blk-ccw,id=d{n},drive=b{n}",
        "-device virtio-scsi-ccw,id=d{n}",
        "-device virtio-rng-ccw,id=d{n}",
        "-device virtio-rng-pci,id=d{n},iommu_platform=off",
        "-device virtio-net-pci-transitional,id=d{n}",
        "-drive file=null-co://,format=raw,id=d{n}",
        "-nic user",
        "-device virtio-balloon-ccw,id=d{n}",
        "-device virtio-net,id=d{n},iommu_platform=off",
    ],
    "ppc64": [
        "-device virtio-net-pci,id=d{n},iommu_platform=off,disable-legacy=off",
        "-blockdev driver=null-co,node-name=b{n} -device virtio-blk-pci,id=d{n},drive=b{n}",
        "-device virtio-rng-pci-transitional,id=d{n}",
        "-nic user,model=virtio",
        "-device virtio-scsi-pci,id=d{n}",
    ],
    "aarch64": [
        "-device virtio-net-pci,id=d{n},iommu_platform=off",
        "-drive file=null-co://,format=raw,id=d{n}",
        "-nic user",
        "-device virtio-rng-pci-transitional,id=d{n}",
    ],
}
MACHINES = {"x86_64": ["q35", "pc"], "s390x": ["s390-ccw-virtio"], "ppc64": ["pseries"], "aarch64": ["virt"]}
HARDWARE = re.compile(
    r"cbitpos check failed|vm-type [\w-]+ not supported by KVM|PEF requires KVM|invalid object type: s390-pv-guest"
    r"|Could not access KVM|failed to initialize kvm|does not support guest_memfd|invalid accelerator kvm"
    r"|KVM required|no machine specified|Failed to open /dev/sev|could not load PC BIOS"
)


def guests(arch, count=8):
    for seed in range(count):
        chance = random.Random(f"{arch}-{seed}")
        chosen = chance.sample(DEVICES[arch], k=min(len(DEVICES[arch]), chance.randint(3, 9)))
        if sum("virtio-vga" in line for line in chosen) and sum("virtio-gpu" in line for line in chosen):
            chosen = [line for line in chosen if "virtio-gpu" not in line]
        devices = " ".join(line.format(n=n) for n, line in enumerate(chosen))
        machine = chance.choice(MACHINES[arch])
        if machine == "pc":
            devices = re.sub(r"-device pcie-root-port\S* -device \S*", "", devices)
        nodefaults = chance.choice(["-nodefaults", "-nodefaults", "-nic none"])
        yield f"-M {machine} -m 512 -smp 2 {nodefaults} {devices}"


def planned(qemu, platform, line):
    import shlex

    document = sequester.from_argv([str(qemu.path), *shlex.split(line)])
    return sequester.plan(document, limit=platform.name)


def offered(argv):
    commands = [{"execute": "x-query-virtio"}]
    try:
        devices = ask([*argv, "-S"], commands)[0]
    except QmpError as error:
        if "No virtio devices found" in str(error):
            return []
        raise
    asked = [
        {"execute": "qom-get", "arguments": {"path": device["path"], "property": "iommu_platform"}}
        for device in devices
    ]
    return [(device["name"], on) for device, on in zip(devices, ask([*argv, "-S"], asked), strict=True)]


@pytest.mark.real_qemu
def test_every_virtio_device_of_a_plan_offers_access_platform(qemu):
    wrong = []
    for platform in platforms():
        if qemu.arch not in platform.architectures:
            continue
        for line in guests(qemu.arch, 3):
            simulation = simulate(planned(qemu, platform, line), None)
            argv = [word for word in simulation.argv if word != "-serial" and word != "stdio"]
            try:
                wrong += [(line, name) for name, offers in offered(argv) if not offers]
            except QmpError as error:
                wrong.append((line, str(error)))
    assert not wrong


@pytest.mark.real_qemu
def test_with_its_object_a_plan_fails_for_want_of_hardware_and_nothing_else(qemu):
    wrong = []
    for platform in platforms():
        known = platform.qemu_since and qemu.release >= platform.qemu_since
        if qemu.arch not in platform.architectures or not known:
            continue
        line = next(iter(guests(qemu.arch, 1)))
        argv, lost = planned(qemu, platform, line).argv()
        assert not lost
        if qemu.arch not in ("x86_64",):
            argv = [word.replace("accel=kvm", "accel=tcg") for word in argv]
        done = qemu.run([*argv[1:], "-S", "-display", "none", "-monitor", "none"], timeout=30)
        if done.returncode == 0 or not HARDWARE.search(done.stderr):
            wrong.append((platform.name, line, done.stderr[-300:]))
    assert not wrong
