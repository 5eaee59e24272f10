"""The guest's own lines are told from everything else on its console."""

from __future__ import annotations

from sequester.run.guest_line import GuestLine, read_line


def test_a_line_of_the_guest_is_its_kind_and_its_pairs() -> None:
    line = read_line("sequester-guest: device name=virtio0 id=2 access_platform=1")
    assert line == GuestLine("device", {"name": "virtio0", "id": "2", "access_platform": "1"})


def test_what_firmware_left_on_the_line_is_ignored() -> None:
    line = read_line("#1 SMP Debian 6.sequester-guest: start release=6.1.0 machine=ppc64le\r")
    assert line == GuestLine("start", {"release": "6.1.0", "machine": "ppc64le"})


def test_any_other_line_is_nobodys() -> None:
    for text in ("", "[    0.1] sequester", "sequester-guest:", "sequester-guest: ", "guest# poweroff"):
        assert read_line(text) is None
