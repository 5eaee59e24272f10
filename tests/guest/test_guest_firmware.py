"""Which images a guest boots from, however its options say so."""

import pytest

from sequester.formats.argv_read import read_argv
from sequester.guest.firmware import Use, boots, firmware, images, setting


def guest(*options):
    words = [word for option in options for word in option.split()]
    return read_argv(["qemu-system-x86_64", "-M", "q35", *words]).guest


def found(*options):
    return [(image.use, image.path) for image in images(guest(*options))]


def test_a_guest_that_names_nothing_boots_from_qemus_default():
    assert found() == []
    assert boots(firmware(guest())) is None


@pytest.mark.parametrize("options", [["-bios /b"], ["-machine firmware=/b"]])
def test_a_rom_is_an_option_or_a_machine_property(options):
    assert found(*options) == [(Use.ROM, "/b")]


@pytest.mark.parametrize(
    "options",
    [
        ["-drive if=pflash,unit=0,file=/c,readonly=on", "-drive if=pflash,unit=1,file=/v"],
        ["-drive if=pflash,unit=1,file=/v", "-drive if=pflash,unit=0,file=/c,readonly=on"],
        ["-drive if=pflash,file=/c,readonly=on", "-drive if=pflash,file=/v"],
        ["-drive if=pflash,unit=1,file=/v", "-drive if=pflash,file=/c,read-only=on"],
        ["-pflash /c", "-pflash /v"],
        [
            "-machine pflash0=c,pflash1=v",
            "-blockdev driver=file,node-name=cf,filename=/c -blockdev driver=raw,node-name=c,file=cf,read-only=on",
            "-blockdev driver=file,node-name=v,filename=/v",
        ],
        [
            "-machine pflash0=c,pflash1=v",
            "-blockdev driver=raw,node-name=c,file.driver=file,file.filename=/c",
            '-blockdev {"driver":"raw","node-name":"v","file":{"driver":"file","filename":"/v"}}',
        ],
        [
            "-machine pflash0=c,pflash1=v",
            "-blockdev driver=raw,node-name=c,file.driver=file,file.filename=/c",
            '-blockdev {"driver":"throttle","node-name":"v","file":{"driver":"raw","file":{"filename":"/v"}}}',
        ],
        ["-machine pflash0=c,pflash1=v", "-drive if=none,id=c,file=/c -drive if=none,id=v,file=/v"],
    ],
)
def test_flash_is_found_by_unit_in_every_spelling(options):
    assert found(*options) == [(Use.FLASH, "/c"), (Use.VARIABLES, "/v")]


def test_flash_that_the_guest_may_write_is_told_apart():
    options = ["-drive if=pflash,file=/c,readonly=on", "-drive if=pflash,file=/v"]
    assert [image.writable for image in firmware(guest(*options))] == [False, True]
    snapshot = firmware(guest("-drive if=pflash,file=/c,snapshot=on"))
    assert [image.writable for image in snapshot] == [False]


def test_the_format_of_flash_is_that_of_its_format_node():
    nodes = "-blockdev driver=file,node-name=f,filename=/c -blockdev driver=qcow2,node-name=c,file=f"
    (found_,) = firmware(guest("-machine pflash0=c", nodes))
    assert found_.format == "qcow2"


def test_flash_goes_before_a_rom():
    listed = firmware(guest("-bios /b", "-drive if=pflash,file=/c"))
    assert [image.use for image in listed] == [Use.FLASH, Use.ROM]
    assert boots(listed).path == "/c"


def test_variables_alone_are_nothing_to_boot_from():
    listed = firmware(guest("-bios /b", "-drive if=pflash,unit=1,file=/v"))
    assert boots(listed).path == "/b"


def test_an_igvm_file_goes_before_all():
    listed = firmware(
        guest("-machine igvm-cfg=i", "-object igvm-cfg,id=i,file=/i", "-drive if=pflash,file=/c")
    )
    assert boots(listed).use is Use.IGVM
    assert boots(listed).path == "/i"


def test_a_node_that_does_not_exist_or_has_no_file_has_no_path():
    assert found("-machine pflash0=nowhere") == [(Use.FLASH, "")]
    assert found("-machine pflash0=n", "-blockdev driver=null-co,node-name=n") == [(Use.FLASH, "")]


def test_nodes_in_a_circle_end():
    options = [
        "-machine pflash0=a",
        "-blockdev driver=raw,node-name=a,file=b",
        "-blockdev driver=raw,node-name=b,file=a",
    ]
    assert found(*options) == [(Use.FLASH, "")]


def test_other_drives_are_no_firmware():
    assert found("-drive if=virtio,file=/d", "-drive file=/e") == []


@pytest.mark.parametrize("options", [["-kernel /k"], ["-machine kernel=/k"]])
def test_the_kernel_is_the_last_image(options):
    assert found("-bios /b", *options) == [(Use.ROM, "/b"), (Use.KERNEL, "/k")]


def test_a_setting_is_an_option_or_a_machine_property():
    assert setting(guest("-append quiet"), "append")[0] == "quiet"
    assert setting(guest("-machine append=quiet"), "append")[0] == "quiet"
    assert setting(guest(), "append") is None
