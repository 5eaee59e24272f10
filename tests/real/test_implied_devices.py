"""The devices that our reader says a command line implies are those that a real QEMU makes of it."""

import shlex

import pytest
from realtools.qmp import QmpError, ask

from sequester.formats.argv_read import read_argv
from sequester.guest.virtio import is_virtio, kind

LINES = {
    "x86_64": [
        "-M q35",
        "-M pc",
        "-M microvm",
        "-M q35 -drive file=null-co://,if=virtio,format=raw -nic none",
        "-M q35 -nic user,model=virtio-net-pci -nic user,model=virtio",
        "-M q35 -net nic,model=virtio -net user",
        "-M q35 -netdev user,id=n -device virtio-net,netdev=n",
        "-M q35 -nodefaults -vga virtio -virtfs local,path=/,mount_tag=t,security_model=none",
        "-M q35 -nodefaults -device virtio-scsi -device virtio-serial -device virtio-rng -device virtio-keyboard-pci",
        "-M microvm -nodefaults -device virtio-rng-device",
    ],
    "s390x": [
        "-M s390-ccw-virtio",
        "-nic none",
        "-nodefaults -drive file=null-co://,format=raw",
        "-nodefaults -hda null-co://",
        "-nodefaults -nic user",
        "-nodefaults -virtfs local,path=/,mount_tag=t,security_model=none",
        "-nodefaults -device virtio-rng -device virtio-rng-pci",
    ],
    "aarch64": [
        "-M virt",
        "-M virt -nodefaults -drive file=null-co://,format=raw",
        "-M virt -nodefaults -nic user",
    ],
    "ppc64": [
        "-M pseries",
        "-M pseries -nic user,model=virtio",
        "-M pseries -nodefaults -drive file=null-co://,format=raw,if=virtio",
    ],
}


@pytest.mark.real_qemu
def test_virtio_devices_are_those_of_the_real_machine(qemu):
    wrong = []
    for line in LINES[qemu.arch]:
        words = shlex.split(line)
        guest = read_argv([f"qemu-system-{qemu.arch}", *words]).guest
        ours = sorted(kind(part) for part in guest.devices if is_virtio(part))
        theirs = sorted(_kind(device["name"]) for device in _virtio(qemu, words))
        if ours != theirs:
            wrong.append((line, ours, theirs))
    assert not wrong


def _virtio(qemu, words):
    command = [str(qemu.path), "-accel", "tcg", "-display", "none", "-serial", "none", "-S", *words]
    try:
        return ask(command, [{"execute": "x-query-virtio"}])[0]
    except QmpError as error:
        if "No virtio devices found" in str(error):
            return []
        raise


def _kind(name):
    stem = name.removeprefix("virtio-").removeprefix("vhost-user-").removeprefix("vhost-")
    return {"input": "keyboard", "gpu": "vga"}.get(stem, stem)
