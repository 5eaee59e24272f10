"""Editing TOML guests: each change lands in the key that says it, and everything else stays as it was."""

from __future__ import annotations

import difflib

import pytest
from guest_kinds import guests, meaning, names, plain
from hypothesis import given
from hypothesis import strategies as st

from sequester.formats.toml_parts import controller_stem
from sequester.formats.toml_read import TomlDocument, read_toml
from sequester.formats.toml_write import write_toml
from sequester.guest.change import Add, Change, Remove, Retype, Set, Unset
from sequester.guest.guest import Guest
from sequester.guest.part import Part


def read(text: str) -> TomlDocument:
    return read_toml(text.encode(), "web.toml")


HAND = """\
# My web server

name = "web"   # shown in titles
limit = "auto"
cpus = 4
memory = "4G"

[machine]   # the board
options = { smm = false }   # no SMM

# the system disk
[[disk]]
file = "disk.qcow2"

[[network]]
hostfwd = [
  "tcp::2222-:22",   # ssh
]

# data
[[disk]]
file = "data.raw"
bus = "scsi"
[disk.options]
scsi-id = 1   # first

[[device]]
driver = "virtio-balloon-pci"
id = "balloon"

# shares
[[share]]
tag = "x"
directory = "/srv"

[qemu]
args = [
  "-no-reboot",   # stay down
  "-drive", "file=x.img,if=virtio,format=raw",
]
"""


def diff(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:3] not in ("---", "+++", "@@ ") and not line.startswith("@@")]


def part(guest: Guest, group: str, kind: str = "") -> int:
    return next(each.key for each in guest.of(group) if each.type.startswith(kind))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda g: Retype(part(g, "limitation"), "sev-snp"), ['-limit = "auto"', '+limit = "sev-snp"']),
        (
            lambda g: Set(part(g, "limitation"), "policy", 0x30000),
            ['-limit = "auto"', '+limit = { platform = "auto", policy = 196608 }'],
        ),
        (
            lambda g: Set(part(g, "machine"), "mem-merge", "off"),
            [
                "-options = { smm = false }   # no SMM",
                '+options = { smm = false, mem-merge = "off" }   # no SMM',
            ],
        ),
        (
            lambda g: Set(part(g, "machine"), "smm", "on"),
            ["-options = { smm = false }   # no SMM", '+options = { smm = "on" }   # no SMM'],
        ),
        (
            lambda g: Unset(part(g, "machine"), "smm"),
            ["-options = { smm = false }   # no SMM", "+options = {}   # no SMM"],
        ),
        (lambda g: Retype(part(g, "machine"), "pc"), ['+type = "pc"']),
        (lambda g: Retype(part(g, "accel"), "tcg"), ['+cpu = "host"', '+accel = "tcg"']),
        (lambda g: Set(part(g, "cpu"), "svm", False), ["+cpu = { features = { svm = false } }"]),
        (
            lambda g: Set(part(g, "m"), "maxmem", "8G"),
            ['-memory = "4G"', '+memory = { size = "4G", maxmem = "8G" }'],
        ),
        (lambda g: Set(part(g, "smp"), "maxcpus", 8), ["-cpus = 4", "+cpus = { count = 4, maxcpus = 8 }"]),
        (
            lambda g: Set(part(g, "device", "virtio-blk"), "disable-legacy", "on"),
            ['+options = { disable-legacy = "on" }'],
        ),
        (lambda g: Retype(part(g, "device", "virtio-blk"), "nvme"), ['+driver = "nvme"']),
        (lambda g: Set(part(g, "blockdev", "qcow2"), "read-only", True), ["+readonly = true"]),
        (
            lambda g: Set(part(g, "blockdev", "qcow2"), "discard", "unmap"),
            ['+backend = { discard = "unmap" }'],
        ),
        (lambda g: Set(part(g, "device", "scsi-hd"), "ver", "1"), ['+ver = "1"']),
        (lambda g: Unset(part(g, "device", "scsi-hd"), "scsi-id"), ["-scsi-id = 1   # first"]),
        (lambda g: Retype(part(g, "device", "virtio-net"), "e1000e"), ['+model = "e1000e"']),
        (lambda g: Set(part(g, "device", "virtio-net"), "mac", "a"), ['+mac = "a"']),
        (
            lambda g: Set(part(g, "device", "virtio-scsi"), "iommu_platform", "on"),
            ["+", "+[[device]]", '+driver = "virtio-scsi-pci"', '+id = "scsi0"', '+iommu_platform = "on"'],
        ),
        (
            lambda g: Remove(part(g, "device", "virtio-balloon")),
            ["-[[device]]", '-driver = "virtio-balloon-pci"', '-id = "balloon"', "-"],
        ),
        (
            lambda g: Set(g.devices[-1].key, "disable-legacy", True),
            [
                '-  "-drive", "file=x.img,if=virtio,format=raw",',
                '+  "-drive", "file=x.img,if=virtio,format=raw", "-global", "virtio-blk-pci.disable-legacy=on",',
            ],
        ),
        (
            lambda g: Add(Part("device", "virtio-rng-pci", {"id": "r"}, g.next_key, "r")),
            ["+", "+[[device]]", '+driver = "virtio-rng-pci"', '+id = "r"'],
        ),
        (lambda g: Add(Part("bios", "OVMF.fd", {}, g.next_key)), ['+firmware = "OVMF.fd"']),
        (
            lambda g: Add(Part("S", "", {}, g.next_key)),
            [
                '-  "-drive", "file=x.img,if=virtio,format=raw",',
                '+  "-drive", "file=x.img,if=virtio,format=raw", "-S",',
            ],
        ),
        (lambda g: Remove(part(g, "serial")), ["+console = []"]),
    ],
)
def test_a_change_touches_the_line_that_says_it_and_no_other(change, lines) -> None:  # type: ignore[no-untyped-def]
    document = read(HAND)
    wanted = change(document.guest)
    written = document.edited([wanted])
    assert written.lost == ()
    assert diff(HAND, written.text) == lines
    if not isinstance(wanted, Set) or not document.guest.by_key[wanted.key].implied:
        assert meaning(read(written.text).guest) == meaning(document.guest.changed([wanted]))


def test_many_changes_at_once_land_together() -> None:
    document = read('limit = "auto"\n')
    guest = document.guest
    limit, machine = part(guest, "limitation"), part(guest, "machine")
    text = document.edited(
        [
            Retype(limit, "sev-snp"),
            Set(limit, "policy", 1),
            Set(limit, "cbitpos", 51),
            Set(machine, "mem-merge", "off"),
            Set(machine, "vmport", "off"),
            Unset(machine, "vmport"),
        ]
    ).text
    assert text == (
        'limit = { platform = "sev-snp", policy = 1, cbitpos = 51 }\nmachine = { options = { mem-merge = "off" } }\n'
    )


def test_a_limitation_is_added_to_a_guest_that_has_none() -> None:
    document = read("# mine\n\n[[rng]]\n")
    added = Part("limitation", "tdx", {}, document.guest.next_key)
    text = document.edited([Add(added), Set(added.key, "mrowner", "AAAA")]).text
    assert text == '# mine\n\nlimit = { platform = "tdx", mrowner = "AAAA" }\n\n[[rng]]\n'


def test_flash_can_give_way_to_a_rom() -> None:
    document = read('[firmware]\ncode = "CODE.fd"\nvars = "VARS.fd"\n')
    drives = document.guest.of("drive")
    rom = Add(Part("bios", "OVMF.fd", {}, document.guest.next_key))
    written = document.edited([*(Remove(drive.key) for drive in drives), rom])
    assert written.lost == ()
    assert read(written.text).guest.of("bios")[0].type == "OVMF.fd"
    store = document.edited([Remove(drives[1].key)])
    assert store.text == '[firmware]\ncode = "CODE.fd"\n'
    assert "[firmware] needs 'code'" in document.edited([Remove(drives[0].key)]).lost[0]


def test_what_goes_with_a_section_is_named() -> None:
    document = read(HAND)
    written = document.edited([Remove(part(document.guest, "device", "virtio-net"))])
    assert written.lost == ("netdev 'net0-host' (user): it goes with its section",)
    assert "hostfwd" not in written.text
    assert "# data\n[[disk]]" in written.text


@pytest.mark.parametrize(
    "change",
    [
        lambda g: Remove(part(g, "machine")),
        lambda g: Remove(part(g, "nodefaults")),
        lambda g: Unset(part(g, "device", "virtio-blk"), "drive"),
        lambda g: Set(part(g, "machine"), "x", None),
        lambda g: Remove(part(g, "device", "virtio-scsi")),
    ],
)
def test_what_the_format_cannot_say_is_named_and_leaves_the_file_alone(change) -> None:  # type: ignore[no-untyped-def]
    document = read(HAND)
    written = document.edited([change(document.guest)])
    assert len(written.lost) == 1
    assert written.text == HAND


def test_windows_line_ends_stay() -> None:
    text = HAND.replace("\n", "\r\n")
    document = read(text)
    new = document.edited(
        [Set(part(document.guest, "machine"), "vmport", False), Retype(part(document.guest, "accel"), "tcg")]
    )
    assert new.text.count("\r\n") == new.text.count("\n") == text.count("\n") + 2


def test_tables_may_be_written_in_any_of_tomls_ways() -> None:
    for text in (
        'machine.type = "pc"\nname = "x"\n',
        'machine = { type = "pc" }\n',
        '[machine]\ntype = "pc"',
        '[machine]\ntype = "pc"\n[machine.options]\nx = 1\n',
        'machine.options.x = 1\nmachine.type = "pc"\n',
        'machine = { type = "pc", options = {} }\n',
        '"machine" = "pc"\n',
        'disk = [ { file = "a.raw" } ]\nmachine = "pc"\n',
    ):
        document = read(text)
        changes = [
            Set(part(document.guest, "machine"), "vmport", False),
            Set(part(document.guest, "machine"), "y", "z"),
            Add(Part("device", "e1000e", {"id": "e"}, document.guest.next_key, "e")),
        ]
        written = document.edited(changes)
        assert written.lost == ()
        assert meaning(read(written.text).guest) == meaning(document.guest.changed(changes)), written.text


def test_sections_may_be_inline_tables() -> None:
    document = read('device = [\n  { driver = "a", id = "x" },\n  { driver = "b" },\n]\n')
    first, second = document.guest.devices
    written = document.edited(
        [Set(second.key, "addr", 3), Add(Part("device", "c", {}, document.guest.next_key)), Remove(first.key)]
    )
    assert [(each.type, dict(each.properties)) for each in read(written.text).guest.devices] == [
        ("b", {"addr": 3}),
        ("c", {}),
    ]


@st.composite
def changes(draw: st.DrawFn, guest: Guest) -> list[Change]:
    found: list[Change] = []
    key = guest.next_key
    gone: set[int] = set()
    for _ in range(draw(st.integers(0, 6))):
        each = draw(st.sampled_from(guest.parts))
        kind = draw(st.sampled_from(["set", "set", "set", "unset", "retype", "remove", "add"]))
        if kind == "add":
            group = draw(st.sampled_from(["device", "object", "S", "uuid"]))
            has = {"id": f"new{key}"} if group in ("device", "object") else {}
            found.append(Add(Part(group, "" if group == "S" else "x", has, key, has.get("id", ""))))
            key += 1
        elif (
            each.key in gone or each.implied or (controller_stem(each.type) and kind in ("retype", "remove"))
        ):
            continue
        elif kind == "set" and each.group in (
            "device",
            "machine",
            "cpu",
            "object",
            "blockdev",
            "netdev",
            "limitation",
        ):
            found.append(Set(each.key, draw(names), draw(plain)))
        elif kind == "unset" and each.properties:
            found.append(Unset(each.key, draw(st.sampled_from(sorted(each.properties)))))
        elif kind == "retype" and each.group in ("device", "object", "machine", "cpu", "limitation", "accel"):
            found.append(Retype(each.key, draw(st.sampled_from(["a", "b-c", "virtio-x"]))))
        elif kind == "remove" and each.group in ("device", "object", "limitation", "kernel", "S", "bios"):
            found.append(Remove(each.key))
            gone.add(each.key)
    return found


@given(st.one_of(guests().map(lambda guest: write_toml(guest).text), st.just(HAND)), st.data())
def test_an_edited_file_means_the_changed_guest(text: str, data: st.DataObject) -> None:
    document = read(text)
    wanted = data.draw(changes(document.guest))
    written = document.edited(wanted)
    if not wanted:
        assert written.text == text
    again = read(written.text).guest
    if not written.lost:
        assert meaning(again) == meaning(document.guest.changed(wanted)), written.text
    comments = [line.partition("#")[2] for line in text.splitlines() if "   # " in line]
    if not any(isinstance(change, (Remove, Unset, Retype)) for change in wanted):
        assert all(comment in written.text for comment in comments)
