"""What a TOML guest becomes is a command line that a real QEMU takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from realtools.qmp import ask

from sequester.formats.argv_write import write_argv
from sequester.formats.toml_read import MACHINES, read_toml

EVERYTHING = """
arch = "{arch}"
name = "everything"
accel = "tcg"
cpus = {{ count = 2, maxcpus = 4 }}
memory = {{ size = "256M", shared = true }}

[[disk]]
file = "{folder}/a.raw"

[[disk]]
file = "{folder}/b.raw"
bus = "scsi"
readonly = true

[[disk]]
file = "{folder}/a.img"
bus = "{third}"
backend = {{ discard = "unmap" }}

[[network]]
hostfwd = ["tcp:127.0.0.1:0-:22"]
restrict = true

[[network]]
model = "{card}"
mac = "52:54:00:12:34:56"

[[share]]
tag = "work"
directory = "{folder}"
readonly = true

[[console]]
kind = "virtio"
to = "null"

[[console]]
to = "null"

[[rng]]

[[rng]]
source = "builtin"
options = {{ max-bytes = 1024, period = 1000 }}

[[device]]
driver = "virtio-balloon"
id = "balloon"

[[object]]
qom-type = "secret"
id = "s0"
data = "x"

[qemu]
args = ["-S", "-no-reboot"]
"""


@pytest.mark.real_qemu
def test_every_section_is_taken_by_a_real_qemu(qemu, tmp_path: Path) -> None:
    for name in ("a.raw", "b.raw", "a.img"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    bare = qemu.arch == "s390x"  # QEMU 7.2 for s390x has hardly a PCI device
    third, card = ("virtio", "virtio") if bare else ("nvme", "e1000e")
    text = EVERYTHING.format(arch=qemu.arch, folder=tmp_path, third=third, card=card)
    document = read_toml(text.encode(), "everything.toml")
    argv, lost = write_argv(document.guest)
    assert lost == ()
    answers = ask([str(qemu.path), *argv[1:]], [{"execute": "query-block"}, {"execute": "query-memdev"}])
    disks = {name for device in answers[0] for name in device["qdev"].split("/") if name.startswith("disk")}
    assert disks == {"disk0", "disk1", "disk2"}
    assert [backend["share"] for backend in answers[1]] == [True]


@pytest.mark.real_qemu
def test_a_guest_that_says_nothing_starts(qemu) -> None:
    document = read_toml(f'arch = "{qemu.arch}"\naccel = "tcg"\nconsole = []\n'.encode(), "least.toml")
    argv, _ = write_argv(document.guest)
    status = ask(
        [str(qemu.path), *argv[1:], "-S"], [{"execute": "query-status"}, {"execute": "query-machines"}]
    )
    assert status[0]["running"] is False
    assert any(each["name"].startswith(MACHINES[qemu.arch].removeprefix("q35")) for each in status[1])
