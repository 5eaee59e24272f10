"""A plan's devices beside a running guest's."""

from __future__ import annotations

import pytest

from sequester.audit.comparing import differences
from sequester.formats.sources import from_argv
from sequester.guest.part import Part


def compared(options: str, *there: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Return labels of what is missing and of what is strange."""
    planned = from_argv(["qemu-system-x86_64", "-nodefaults", *options.split()]).guest
    parts = [Part("device", kind, {}, number, name) for number, (name, kind) in enumerate(there)]
    missing, strange = differences(planned, parts)
    return [part.label() for part in missing], [part.label() for part in strange]


@pytest.mark.parametrize(
    ("planned", "real"),
    [
        ("virtio-net-pci", "virtio-net-pci"),
        ("virtio-net", "virtio-net-pci"),
        ("virtio-keyboard", "virtio-keyboard-pci"),
        ("ahci", "ich9-ahci"),
        ("ac97", "AC97"),
    ],
)
def test_a_device_is_known_under_each_of_its_names(planned: str, real: str) -> None:
    assert compared(f"-device {planned},id=a", ("a", real)) == ([], [])
    assert compared(f"-device {planned}", ("/machine/peripheral-anon/device[0]", real)) == ([], [])


def test_the_same_id_on_another_device_is_both() -> None:
    assert compared("-device e1000,id=a", ("a", "rtl8139")) == (
        ["device 'a' (e1000)"],
        ["device 'a' (rtl8139)"],
    )


def test_devices_without_an_id_are_counted() -> None:
    options = "-device usb-ehci -device usb-tablet -device usb-tablet"
    missing, strange = compared(options, ("x", "usb-tablet"), ("y", "usb-ehci"), ("z", "nvme"))
    assert missing == ["device usb-tablet"]
    assert strange == ["device 'z' (nvme)"]


def test_a_device_with_an_id_is_not_taken_for_one_without() -> None:
    assert compared("-device nvme -device nvme,id=b", ("b", "nvme"), ("c", "nvme")) == ([], [])


def test_a_disk_that_an_option_implies_is_no_stranger() -> None:
    assert compared("-drive if=virtio,file=x", ("/machine/peripheral-anon/device[0]", "virtio-blk-pci")) == (
        [],
        [],
    )
