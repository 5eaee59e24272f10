"""libvirt domains become the guests that libvirt would start.

The golden command lines beside the domains were compared with those of libvirt 12.8, see
tests/real/test_libvirt_domains.py. SEQUESTER_GOLDEN=write writes them anew.
"""

from __future__ import annotations

import os

import pytest
from libvirt_domains import DOMAINS, SHARED, document, domain, guest_of, names, view

from sequester.errors import InputError
from sequester.formats.argv_read import read_argv_text
from sequester.formats.argv_write import shell_text, write_argv
from sequester.formats.libvirt_read import read_xml
from sequester.guest.virtio import transport


@pytest.mark.parametrize("name", names())
def test_a_domain_is_the_command_line_beside_it(name: str) -> None:
    argv, lost = write_argv(document(name).guest)
    text = shell_text(argv) + "".join(f"# {what}\n" for what in lost)
    golden = DOMAINS / f"{name}.args"
    if os.environ.get("SEQUESTER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", names())
def test_an_unchanged_domain_comes_back_byte_for_byte(name: str) -> None:
    data = (DOMAINS / f"{name}.xml").read_bytes()
    assert document(name).edited(()).text.encode() == data


@pytest.mark.parametrize("name", names())
def test_every_part_of_an_element_knows_its_line(name: str) -> None:
    read = document(name)
    lines = (DOMAINS / f"{name}.xml").read_text().split("\n")
    for part in read.guest.parts:
        if part.key in read.elements:
            assert part.spelled[1:-1] in lines[part.line - 1]


def launch(kind: str, inside: str = "", attributes: str = "") -> str:
    return domain(f"<launchSecurity type='{kind}'{attributes}>{inside}</launchSecurity>")


def test_launch_security_is_the_limitation_in_libvirts_own_words() -> None:
    guest = guest_of(
        launch(
            "sev-snp", "<policy> 0x30000 </policy><hostData>AA==</hostData>", " vcek='no' kernelHashes='yes'"
        )
    )
    assert guest.dialect == "libvirt"
    limitation = guest.limitation
    assert limitation is not None
    assert view(limitation) == (
        "sev-snp",
        {"@vcek": "no", "@kernelHashes": "yes", "policy": "0x30000", "hostData": "AA=="},
    )
    assert limitation.line == 8


def test_the_machine_names_the_limitation() -> None:
    guest = guest_of(launch("s390-pv"))
    assert guest.limitation is not None
    assert guest.machine.text("confidential-guest-support") == guest.limitation.id == "lsec0"


def test_the_quote_generation_service_is_its_path_or_libvirts_default() -> None:
    for said, path in (("", "/var/run/tdx-qgs/qgs.socket"), (" path='/x'", "/x")):
        limitation = guest_of(launch("tdx", f"<quoteGenerationService{said}/>")).limitation
        assert limitation is not None
        assert limitation.get("quoteGenerationService") == path


def test_a_domain_without_launch_security_has_no_limitation() -> None:
    guest = guest_of(domain())
    assert guest.limitation is None
    assert "confidential-guest-support" not in guest.machine.properties


@pytest.mark.parametrize(
    ("features", "prop", "value"),
    [
        ("<ioapic driver='qemu'/>", "kernel-irqchip", "split"),
        ("<ioapic driver='kvm'/>", "kernel-irqchip", "on"),
        ("<smm state='off'/>", "smm", "off"),
        ("<vmport state='off'/>", "vmport", "off"),
        ("<acpi/>", "acpi", "on"),
        ("", "acpi", "off"),
        ("", "mem-merge", None),
        ("", "dump-guest-core", "off"),
    ],
)
def test_features_are_properties_of_the_machine(features: str, prop: str, value: str | None) -> None:
    assert guest_of(domain(f"<features>{features}</features>")).machine.text(prop) == value


def test_nosharepages_is_mem_merge_off() -> None:
    guest = guest_of(domain("<memoryBacking><nosharepages/><locked/></memoryBacking>"))
    assert guest.machine.text("mem-merge") == "off"
    overcommit = guest.one("overcommit")
    assert overcommit is not None
    assert overcommit.text("mem-lock") == "on"


@pytest.mark.parametrize(
    ("memory", "size"),
    [("1048576", "1048576k"), ("1", "1024k"), ("219100", "219136k")],
)
def test_memory_is_in_kib_and_rounded_up_to_mib(memory: str, size: str) -> None:
    guest = guest_of(domain().replace("<memory unit='GiB'>1</memory>", f"<memory>{memory}</memory>"))
    assert guest.memory.type == size


@pytest.mark.parametrize(
    ("unit", "size"),
    [("b", "1024k"), ("MB", "1024k"), ("M", "1024k"), ("GB", "976896k"), ("TiB", "1073741824k")],
)
def test_memory_is_in_any_of_libvirts_units(unit: str, size: str) -> None:
    guest = guest_of(domain().replace("<memory unit='GiB'>1</memory>", f"<memory unit='{unit}'>1</memory>"))
    assert guest.memory.type == size


@pytest.mark.parametrize(
    ("cpu", "model", "features"),
    [
        ("<cpu mode='host-passthrough'/>", "host", {}),
        ("<cpu mode='maximum'/>", "max", {}),
        (
            "<cpu><model>EPYC</model><feature name='svm' policy='disable'/><feature name='lahf_lm'/></cpu>",
            "EPYC",
            {"svm": "off", "lahf-lm": "on"},
        ),
        (
            "<cpu mode='custom'><model>EPYC</model><feature name='a' policy='force'/>"
            "<feature name='b' policy='forbid'/></cpu>",
            "EPYC",
            {"a": "on", "b": "off"},
        ),
    ],
)
def test_processors_are_models_with_features(cpu: str, model: str, features: dict[str, str]) -> None:
    assert view(guest_of(domain(cpu)).cpu) == (model, features)


def test_a_host_model_is_said_to_be_worked_out_by_libvirt() -> None:
    guest = guest_of(domain("<cpu mode='host-model'/>"))
    assert guest.cpu.type == "host"
    assert [item.what for item in guest.not_carried] == [
        "<cpu mode='host-model'>: libvirt works the model out on the host"
    ]


def test_reboots_that_end_the_guest_are_an_action() -> None:
    guest = guest_of(domain("<on_reboot>destroy</on_reboot>"))
    action = guest.one("action")
    assert action is not None
    assert action.text("reboot") == "shutdown"
    assert guest_of(domain("<on_reboot>restart</on_reboot>")).one("action") is None


DISK = "<disk type='file' device='disk'>{inside}<source file='/a'/><target dev='vda' bus='virtio'/>{address}</disk>"


@pytest.mark.parametrize(
    ("arch", "machine", "address", "driver"),
    [
        ("x86_64", "q35", "", "virtio-blk-pci"),
        ("x86_64", "pc", "", "virtio-blk-pci"),
        ("s390x", "s390-ccw-virtio", "", "virtio-blk-ccw"),
        ("s390x", "s390-ccw-virtio", "<address type='pci'/>", "virtio-blk-pci"),
        ("ppc64", "pseries", "", "virtio-blk-pci"),
        ("aarch64", "virt", "", "virtio-blk-pci"),
        ("aarch64", "virt", "<address type='virtio-mmio'/>", "virtio-blk-device"),
    ],
)
def test_a_virtio_device_is_on_the_bus_of_its_machine_or_address(
    arch: str, machine: str, address: str, driver: str
) -> None:
    guest = guest_of(domain(devices=DISK.format(inside="", address=address), arch=arch, machine=machine))
    assert guest.by_id["virtio-disk0"].type == driver


def test_one_mmio_device_makes_the_others_mmio_too() -> None:
    rng = "<rng model='virtio'><backend model='builtin'/></rng>"
    disk = DISK.format(inside="", address="<address type='virtio-mmio'/>")
    guest = guest_of(domain(devices=disk + rng, arch="aarch64", machine="virt"))
    assert guest.by_id["rng0"].type == "virtio-rng-device"


def test_virtio_options_of_a_driver_are_typed_properties() -> None:
    driver = "<driver name='qemu' type='raw' iommu='on' ats='off' packed='on' page_per_vq='on'/>"
    disk = guest_of(domain(devices=DISK.format(inside=driver, address=""))).by_id["virtio-disk0"]
    assert disk.get("iommu_platform") is True
    assert disk.get("ats") is False
    assert disk.get("packed") is True
    assert disk.get("page-per-vq") is True


def test_a_domain_without_a_balloon_has_the_one_that_libvirt_adds() -> None:
    balloon = guest_of(domain()).by_id["balloon0"]
    assert (balloon.type, balloon.line, balloon.implied) == ("virtio-balloon-pci", 0, False)
    assert "balloon0" not in guest_of(domain(devices="<memballoon model='none'/>")).by_id
    assert "balloon0" not in guest_of(domain(arch="aarch64", machine="virt")).by_id


def test_channels_have_the_controller_that_libvirt_adds() -> None:
    channel = "<channel type='unix'><target type='virtio' name='x'/></channel>"
    guest = guest_of(domain(devices=channel, arch="s390x", machine="s390-ccw-virtio"))
    assert guest.by_id["virtio-serial0"].type == "virtio-serial-ccw"


def test_a_display_on_s390_has_the_virtio_graphics_that_libvirt_adds() -> None:
    guest = guest_of(domain(devices="<graphics type='vnc'/>", arch="s390x", machine="s390-ccw-virtio"))
    assert guest.by_id["video0"].type == "virtio-gpu-ccw"


def test_where_a_display_listens_is_part_of_the_guest() -> None:
    for inside, display in (
        ("<graphics type='vnc'/>", "127.0.0.1:0"),
        ("<graphics type='vnc' listen='0.0.0.0' port='5907'/>", "0.0.0.0:7"),
        ("<graphics type='vnc'><listen type='address' address='::'/></graphics>", "[::]:0"),
        ("<graphics type='vnc'><listen type='socket' socket='/s'/></graphics>", "unix:/s"),
    ):
        vnc = guest_of(domain(devices=inside)).one("vnc")
        assert vnc is not None
        assert vnc.type == display


def test_the_first_of_two_elements_counts_as_in_libvirt() -> None:
    two = "<source file='/first'/><source file='/second'/>"
    disk = f"<disk type='file'>{two}<target dev='vda' bus='virtio'/></disk>"
    assert guest_of(domain(devices=disk)).of("blockdev")[0].text("filename") == "/first"


def test_what_the_model_does_not_hold_is_named_with_its_line() -> None:
    guest = guest_of(
        domain(
            "<cputune><shares>1</shares></cputune>\n  <teapot/>", "<kettle hot='yes'/>\n    <disk odd='1'/>"
        )
    )
    said = {(item.line, item.what) for item in guest.not_carried}
    assert {
        (8, "<cputune> in <domain>"),
        (9, "<teapot> in <domain>"),
        (11, "<kettle> in <devices>"),
        (12, "<disk> odd='1'"),
    } <= said


def test_metadata_titles_and_names_are_nothing_left_out() -> None:
    guest = guest_of(
        domain("<title>t</title><description>d</description><metadata><x xmlns='u'/></metadata>")
    )
    assert guest.not_carried == ()


def test_arguments_behind_libvirts_back_are_parts_too() -> None:
    guest = document("kernel-rom").guest
    card = next(part for part in guest.devices if part.type == "virtio-net-pci")
    assert (card.text("iommu_platform"), card.line) == ("off", 27)


ARGUMENTS = "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>{}</qemu:commandline>"


def arguments(*values: str) -> str:
    return ARGUMENTS.format("".join(f"<qemu:arg value='{value}'/>" for value in values))


def test_an_object_that_arguments_bring_is_the_limitation_in_qemus_words() -> None:
    inside = arguments(
        "-object", "sev-snp-guest,id=s,policy=0x30000", "-machine", "confidential-guest-support=s"
    )
    guest = guest_of(domain(inside))
    assert guest.dialect == "qemu"
    assert guest.limitation is not None
    assert view(guest.limitation) == ("sev-snp-guest", {"id": "s", "policy": "0x30000"})


def test_an_argument_has_the_last_word_over_the_machine() -> None:
    guest = guest_of(domain(arguments("-machine", "mem-merge=off,smm=off")))
    assert guest.machine.text("mem-merge") == "off"
    assert guest.machine.type == "q35"


def test_an_override_has_the_last_word_over_a_device() -> None:
    inside = (
        "<qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:device alias='balloon0'>"
        "<qemu:frontend><qemu:property name='iommu_platform' type='bool' value='false'/></qemu:frontend>"
        "</qemu:device></qemu:override>"
    )
    assert guest_of(domain(inside)).by_id["balloon0"].get("iommu_platform") is False


def test_a_broken_argument_is_named_at_its_element() -> None:
    with pytest.raises(InputError) as error:
        guest_of(domain(arguments("-device", "{x")))
    assert error.value.where.startswith("d.xml:8 <qemu:commandline>")


def test_the_domain_in_a_status_file_is_read() -> None:
    inner = domain()
    guest = guest_of(f"<domstatus state='running'>{inner}</domstatus>")
    assert guest.name == "d"


def test_devices_stand_behind_the_bus_they_hang_on() -> None:
    for name in names():
        guest = document(name).guest
        seen = {"pcie.0", "pci.0", "ide.0", "ide.1"}
        for part in guest.devices:
            bus = part.text("bus")
            if bus is not None and part.line and not bus.startswith(("ide", "sata")):
                assert bus in seen or bus.rpartition(".")[0] in seen, (name, part)
            seen.add(part.id)


def test_express_devices_without_an_address_sit_on_root_ports() -> None:
    guest = guest_of(domain(devices=DISK.format(inside="", address="")))
    disk, balloon = guest.by_id["virtio-disk0"], guest.by_id["balloon0"]
    assert guest.by_id[disk.text("bus") or ""].type == "pcie-root-port"
    assert disk.text("bus") != balloon.text("bus")


def test_ids_are_unique() -> None:
    for name in names():
        ids = [(part.group, part.id) for part in document(name).guest.parts if part.id]
        assert len(ids) == len(set(ids)), name


def test_keys_are_unique() -> None:
    for name in names():
        keys = [part.key for part in document(name).guest.parts]
        assert len(keys) == len(set(keys)), name


@pytest.mark.parametrize(
    ("file", "xml"),
    [
        ("launch-security-sev-direct.x86_64.args", "sev-direct"),
        ("launch-security-s390-pv.s390x.args", "s390-pv"),
    ],
)
def test_a_launch_security_domain_has_libvirts_machine_and_virtio_flags(file: str, xml: str) -> None:
    path = SHARED / "libvirt" / file
    if not path.exists():
        pytest.skip("libvirt's own test data is not here")
    theirs = read_argv_text(path.read_bytes(), file).guest
    machine = theirs.machine.type
    direct = "<kernel>/vmlinuz</kernel><initrd>/initrd</initrd><cmdline>runme</cmdline><shim>/shim</shim>"
    disk = (
        "<disk type='block'><source dev='/dev/HostVG/QEMUGuest1'/><target dev='hda' bus='virtio'/>"
        "<address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0000'/></disk>"
        "<memballoon model='virtio'><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0001'/></memballoon>"
    )
    if xml == "sev-direct":
        text = domain("<launchSecurity type='sev'/>", "<memballoon model='none'/>", machine=machine)
        text = text.replace("</os>", f"{direct}</os>")
    else:
        text = domain("<launchSecurity type='s390-pv'/>", disk, arch="s390x", machine=machine)
    ours = guest_of(text)
    assert view(ours.machine) == view(theirs.machine)
    for option in ("kernel", "initrd", "append", "shim"):
        assert [part.type for part in ours.of(option)] == [part.type for part in theirs.of(option)]
    devices = [view(part) for part in theirs.devices if transport(part, theirs.arch)]
    assert [view(part) for part in ours.devices if transport(part, ours.arch)] == devices


@pytest.mark.parametrize("name", sorted(path.name for path in (SHARED / "domains").glob("*.xml")) or ["none"])
def test_domains_that_virt_install_wrote_are_read_and_come_back(name: str) -> None:
    path = SHARED / "domains" / name
    if not path.exists():
        pytest.skip("virt-install's test data is not here")
    data = path.read_bytes()
    read = read_xml(data, name)
    assert read.edited(()).text.encode() == data
    assert read.guest.limitation is not None


def test_a_usb_master_comes_before_its_companions_wherever_it_stands() -> None:
    def usb(model: str, inside: str = "") -> str:
        return f"<controller type='usb' index='0' model='ich9-{model}'>{inside}</controller>"

    companion, master = usb("uhci1", "<master startport='0'/>"), usb("ehci1")
    for order in (companion + master, master + companion):
        parts = guest_of(domain(devices=order)).parts
        assert [part.type for part in parts if "usb" in part.type] == ["ich9-usb-ehci1", "ich9-usb-uhci1"]
