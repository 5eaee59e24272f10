"""Writing guests as TOML: what is written means what the guest meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest_kinds import guests, meaning
from hypothesis import given

from sequester.formats.argv_read import read_argv, read_argv_text
from sequester.formats.toml_read import read_toml
from sequester.formats.toml_write import write_toml
from sequester.guest.guest import Guest, NotCarried, complete
from sequester.guest.part import Part
from sequester.planning import make_plan

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def again(guest: Guest) -> Guest:
    return read_toml(write_toml(guest).text.encode(), "again.toml").guest


@given(guests())
def test_a_guest_means_the_same_after_writing_and_reading(guest: Guest) -> None:
    written = write_toml(guest)
    assert meaning(read_toml(written.text.encode(), "again.toml").guest) == meaning(guest), written.text
    assert written.lost == ()


@given(guests())
def test_what_was_written_once_is_written_the_same_again(guest: Guest) -> None:
    text = write_toml(guest).text
    once = write_toml(read_toml(text.encode(), "once.toml").guest).text
    assert write_toml(read_toml(once.encode(), "twice.toml").guest).text == once


SHORT = """\
name = "web"
limit = "sev-snp"
cpus = 4
cpu = "EPYC-v4"
memory = "4G"
firmware = "OVMF.fd"

[machine]
type = "q35"

[machine.options]
smm = "off"

[[disk]]
id = "disk0"
file = "disk.qcow2"

[[device]]
driver = "virtio-scsi-pci"
id = "scsi0"

[[disk]]
id = "data"
file = "data.raw"
readonly = true
bus = "scsi"

[[network]]
id = "net0"
mode = "tap"
ifname = "tap0"

[[console]]
to = "stdio"

[qemu]
args = [
  "-no-reboot",
]
"""


def test_a_written_guest_reads_like_one_by_hand() -> None:
    assert write_toml(read_toml(SHORT.encode(), "short.toml").guest).text == SHORT


def test_a_limitation_that_the_machine_names_is_said_once() -> None:
    guest = read_argv(
        [
            "qemu-system-x86_64",
            "-M",
            "q35,confidential-guest-support=s0",
            "-object",
            "sev-guest,id=s0,cbitpos=51",
        ]
    ).guest
    text = write_toml(guest).text
    assert '[limit]\nplatform = "sev-guest"\ncbitpos = "51"' in text
    assert "confidential-guest-support" not in text
    assert "s0" not in text


def test_a_named_object_that_is_missing_stays_missing() -> None:
    guest = read_argv(["qemu-system-x86_64", "-M", "q35,confidential-guest-support=nope"]).guest
    found = again(guest).limitation
    assert found is not None
    assert (found.type, found.id) == ("", "nope")


def test_a_binary_that_prefers_kvm_keeps_doing_so() -> None:
    guest = read_argv(["/usr/bin/kvm", "-m", "512"]).guest
    assert again(guest).accelerators == guest.accelerators == ("kvm",)


def test_what_cannot_be_said_is_named() -> None:
    parts = [
        Part("machine", "q35", {"odd": None, "fine": "on"}, 0),
        Part("limitation", "sev-snp", {"@authorKey": "yes"}, 1),
        Part("cpu", "host", {}, 2, line=7),
        Part("cpu", "max", {}, 3),
        Part("qemu-args", "-cpu", {}, 4),
        Part("qemu-args", "max", {}, 5),
    ]
    guest = complete("x86_64", "", parts, "libvirt", [NotCarried("the watchdog", 12)])
    written = write_toml(guest)
    assert set(written.lost) == {
        "line 12: the watchdog",
        "line 7: cpu host: a later one takes its place",
        "odd of machine q35: TOML has no such value",
        "@authorKey of the limitation: it is in libvirt's words",
        "-cpu max: it is not for [qemu] args",
    }
    read_toml(written.text.encode(), "again.toml")


def test_what_qemu_can_only_be_told_as_json_goes_into_the_arguments() -> None:
    guest = complete("x86_64", "", [Part("device", "x", {"id": "a", "list": [None]}, 0, "a")])
    assert meaning(again(guest)) == meaning(guest)


@pytest.mark.parametrize(
    "path", sorted((DATA / "argv").glob("*")) + sorted((DATA / "libvirt").glob("*")) or [None]
)
def test_real_command_lines_mean_the_same_as_toml(path: Path | None) -> None:
    if path is None:
        pytest.skip("needs the third-party data beside the repository")
    guest = read_argv_text(path.read_bytes(), path.name).guest
    found = again(guest)
    assert meaning(found)[1:] == meaning(guest)[1:]
    assert found.accelerators == guest.accelerators


@pytest.mark.parametrize("options", ["", " -M q35", " -accel kvm -nodefaults -display none"])
def test_what_a_plan_gives_a_machine_or_processor_that_nothing_declared_is_written(options: str) -> None:
    document = read_argv_text(f"qemu-system-x86_64{options}".encode(), "g.args")
    written = make_plan(document, limit="tdx").to("toml")
    again = make_plan(read_toml(written.text.encode(), "again.toml"))
    assert again.guest.cpu.type == "host"
    assert not again.changes
