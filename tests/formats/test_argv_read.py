"""QEMU command lines become guests: every option syntax, every place of a limitation."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.formats.argv_read import read_argv, read_argv_text
from sequester.formats.argv_write import shell_text, write_argv
from sequester.guest.virtio import is_virtio

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def outcome(read, *arguments):
    """What a reader makes of its input: a document, or the line that it says instead."""
    try:
        return read(*arguments), ""
    except InputError as error:
        return None, str(error)


def guest_of(text):
    return read_argv_text(text.encode(), "g.args").guest


def test_doubled_commas_are_one_comma_in_the_value():
    drive = guest_of("qemu-system-x86_64 -drive file=a,,b.img,if=none,id=d").of("drive")[0]
    assert (drive.type, drive.id) == ("a,b.img", "d")


def test_the_first_key_may_be_left_out():
    guest = guest_of("qemu-system-x86_64 -machine q35 -m 2G,slots=2 -smp 4,maxcpus=8 -accel kvm")
    assert (guest.machine.type, guest.memory.type, guest.smp.type) == ("q35", "2G", "4")
    assert guest.memory.text("slots") == "2"
    assert guest.accelerators == ("kvm",)


def test_a_machine_given_twice_is_one_machine_with_the_last_word():
    guest = guest_of("qemu-system-x86_64 -machine q35,accel=tcg -M smm=off -machine accel=kvm")
    assert guest.machine.type == "q35"
    assert guest.machine.properties == {"accel": "kvm", "smm": "off"}
    assert len(guest.of("machine")) == 1


def test_machine_properties_are_known_by_dash_or_underscore():
    assert (
        guest_of("qemu-system-x86_64 -M q35,kernel_irqchip=split").machine.text("kernel-irqchip") == "split"
    )


def test_json_devices_objects_and_block_nodes_are_read():
    guest = guest_of(
        """qemu-system-x86_64 -device '{"driver":"virtio-net-pci","id":"n","iommu_platform":true}' """
        """-object '{"qom-type":"memory-backend-ram","id":"r","size":1024}' """
        """-blockdev '{"driver":"file","node-name":"f","filename":"x"}'"""
    )
    assert guest.by_id["n"].flag("iommu_platform") is True
    assert guest.memory_backends[0].get("size") == 1024
    assert guest.by_id["f"].type == "file"


def test_cpu_features_are_read_in_all_three_spellings():
    cpu = guest_of("qemu-system-x86_64 -cpu EPYC,+svm,-pmu,x2apic=off").cpu
    assert cpu.type == "EPYC"
    assert cpu.properties == {"svm": "on", "pmu": "off", "x2apic": "off"}


def test_set_gives_a_device_its_property():
    guest = guest_of("qemu-system-x86_64 -device virtio-net-pci,id=n -set device.n.iommu_platform=off")
    assert guest.by_id["n"].flag("iommu_platform") is False


def test_global_is_read_in_both_spellings():
    guest = guest_of(
        "qemu-system-x86_64 -global virtio-net-pci.iommu_platform=off "
        "-global driver=cfi.pflash01,property=secure,value=on"
    )
    assert guest.globals[("virtio-net-pci", "iommu_platform")].properties == {"iommu_platform": "off"}
    assert guest.globals[("cfi.pflash01", "secure")].properties == {"secure": "on"}


@pytest.mark.parametrize(
    "spelling", ["confidential-guest-support", "memory-encryption", "host-trust-limitation"]
)
@pytest.mark.parametrize("first", [True, False])
def test_the_limitation_is_found_by_any_spelling_in_any_order(spelling, first):
    machine, thing = f"-machine q35,{spelling}=s0", "-object sev-guest,id=s0,policy=5"
    guest = guest_of(f"qemu-system-x86_64 {f'{machine} {thing}' if first else f'{thing} {machine}'}")
    assert guest.limitation.type == "sev-guest"
    assert guest.limitation.text("policy") == "5"
    assert not guest.objects


def test_an_object_that_no_machine_property_names_is_an_ordinary_object():
    guest = guest_of("qemu-system-x86_64 -M q35 -object sev-guest,id=s0")
    assert guest.limitation is None
    assert guest.objects[0].type == "sev-guest"


def test_a_limitation_that_does_not_exist_is_known_by_its_empty_type():
    guest = guest_of("qemu-system-x86_64 -M q35,confidential-guest-support=nope")
    assert (guest.limitation.id, guest.limitation.type) == ("nope", "")


@pytest.mark.parametrize(
    ("line", "arch"),
    [
        ("/usr/bin/qemu-system-s390x -S", "s390x"),
        ("qemu-system-x86_64-11.1 -S", "x86_64"),
        ("kvm -S", "x86_64"),
        ("qemu-kvm -M s390-ccw-virtio", "s390x"),
        ("-M pseries-9.0 -S", "ppc64"),
        ("./my-wrapper -M virt", "aarch64"),
    ],
)
def test_the_architecture_comes_from_the_emulator_or_else_the_machine(line, arch):
    assert guest_of(line).arch == arch


def test_wrappers_and_variables_before_the_emulator_are_stepped_over():
    guest = guest_of("LC_ALL=C PATH=/bin \\\nsudo taskset -c 0 /usr/bin/qemu-system-x86_64 \\\n -M q35")
    assert guest.emulator == "/usr/bin/qemu-system-x86_64"
    assert guest.machine.type == "q35"


def test_a_binary_called_kvm_runs_under_kvm():
    assert guest_of("/usr/bin/kvm -m 512").accelerators == ("kvm",)
    assert guest_of("/usr/bin/kvm -accel tcg").accelerators == ("tcg",)


@pytest.mark.parametrize(
    ("line", "drivers"),
    [
        ("qemu-system-x86_64 -nodefaults -drive file=a,if=virtio", ["virtio-blk-pci"]),
        ("qemu-system-x86_64 -nodefaults -drive file=a", []),
        ("qemu-system-x86_64 -nodefaults -hda a", []),
        ("qemu-system-s390x -nodefaults -drive file=a", ["virtio-blk-ccw"]),
        ("qemu-system-s390x -nodefaults -hda a", ["virtio-blk-ccw"]),
        ("qemu-system-aarch64 -M virt -nodefaults -drive file=a", ["virtio-blk-pci"]),
        ("qemu-system-x86_64 -nodefaults -nic user,model=virtio", ["virtio-net-pci"]),
        ("qemu-system-x86_64 -nodefaults -nic user", []),
        ("qemu-system-x86_64 -nodefaults -net nic,model=virtio -net user", ["virtio-net-pci"]),
        ("qemu-system-s390x -nodefaults -nic user", ["virtio-net-ccw"]),
        ("qemu-system-s390x", ["virtio-net-ccw"]),
        ("qemu-system-s390x -nic none", []),
        ("qemu-system-aarch64 -M virt", ["virtio-net-pci"]),
        ("qemu-system-x86_64 -M q35", []),
        (
            "qemu-system-x86_64 -nodefaults -virtfs local,path=/,mount_tag=t,security_model=none",
            ["virtio-9p-pci"],
        ),
        ("qemu-system-x86_64 -nodefaults -vga virtio", ["virtio-vga"]),
    ],
)
def test_devices_that_no_device_option_declares_are_part_of_the_guest(line, drivers):
    guest = guest_of(line)
    assert [part.type for part in guest.devices if is_virtio(part)] == drivers
    assert all(part.implied for part in guest.devices if is_virtio(part))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("qemu -readconfig x.cfg", "-readconfig is not read"),
        ("qemu -device", "-device needs a value"),
        ("qemu -device '{\"driver\":'", "this is not JSON"),
        ("qemu -object '{\"qom-type\":5}'", "qom-type is not text"),
        ("qemu -global nonsense", "not DRIVER.PROPERTY=VALUE"),
        ("qemu -set device.x.y=1", "there is no device 'x'"),
        ("qemu -set nonsense", "not GROUP.ID.PROPERTY=VALUE"),
        ("  \n", "there is no command line here"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(line, message):
    with pytest.raises(InputError, match=r"^g\.args") as caught:
        read_argv_text(line.encode(), "g.args")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_an_error_with_the_line():
    with pytest.raises(InputError, match=r"g\.args:2: this is not UTF-8 text"):
        read_argv_text(b"qemu \\\n -name \xff", "g.args")


def test_json_nested_a_million_deep_is_an_error_and_no_crash():
    with pytest.raises(InputError, match="this is not JSON"):
        read_argv(["qemu-system-x86_64", "-device", "{" + '"a":[' * 1_000_000])


@given(st.binary(max_size=400))
def test_any_bytes_give_a_guest_or_one_line(data):
    document, said = outcome(read_argv_text, data, "x")
    assert "\n" not in said
    assert document is None or document.edited(()).text.encode() == data


@given(
    st.lists(
        st.sampled_from(
            [
                "-device",
                "-M",
                "-object",
                "-set",
                "-global",
                "q35",
                "{}",
                "a=b,c",
                ",",
                "=",
                "id=x",
                "-cpu",
                "+x",
                "-",
                "--",
                "''",
            ]
        )
    )
)
def test_any_mixture_of_option_words_gives_a_guest_or_one_line(words):
    document, said = outcome(read_argv, ["qemu-system-x86_64", *words])
    assert "\n" not in said
    assert document is None or write_argv(document.guest)


@pytest.mark.parametrize(
    "path", sorted(DATA.glob("libvirt/*.args")) + sorted(DATA.glob("argv/*.cmd")), ids=str
)
def test_real_command_lines_are_read_and_written_back_unchanged(path):
    document = read_argv_text(path.read_bytes(), path.name)
    assert document.guest.limitation is not None
    assert document.edited(()).text == path.read_text()


def test_a_guest_written_anew_means_the_same():
    text = (
        "qemu-system-x86_64 -M q35,mem-merge=off -m 1G -smp 2 -cpu EPYC,+svm -nodefaults -S "
        "-drive file=a,,b,if=none,id=d -device virtio-blk-pci,drive=d -global virtio-pci.x=1 "
        """-netdev '{"type":"user","id":"n","dns":"1.1.1.1"}' -append 'a b'"""
    )
    guest = guest_of(text)
    again = guest_of(shell_text(write_argv(guest)[0]))
    meaning = [(p.group, p.type, json.dumps(dict(p.properties))) for p in guest.parts if not p.implied]
    assert sorted(meaning) == sorted(
        (p.group, p.type, json.dumps(dict(p.properties))) for p in again.parts if not p.implied
    )


def test_keys_that_add_up_are_all_kept():
    text = "qemu-system-x86_64 -netdev user,id=n,hostfwd=tcp::1-:1,hostfwd=tcp::2-:2 -smbios type=11,value=a,value=b"
    guest = guest_of(text)
    assert guest.by_id["n"].get("hostfwd") == ("tcp::1-:1", "tcp::2-:2")
    again = shell_text(write_argv(guest)[0])
    assert "hostfwd=tcp::1-:1,hostfwd=tcp::2-:2" in again
    assert "type=11,value=a,value=b" in again


def test_a_cpus_model_number_is_not_its_name():
    cpu = guest_of("qemu-system-x86_64 -cpu EPYC,family=25,model=17,+svm").cpu
    assert (cpu.type, cpu.properties) == ("EPYC", {"family": "25", "model": "17", "svm": "on"})
