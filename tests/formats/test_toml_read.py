"""Reading TOML guests: the parts they make, and what is said of those that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.formats.argv_write import write_argv
from sequester.formats.sources import open_guest
from sequester.formats.toml_read import MACHINES, read_toml
from sequester.guest.guest import Guest


def guest(text: str) -> Guest:
    return read_toml(text.encode(), "web.toml").guest


def argv(text: str) -> list[str]:
    words, lost = write_argv(guest(text))
    assert lost == ()
    return words


def error(text: str) -> str:
    with pytest.raises(InputError) as raised:
        guest(text)
    return str(raised.value)


EXAMPLE = """\
name = "web"
limit = "auto"
cpus = 4
memory = "4G"
cpu = "EPYC-v4"
firmware = "/usr/share/ovmf/OVMF.amdsev.fd"
kernel = "vmlinuz"
initrd = "initrd.img"
append = "console=ttyS0"

[[disk]]
file = "disk.qcow2"

[[network]]
hostfwd = ["tcp::2222-:22"]
mac = "52:54:00:12:34:56"
"""


def test_a_short_guest_is_a_whole_command_line() -> None:
    found = guest(EXAMPLE)
    assert found.arch == "x86_64"
    assert found.name == "web"
    assert found.limitation is not None
    assert found.limitation.type == "auto"
    assert found.machine.properties == {}
    words, _ = write_argv(found.changed(()))
    assert words[:2] == ["qemu-system-x86_64", "-name"]
    text = " ".join(words)
    for said in (
        "-machine q35",
        "-accel kvm",
        "-cpu EPYC-v4",
        "-m 4G",
        "-smp 4",
        "-display none",
        "-nodefaults",
        "-serial stdio",
        "-bios /usr/share/ovmf/OVMF.amdsev.fd",
        "-kernel vmlinuz",
        "-initrd initrd.img",
        "-append console=ttyS0",
        "-device virtio-blk-pci,id=disk0,drive=disk0-image",
        "-device virtio-net-pci,id=net0,netdev=net0-host,mac=52:54:00:12:34:56",
    ):
        assert said in text
    assert json.loads(words[words.index("-blockdev") + 1]) == {
        "driver": "qcow2",
        "node-name": "disk0-image",
        "file": {"driver": "file", "filename": "disk.qcow2"},
    }
    assert json.loads(words[words.index("-netdev") + 1])["hostfwd"] == [{"str": "tcp::2222-:22"}]


@pytest.mark.parametrize(("arch", "machine"), MACHINES.items())
def test_each_architecture_has_its_machine_and_transport(arch: str, machine: str) -> None:
    found = guest(f'arch = "{arch}"\n[[rng]]\n[[disk]]\nfile = "a.raw"\nbus = "scsi"\n')
    assert found.machine.type == machine
    way = "ccw" if arch == "s390x" else "pci"
    assert [part.type for part in found.devices] == [f"virtio-rng-{way}", f"virtio-scsi-{way}", "scsi-hd"]


@pytest.mark.parametrize(
    ("text", "arch"),
    [
        ('machine = "pseries"', "ppc64"),
        ('machine = "s390-ccw-virtio-9.2"', "s390x"),
        ('machine = "virt"', "aarch64"),
        ('machine = "pc"', "x86_64"),
        ('[qemu]\nbinary = "/opt/bin/qemu-system-ppc64"', "ppc64"),
    ],
)
def test_the_architecture_is_told_by_machine_or_emulator(text: str, arch: str) -> None:
    assert guest(text).arch == arch


def test_a_microvm_has_its_devices_on_virtio_mmio() -> None:
    assert guest('machine = "microvm"\n[[rng]]').devices[0].type == "virtio-rng-device"
    text = '[machine]\ntype = "microvm"\noptions = { pcie = true }\n[[rng]]'
    assert guest(text).devices[0].type == "virtio-rng-pci"


def test_a_limitation_keeps_its_properties_as_they_are() -> None:
    text = '[limit]\nplatform = "sev-snp"\npolicy = ["smt", "single-socket"]\nhost-data = "AAAA"\n'
    part = guest(text).limitation
    assert part is not None
    assert (part.type, part.line) == ("sev-snp", 1)
    assert part.properties == {"policy": ["smt", "single-socket"], "host-data": "AAAA"}
    assert guest(text).dialect == "qemu"


def test_an_object_that_the_machine_names_is_the_limitation() -> None:
    found = guest(
        '[machine.options]\nconfidential-guest-support = "s0"\n[[object]]\nqom-type = "sev-guest"\nid = "s0"\n'
    )
    assert found.limitation is not None
    assert (found.limitation.type, found.limitation.id) == ("sev-guest", "s0")


def test_devices_keep_the_order_of_the_file_across_sections() -> None:
    text = """
[[device]]
driver = "first"
[[disk]]
file = "a.raw"
[[device]]
driver = "third"
[qemu]
args = ["-device", "last"]
"""
    assert [part.type for part in guest(text).devices] == ["first", "virtio-blk-pci", "third", "last"]


def test_a_controller_is_made_once_and_before_it_is_needed() -> None:
    disk = '[[disk]]\nfile = "a.raw"\nbus = "scsi"\n'
    assert [part.type for part in guest(disk * 2).devices] == ["virtio-scsi-pci", "scsi-hd", "scsi-hd"]
    own = '[[device]]\ndriver = "virtio-scsi-pci-non-transitional"\nid = "mine"\n'
    for text in (own + disk, disk + own):
        devices = guest(text).devices
        assert [part.id for part in devices] == ["mine", "disk0"]
        assert devices[1].get("bus") == "mine.0"


def test_ids_that_are_taken_are_not_given_again() -> None:
    found = guest('[[disk]]\nfile = "a.raw"\n[[disk]]\nid = "disk0"\nfile = "b.raw"\n')
    assert [part.id for part in found.devices] == ["disk1", "disk0"]


def test_shared_memory_is_a_backend_that_the_machine_names() -> None:
    text = 'memory = { size = "4G", shared = true, backend = { hugetlb = true } }\n'
    found = guest(text + '[[share]]\ntag = "work"\nsocket = "/run/fs.sock"\n')
    assert found.memory.type == "4G"
    assert found.machine.get("memory-backend") == "memory0"
    (backend,) = found.memory_backends
    assert backend.properties == {"id": "memory0", "size": "4G", "share": True, "hugetlb": True}
    assert found.devices[0].type == "vhost-user-fs-pci"


def test_firmware_in_two_halves_is_flash() -> None:
    text = '[firmware]\ncode = "OVMF_CODE.fd"\nvars = "my_VARS.fd"\n'
    drives = [word for word in argv(text) if word.startswith(("file=OVMF", "file=my"))]
    assert drives == [
        "file=OVMF_CODE.fd,if=pflash,format=raw,unit=0,readonly=on",
        "file=my_VARS.fd,if=pflash,format=raw,unit=1",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('accel = "tcg"', ["-accel", "tcg", "-cpu", "max"]),
        ('accel = ["kvm", "tcg"]', ["-accel", "kvm", "-accel", "tcg", "-cpu", "host"]),
        ('accel = { name = "tcg", thread = "single" }', ["-accel", "tcg,thread=single", "-cpu", "max"]),
        ('[machine.options]\naccel = "tcg"', ["-machine", "q35,accel=tcg", "-cpu", "max"]),
        ("cpus = { sockets = 2, cores = 4 }", ["-smp", "sockets=2,cores=4"]),
        ("memory = 512", ["-m", "512"]),
        ("cpu = { features = { svm = false } }", ["-cpu", "host,svm=off"]),
        ('display = { type = "gtk", options = { gl = "on" } }', ["-display", "gtk,gl=on"]),
    ],
)
def test_settings_are_plain_values_or_tables(text: str, said: list[str]) -> None:
    words = argv(text)
    at = words.index(said[0])
    assert words[at : at + len(said)] == said


def test_qemus_own_defaults_are_left_alone_when_asked_to() -> None:
    words = argv('[qemu]\nbinary = "/usr/bin/qemu-system-x86_64"\ndefaults = true\nargs = ["-S"]\n')
    assert words == ["/usr/bin/qemu-system-x86_64", "-S"]


@pytest.mark.parametrize(
    "console", ["console = []", '[[console]]\nto = "none"', '[[console]]\nkind = "virtio"']
)
def test_a_guest_with_its_own_consoles_gets_no_other(console: str) -> None:
    assert all(part.type != "stdio" for part in guest(console).of("serial"))


def test_every_part_names_the_line_where_it_is_said() -> None:
    found = guest(EXAMPLE + '\n[qemu]\nargs = ["-no-reboot"]\n')
    lines = {part.group: part.line for part in found.parts}
    assert (lines["limitation"], lines["smp"], lines["m"], lines["bios"]) == (2, 3, 4, 6)
    assert (lines["blockdev"], lines["netdev"], lines["no-reboot"]) == (11, 14, 19)
    assert lines["accel"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 'x'", "web.toml:1: there is no key 'nmae' (did you mean 'name'?)"),
        ("[[disk]]\nfile = 'a.raw'\nreadonyl = true", "web.toml:3: there is no key 'readonyl' in [[disk]]"),
        ("[machine]\nsmm = false", "web.toml:2: there is no key 'smm' in [machine] (known: type, options)"),
        ("[[disk]]\n", "web.toml:1: [[disk]]: 'file' is missing (such as file = \"disk.qcow2\")"),
        ("[disk]\nfile = 'a'", "web.toml:1: disk is one of many (write [[disk]] instead of [disk])"),
        ("disk = 'a'", 'web.toml:1: disk: a list of tables, each begun by [[disk]] is wanted, not "a"'),
        (
            "[[disk]]\nfile = 'a.raw'\nreadonly = 'yes'",
            'web.toml:3: disk.readonly: true or false is wanted, not "yes"',
        ),
        ("[[disk]]\nfile = 3", "web.toml:2: disk.file: text is wanted, not 3"),
        ("[[disk]]\nfile = 'x'", "web.toml:2: the format of x cannot be told by its name"),
        ("[[disk]]\nfile = 'a.raw'\nbus = 'ide'", "web.toml:3: 'ide' is none of virtio, scsi, nvme"),
        ("[[disk]]\nfile = 'a.raw'\nid = '0'", "web.toml:3: '0' cannot be an id"),
        ("[[vsock]]\ncid = 2", "web.toml:2: a vsock needs a cid of 3 or more"),
        ("[[vsock]]", "web.toml:1: a vsock needs a cid of 3 or more"),
        (
            "[[share]]\ntag = 'x'",
            "web.toml:1: [[share]]: 'directory' (for 9p) or 'socket' (of virtiofsd) is missing",
        ),
        ("[[console]]\nkind = 'virtio'\nto = 'tcp:1'", "web.toml:3: 'tcp:1' is no place for a console"),
        ("[[network]]\nmode = 'usr'", "web.toml:2: 'usr' is none of user, tap"),
        ("[[network]]\nifname = 'tap0'", "web.toml:2: there is no key 'ifname' in [[network]]"),
        ("memory = true", "web.toml:1: memory: text or a number above 0 is wanted, not true"),
        ("memory = 'lots'", "web.toml:1: 'lots' is no number or size (such as 4 or \"4G\")"),
        ("cpus = 0", "web.toml:1: cpus: text or a number above 0 is wanted, not 0"),
        ("limit = 1979-05-27", "web.toml:1: limit: text is wanted, not a date or time"),
        ("limit = {}", "web.toml:1: [limit]: 'platform' is missing"),
        ("limit = ''", 'web.toml:1: limit: text is wanted, not ""'),
        (
            "limit = 'auto'\n[machine.options]\nmemory-encryption = 'x'",
            "web.toml:1: 'limit' and machine.options.memory-",
        ),
        (
            "[[device]]\ndriver = 'x'\nwhen = 1979-05-27",
            "web.toml:3: no property of QEMU's can have this value",
        ),
        ("[[device]]\ndriver = 'x'\nn = nan", "web.toml:3: no property of QEMU's can have this value"),
        ("arch = 'riscv64'", "web.toml:1: 'machine' is missing for riscv64"),
        ("accel = 3", "web.toml:1: accel: the name of an accelerator"),
        ("[memory]\nbackend = { x = 1 }", "web.toml:2: memory.backend is for shared memory"),
        ("[qemu]\nargs = '-S'", "web.toml:2: qemu.args: a list of texts is wanted"),
        ("[qemu]\nargs = ['x']", "web.toml:2: 'x' is no option"),
        (
            "[qemu]\nargs = ['-machine', 'pc']",
            "web.toml:2: -machine is not for [qemu] args (use [machine.options])",
        ),
        ("[qemu]\nargs = ['-enable-kvm']", "web.toml:2: -accel is not for [qemu] args (use accel)"),
        ("[qemu]\nargs = ['-readconfig', 'x']", "web.toml:2: -readconfig is not read"),
        ("a = ", "web.toml:1: this is not TOML: invalid value"),
        ("x = 1\nx = 2", "web.toml:2: this is not TOML: cannot overwrite a value"),
        ("name = 'x", "web.toml:1: this is not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(text: str, message: str) -> None:
    said = error(text)
    assert said.startswith(message)
    assert "\n" not in said


def test_a_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text(EXAMPLE)
    document = open_guest(path)
    assert document.format == "toml"
    assert document.edited(()).text == EXAMPLE


def test_nothing_is_loaded_for_reading_that_only_editing_needs() -> None:
    import subprocess
    import sys

    code = "import sys, sequester.formats.toml_read; print(sorted({'tomlkit', 'difflib', 'lxml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WORDS = """name limit arch machine accel cpus cpu memory firmware kernel initrd append display disk network share
    console rng vsock vfio device object qemu type options platform model features size shared backend file format bus
    readonly driver id mode mac hostfwd to kind cid args binary defaults qom-type x"""
keys = st.sampled_from(WORDS.split())
values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-5, 1 << 70),
        st.floats(),
        st.sampled_from(["", "auto", "user", "q35", "a.raw", "virtio", "-S", "4G", "x\0", "é", "kvm"]),
        st.dates(),
        st.times(),
        st.datetimes(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=6))
def test_any_type_anywhere_is_a_guest_or_an_error_with_its_place(document: dict[str, object]) -> None:
    import tomlkit

    text = tomlkit.dumps(document)
    try:
        read_toml(text.encode(), "web.toml")
    except InputError as raised:
        said = str(raised)
        assert said.startswith("web.toml")
        assert "\n" not in said
        assert len(said) < 400


PAGE = Path(__file__).parents[2] / "docs" / "guest-toml.md"
EXAMPLES = [part.partition("```")[0] for part in PAGE.read_text(encoding="utf-8").split("```toml\n")[1:]]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_the_page_is_a_guest(text: str) -> None:
    assert argv(text)


def test_the_page_names_every_setting_and_section() -> None:
    from sequester.formats.toml_sections import NETWORK_KEYS, SECTIONS

    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`[[{name}]]`" in page for name in SECTIONS)
    assert all(f"`{key}`" in page for keys in NETWORK_KEYS.values() for key in keys)
