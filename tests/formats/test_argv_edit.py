"""Edits of a command line touch the argument that says the thing, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.formats.argv_edit import edited_argv
from sequester.formats.argv_read import read_argv, read_argv_text
from sequester.guest import Add, Part, Remove, Retype, Set, Unset

BASE = "qemu-system-x86_64 -M q35 -device virtio-net-pci,id=n"


def edit(text, make):
    document = read_argv_text(text.encode(), "g.args")
    changes = make(document.guest)
    written = document.edited(changes)
    if not written.lost:
        again = read_argv_text(written.text.encode(), "g.args").guest
        wanted = document.guest.changed(changes)
        for part in wanted.parts:
            if part.group == "device" and not part.implied and part.id:
                assert {k: str(v) for k, v in again.by_id[part.id].properties.items()} == {
                    k: str(v) for k, v in part.properties.items()
                }
    return written.text


@pytest.mark.parametrize(
    ("text", "change", "expected"),
    [
        (BASE, lambda g: [Set(g.machine.key, "mem-merge", "off")], BASE.replace("q35", "q35,mem-merge=off")),
        (BASE, lambda g: [Set(g.by_id["n"].key, "x", "on")], BASE + ",x=on"),
        (
            "qemu -M q35 -device 'virtio-net-pci,id=n'",
            lambda g: [Set(g.by_id["n"].key, "x", "a b")],
            "qemu -M q35 -device 'virtio-net-pci,id=n,x=a b'",
        ),
        (
            "qemu -device virtio-net-pci,x=off,id=n",
            lambda g: [Set(g.by_id["n"].key, "x", "on")],
            "qemu -device virtio-net-pci,x=on,id=n",
        ),
        (
            "qemu -device virtio-net-pci,id=n -set device.n.x=off",
            lambda g: [Set(g.by_id["n"].key, "x", "on")],
            "qemu -device virtio-net-pci,id=n -set device.n.x=on",
        ),
        (
            "qemu -M q35,accel=tcg -M accel=xen",
            lambda g: [Set(g.machine.key, "accel", "kvm")],
            "qemu -M q35,accel=tcg -M accel=kvm",
        ),
        (
            """qemu -device '{"driver":"virtio-net-pci","id":"n"}'""",
            lambda g: [Set(g.by_id["n"].key, "x", "on")],
            """qemu -device '{"driver":"virtio-net-pci","id":"n","x":"on"}'""",
        ),
        (
            "qemu -device virtio-net-pci-transitional,id=n",
            lambda g: [Retype(g.by_id["n"].key, "virtio-net-pci-non-transitional")],
            "qemu -device virtio-net-pci-non-transitional,id=n",
        ),
        (
            "qemu -device virtio-net-pci,id=n,x=on,y=1",
            lambda g: [Unset(g.by_id["n"].key, "x")],
            "qemu -device virtio-net-pci,id=n,y=1",
        ),
        (
            "qemu -S -device virtio-net-pci,id=n -snapshot",
            lambda g: [Remove(g.by_id["n"].key)],
            "qemu -S -snapshot",
        ),
        (
            "qemu -S -no-reboot -snapshot",
            lambda g: [Remove(g.of("no-reboot")[0].key)],
            "qemu -S -snapshot",
        ),
        ("qemu -cpu EPYC,-svm", lambda g: [Set(g.cpu.key, "svm", "on")], "qemu -cpu EPYC,svm=on"),
        (
            "qemu -global virtio-pci.x=off -S",
            lambda g: [Set(g.of("global")[0].key, "x", "on")],
            "qemu -global virtio-pci.x=on -S",
        ),
        (
            "qemu -drive file=a,if=virtio",
            lambda g: [Set(g.devices[0].key, "iommu_platform", True)],
            "qemu -drive file=a,if=virtio -global virtio-blk-pci.iommu_platform=on",
        ),
        ("qemu -S", lambda g: [Set(g.machine.key, "mem-merge", "off")], "qemu -S -machine mem-merge=off"),
        (
            "qemu \\\n    -S \\\n    -snapshot\n",
            lambda g: [Add(Part("object", "rng-random", {"id": "r"}, g.next_key))],
            "qemu \\\n    -S \\\n    -snapshot \\\n    -object rng-random,id=r\n",
        ),
        (
            "qemu\n-S\n-append\na b\n",
            lambda g: [Add(Part("object", "rng-random", {"id": "r"}, g.next_key))],
            "qemu\n-S\n-append\na b\n-object\nrng-random,id=r\n",
        ),
        ("qemu -kernel a -S", lambda g: [Set(g.one("kernel").key, "", "b c")], "qemu -kernel b\\ c -S"),
    ],
)
def test_an_edit_is_exactly_what_was_asked_for(text, change, expected):
    assert edit(text, change) == expected


def test_a_property_that_no_option_can_hold_is_named_as_lost():
    document = read_argv(["qemu", "-kernel", "a"])
    written = document.edited([Set(document.guest.one("kernel").key, "x", "on")])
    assert written.lost == ("x of kernel a: the option has no properties",)


def test_an_added_part_can_be_changed_by_a_later_change():
    document = read_argv_text(b"qemu -S", "x")
    key = document.guest.next_key
    changes = [Add(Part("object", "rng-random", {"id": "r"}, key)), Set(key, "filename", "/dev/urandom")]
    assert document.edited(changes).text == "qemu -S -object rng-random,id=r,filename=/dev/urandom"


names = st.sampled_from(["iommu_platform", "disable-legacy", "x-y", "bus"])
texts = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(names, texts), max_size=4),
    names,
    texts,
    st.sampled_from(["plain", "quoted", "json", "lines"]),
)
def test_any_value_set_on_a_device_is_read_back_and_the_rest_stays(old, name, value, style):
    import json

    from sequester.formats.keyval import escape
    from sequester.formats.words import quote

    given_properties = {"id": "n", **dict(old)}
    keyval = "virtio-net-pci," + ",".join(f"{k}={escape(v)}" for k, v in given_properties.items())
    if style == "json":
        keyval = json.dumps({"driver": "virtio-net-pci", **given_properties})
    said = quote(keyval) if style != "quoted" else "'" + keyval.replace("'", "'\\''") + "'"
    text = f"qemu -S -device {said} -name 'a b' \\\n"
    document = (
        read_argv(["qemu", "-device", keyval]) if style == "lines" else read_argv_text(text.encode(), "x")
    )
    written = document.edited([Set(document.guest.by_id["n"].key, name, value)]).text
    if style == "lines":
        again = read_argv_text(written.encode(), "x").guest
    else:
        again = read_argv_text(written.encode(), "x").guest
        assert written.startswith("qemu -S -device ")
        assert written.endswith(" -name 'a b' \\\n")
    assert again.by_id["n"].properties == {**given_properties, name: value}


def test_an_edit_of_the_last_argument_stays_in_front_of_what_is_added_behind_it():
    def changes(guest):
        return [
            Add(Part("global", "virtio-blk-pci", {"x": "on"}, guest.next_key)),
            Set(guest.by_id["n"].key, "x", "on"),
        ]

    assert edit(BASE, changes) == BASE + ",x=on -global virtio-blk-pci.x=on"


@pytest.mark.parametrize(
    ("argv", "left"),
    [
        (["qemu", "-no-reboot", "-S"], ["qemu", "-no-reboot"]),
        (["qemu", "-S", "-no-reboot"], ["qemu", "-no-reboot"]),
        (["-S"], []),
    ],
)
def test_an_argument_that_is_removed_leaves_no_empty_one_behind(argv, left):
    document = read_argv(argv)
    pause = document.guest.of("S")[0].key
    added = Add(Part("no-shutdown", "", {}, document.guest.next_key))
    assert edited_argv(document, [Remove(pause)])[0] == left
    assert edited_argv(document, [Remove(pause), added])[0] == [*left, "-no-shutdown"]


def test_a_line_break_in_a_value_stays_one():
    document = read_argv_text(b"qemu -S \\\n -device virtio-net-pci,id=n", "x")
    text = document.edited([Set(document.guest.by_id["n"].key, "x", "a\nb")]).text
    assert read_argv_text(text.encode(), "x").guest.by_id["n"].get("x") == "a\nb"
