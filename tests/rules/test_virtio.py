"""SQ3xx: each rule names the device, keeps silent where all is right, and its fix is exactly the edit wanted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, CCA, PLAIN, PV, SEV, SNP, case_of, codes, fixed, found

from sequester.findings import Severity
from sequester.rules.engine import check
from sequester.rules.virtio import RULES

NET = "-device virtio-net-pci,id=net0"
SIMULATED = {"engaged": False}


def what(text, **more):
    return codes(RULES, text, **more)


def mended(text, **more):
    return fixed(RULES, text, **more)


@pytest.mark.parametrize("guest", ALL)
def test_ordinary_devices_of_a_protected_guest_are_right_by_default(guest):
    device = "virtio-net-ccw" if guest is PV else "virtio-net-pci"
    assert what(f"{guest} -device {device} -device {device},iommu_platform=on") == []


@pytest.mark.parametrize(
    "device",
    [
        "-device virtio-net-pci,iommu_platform=off",
        "-device virtio-net-pci-transitional",
        "-device virtio-net-pci,disable-modern=on",
        "-device virtio-rng-device",
        "-device virtio-blk-pci,scsi=on",
        "-device virtio-gpu-pci,blob=on",
        "-chardev socket,id=c -device vhost-user-fs-pci,chardev=c",
        "-global virtio-pci.disable-legacy=off",
        "-device virtio-net-pci,bootindex=1",
    ],
)
def test_nothing_is_said_of_a_guest_without_limitation(device):
    assert what(f"{PLAIN} {device}", version=(11, 1)) == []


# SQ301


@pytest.mark.parametrize(
    ("guest", "device"),
    [
        (SEV, "virtio-blk-pci"),
        (SNP, "virtio-net-pci-non-transitional"),
        (SNP, "virtio-vga"),
        (SEV, "vhost-vsock-pci"),
        (PV, "virtio-blk-ccw"),
        (PV, "virtio-net"),
        (CCA, "virtio-scsi-pci"),
    ],
)
@pytest.mark.parametrize("off", ["off", "false", "no", "maybe"])
def test_iommu_platform_off_is_an_error_that_names_the_device(guest, device, off):
    text = f"{guest} -device {device},id=d0,iommu_platform={off}"
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity, finding.part.id) == ("SQ301", Severity.ERROR, "d0")
    assert f"device 'd0' ({device}) has iommu_platform={off}" in finding.found
    assert mended(text) == f"{guest} -device {device},id=d0,iommu_platform=on"


def test_the_edit_of_a_device_in_json_is_a_json_boolean():
    text = SEV + """ -device '{"driver":"virtio-blk-pci","id":"d0","iommu_platform":false}'"""
    assert mended(text) == text.replace("false", "true")


def test_a_value_given_by_set_is_mended_where_it_is_given():
    text = f"{SEV} {NET} -set device.net0.iommu_platform=off"
    assert mended(text) == f"{SEV} {NET} -set device.net0.iommu_platform=on"


@pytest.mark.parametrize("kind", ["virtio-net-pci", "virtio-pci", "virtio-device", "virtio-net-device"])
def test_a_global_that_turns_it_off_is_named_with_the_device_that_it_reaches(kind):
    text = f"{SEV} -global {kind}.iommu_platform=off {NET}"
    (finding,) = found(RULES, text)
    assert finding.found == f"-global {kind}.iommu_platform=off reaches device 'net0' (virtio-net-pci)"
    assert mended(text) == f"{SEV} -global {kind}.iommu_platform=on {NET}"


@pytest.mark.parametrize("kind", ["virtio-blk-pci", "virtio-rng-device", "virtio-net-ccw", "e1000"])
def test_a_global_for_other_devices_is_none_of_this_ones_business(kind):
    assert what(f"{SEV} -global {kind}.iommu_platform=off {NET}") == []


def test_what_the_device_says_wins_over_any_global():
    assert what(f"{SEV} -global virtio-device.iommu_platform=off {NET},iommu_platform=on") == []


def test_a_global_for_the_proxy_wins_over_a_later_one_for_the_device_behind_it():
    assert (
        what(f"{SEV} -global virtio-pci.iommu_platform=on -global virtio-device.iommu_platform=off {NET}")
        == []
    )
    assert what(
        f"{SEV} -global virtio-pci.iommu_platform=off -global virtio-device.iommu_platform=on {NET}"
    ) == ["SQ301"]


def test_of_two_globals_for_the_same_the_later_wins():
    assert (
        what(f"{SEV} -global virtio-pci.iommu_platform=off -global virtio-pci.iommu_platform=on {NET}") == []
    )


def test_one_global_is_one_finding_however_many_devices_it_reaches():
    (finding,) = found(RULES, f"{SEV} -global virtio-device.iommu_platform=off {NET} {NET}1 {NET}2")
    assert finding.found.endswith("reaches device 'net0' (virtio-net-pci) and 2 more")


def test_a_qemu_before_6_0_gives_no_default_so_the_flag_must_be_there():
    text = f"{SEV} {NET}"
    assert what(text, version=(5, 2)) == ["SQ301", "SQ302"]
    assert what(text, version=(6, 0)) == []
    assert mended(text, version=(5, 2)) == f"{SEV} {NET},iommu_platform=on,disable-legacy=on"


def test_a_simulation_has_no_machine_property_so_the_flag_must_be_there():
    assert mended(f"{SNP} {NET}", **SIMULATED) == f"{SNP} {NET},iommu_platform=on,disable-legacy=on"
    assert (
        mended(f"{PV} -device virtio-net-ccw", **SIMULATED)
        == f"{PV} -device virtio-net-ccw,iommu_platform=on"
    )


@pytest.mark.parametrize(
    ("options", "device"),
    [
        ("-drive if=virtio,file=f", "virtio-blk-pci"),
        ("-nic user,model=virtio-net-pci", "virtio-net-pci"),
        ("-virtfs local,path=/,mount_tag=t,security_model=none", "virtio-9p-pci"),
        ("-vga virtio", "virtio-vga"),
    ],
)
def test_devices_that_no_option_declares_get_theirs_by_global(options, device):
    text = f"{SEV} {options}"
    assert what(text) == []
    assert mended(text, **SIMULATED) == (
        f"{text} -global {device}.iommu_platform=on -global {device}.disable-legacy=on"
    )


def test_the_network_card_that_qemu_adds_by_itself_counts():
    text = PV.replace(" -nodefaults", "")
    assert what(text) == []
    assert mended(text, **SIMULATED) == f"{text} -global virtio-net-ccw.iommu_platform=on"


# SQ302


@pytest.mark.parametrize("value", ["off", "false", "auto"])
def test_an_explicit_legacy_interface_is_an_error(value):
    text = f"{SEV} {NET},disable-legacy={value}"
    assert what(text) == ["SQ302"]
    assert mended(text) == f"{SEV} {NET},disable-legacy=on"


def test_the_pair_that_qemu_takes_without_a_word_is_both_errors():
    text = f"{SEV} {NET},disable-legacy=off,iommu_platform=off"
    assert what(text) == ["SQ301", "SQ302"]
    assert mended(text) == f"{SEV} {NET},disable-legacy=on,iommu_platform=on"


def test_auto_is_right_below_an_express_port_and_off_is_not():
    port = f"{SEV} -device pcie-root-port,id=p1,chassis=1"
    assert what(f"{port} {NET},bus=p1,disable-legacy=auto") == []
    assert what(f"{port} {NET},bus=p1,disable-legacy=off") == ["SQ302"]


def test_below_an_express_port_nothing_need_be_said_even_without_defaults():
    text = f"{SEV} -device pcie-root-port,id=p1,chassis=1 {NET},bus=p1"
    assert mended(text, **SIMULATED) == f"{text},iommu_platform=on"


def test_a_transitional_model_becomes_the_non_transitional_one():
    text = f"{SEV} -device virtio-scsi-pci-transitional,id=s"
    assert what(text) == ["SQ302"]
    assert mended(text) == f"{SEV} -device virtio-scsi-pci-non-transitional,id=s"


def test_a_non_transitional_model_has_no_legacy_to_disable():
    text = f"{SEV} -device virtio-net-pci-non-transitional"
    assert what(text) == []
    assert mended(text, **SIMULATED) == f"{text},iommu_platform=on"


@pytest.mark.parametrize("kind", ["virtio-pci", "virtio-net-pci"])
def test_a_global_for_legacy_goes(kind):
    text = f"{SEV} -global {kind}.disable-legacy=off {NET}"
    assert what(text) == ["SQ302"]
    assert mended(text) == f"{SEV} {NET}"
    assert mended(text, **SIMULATED) == f"{SEV} {NET},iommu_platform=on,disable-legacy=on"


# SQ303


def test_a_device_without_virtio_1_is_an_error():
    text = f"{SEV} {NET},disable-modern=on"
    assert what(text) == ["SQ303"]
    assert mended(text) == f"{SEV} {NET},disable-modern=off"
    assert what(f"{SEV} {NET},disable-modern=false") == []


def test_a_global_against_virtio_1_goes():
    assert mended(f"{SEV} -global virtio-net-pci.disable-modern=on {NET}") == f"{SEV} {NET}"


@pytest.mark.parametrize(
    ("machine", "wrong"),
    [("pc-i440fx-2.6", True), ("pc-q35-2.4", True), ("pc-i440fx-2.7", False), ("pc", False)],
)
def test_machines_up_to_2_6_have_no_virtio_1_unless_it_is_asked_for(machine, wrong):
    text = SEV.replace("q35", machine) + f" {NET}"
    assert what(text) == (["SQ303"] if wrong else [])
    assert mended(text) == (f"{text},disable-modern=off" if wrong else text)
    assert what(SEV.replace("q35", machine) + " -device virtio-net-pci-non-transitional") == []


# SQ304


@pytest.mark.parametrize("machine", ["microvm", "virt"])
def test_virtio_mmio_is_taken_out_of_its_legacy_mode(machine):
    guest = SEV.replace("q35", "microvm") if machine == "microvm" else CCA
    text = f"{guest} -device virtio-rng-device,id=r -device virtio-blk-device"
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity, finding.part.id) == ("SQ304", Severity.ERROR, "r")
    assert "device 'r' (virtio-rng-device) and 1 more are on it" in finding.found
    assert mended(text) == f"{text} -global virtio-mmio.force-legacy=off"


@pytest.mark.parametrize("off", ["off", "false"])
def test_virtio_mmio_that_is_modern_already_is_right(off):
    assert what(f"{SEV} -global virtio-mmio.force-legacy={off} -device virtio-rng-device") == []


def test_virtio_mmio_that_is_told_to_be_legacy_is_told_otherwise():
    text = f"{SEV} -global virtio-mmio.force-legacy=on -device virtio-rng-device"
    assert mended(text) == f"{SEV} -global virtio-mmio.force-legacy=off -device virtio-rng-device"


# SQ305


def test_a_channel_device_held_at_revision_0_is_an_error():
    text = f"{PV} -device virtio-blk-ccw,id=d,max_revision=0"
    assert what(text) == ["SQ305"]
    assert mended(text) == f"{PV} -device virtio-blk-ccw,id=d,max_revision=2"
    assert what(f"{PV} -device virtio-blk-ccw,max_revision=1") == []


@pytest.mark.parametrize(("version", "wrong"), [("2.4", True), ("2.5", False), ("9.0", False)])
def test_the_oldest_machine_has_revision_0_by_default(version, wrong):
    text = PV.replace("s390-ccw-virtio", f"s390-ccw-virtio-{version}") + " -device virtio-blk-ccw"
    assert what(text) == (["SQ305"] if wrong else [])
    assert mended(text) == (f"{text},max_revision=2" if wrong else text)


# SQ306


def test_virtiofsd_behind_a_pci_device_is_an_error_without_a_fix():
    text = f"{SNP} -chardev socket,id=c,path=s -device vhost-user-fs-pci,id=fs,chardev=c,tag=t"
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity, finding.fixable) == ("SQ306", Severity.ERROR, False)
    assert "device 'fs' (vhost-user-fs-pci): virtiofsd does not offer" in finding.found


def test_other_backends_may_offer_the_feature_and_are_a_warning():
    (finding,) = found(RULES, f"{SNP} -device vhost-user-blk-pci,chardev=c")
    assert (finding.code, finding.severity) == ("SQ306", Severity.WARNING)


def test_a_network_card_is_asked_for_its_backend():
    text = f"{SNP} -netdev vhost-user,id=n,chardev=c {NET},netdev=n"
    assert what(text) == ["SQ306"]
    assert what(f"{SNP} -netdev tap,id=n,vhost=on {NET},netdev=n") == []


@pytest.mark.parametrize("kind", ["rng", "i2c", "input"])
def test_some_are_refused_by_later_releases_only(kind):
    text = f"{SEV} -device vhost-user-{kind}-pci,chardev=c"
    assert what(text, version=(7, 2)) == []
    assert what(text, version=(10, 0)) == ["SQ306"]


@pytest.mark.parametrize(
    "text",
    [
        f"{PV} -device vhost-user-fs-ccw,chardev=c",
        f"{SEV} -global virtio-mmio.force-legacy=off -device vhost-user-fs-device,chardev=c",
        f"{SEV} -device vhost-user-scsi-pci,chardev=c",
        f"{SEV} -device vhost-user-vsock-pci,chardev=c",
    ],
)
def test_where_qemu_does_not_ask_the_backend_nothing_is_said(text):
    assert what(text, version=(11, 1)) == []


# SQ307


@pytest.mark.parametrize("name", ["disable-legacy", "disable-modern"])
def test_a_global_for_all_of_virtio_pci_no_longer_starts(name):
    text = f"{SEV} -global virtio-pci.{name}=on {NET},disable-legacy=on,disable-modern=off"
    assert what(text, version=(7, 2)) == []
    assert what(text, version=(10, 0)) == ["SQ307"]
    assert mended(text, version=(10, 0)) == text.replace(f" -global virtio-pci.{name}=on", "")


def test_a_global_that_is_both_wrong_and_refused_goes_once():
    text = f"{SEV} -global virtio-pci.disable-legacy=off {NET}"
    assert what(text, version=(11, 1)) == ["SQ302", "SQ307"]
    assert mended(text, version=(11, 1)) == f"{SEV} {NET}"


def test_a_global_of_a_guest_without_pci_cards_is_taken():
    assert what(f"{PV} -global virtio-pci.disable-legacy=on", version=(11, 1)) == []


# SQ308, SQ309


def test_scsi_commands_through_a_virtio_disk_are_an_error():
    text = f"{SEV} -device virtio-blk-pci,drive=d,scsi=on"
    assert what(text) == ["SQ308"]
    assert mended(text) == f"{SEV} -device virtio-blk-pci,drive=d"
    assert what(f"{SEV} -device virtio-blk-pci,drive=d,scsi=off") == []


def test_blob_resources_are_a_warning():
    assert what(f"{SEV} -device virtio-gpu-pci,blob=on") == ["SQ309"]
    assert what(f"{SEV} -device virtio-vga,blob=true") == ["SQ309"]
    assert what(f"{SEV} -device virtio-gpu-pci,blob=off") == []


# SQ310


def test_a_guest_that_can_switch_over_by_itself_gets_a_note_for_each_device_that_would_fail():
    text = "qemu-system-s390x -nodefaults -M s390-ccw-virtio -cpu gen15a,unpack=on"
    (finding,) = found(RULES, f"{text} -device virtio-net-ccw,id=n -device virtio-rng-ccw,iommu_platform=on")
    assert (finding.code, finding.severity, finding.part.id) == ("SQ310", Severity.NOTE, "n")


@pytest.mark.parametrize("cpu", ["host", "gen15a", "gen15a,unpack=off", "max"])
def test_a_guest_that_may_not_be_able_to_switch_over_gets_nothing(cpu):
    assert what(f"qemu-system-s390x -nodefaults -M s390-ccw-virtio -cpu {cpu} -device virtio-net-ccw") == []


def test_with_a_limitation_the_default_is_there_and_the_note_is_not():
    assert what(f"{PV} -cpu gen15a,unpack=on -device virtio-net-ccw") == []


# SQ311


def test_network_boot_by_an_option_rom_is_a_note():
    (finding,) = found(RULES, f"{SEV} {NET},bootindex=1")
    assert (finding.code, finding.severity) == ("SQ311", Severity.NOTE)


@pytest.mark.parametrize(
    "device",
    [
        "virtio-net-pci,bootindex=1,romfile=",
        "virtio-net-pci,bootindex=1,romfile=own.rom",
        "virtio-net-pci,bootindex=1,rombar=0",
        "virtio-net-pci",
        "virtio-blk-pci,bootindex=1",
    ],
)
def test_a_card_that_boots_nothing_or_has_no_rom_gets_no_note(device):
    assert what(f"{SEV} -device {device}") == []


def test_channel_machines_know_no_option_rom():
    assert what(f"{PV} -device virtio-net-ccw,bootindex=1") == []


# all together

DEVICES = st.sampled_from(
    [
        "virtio-net-pci",
        "virtio-net-pci-transitional",
        "virtio-blk-pci-non-transitional",
        "virtio-scsi",
        "virtio-rng-ccw",
        "virtio-rng-device",
        "virtio-vga",
        "vhost-vsock-pci",
        "vhost-user-fs-pci",
        "virtio-mem-pci",
        "e1000e",
    ]
)
PROPERTIES = st.lists(
    st.sampled_from(
        [
            "iommu_platform=off",
            "iommu_platform=on",
            "disable-legacy=off",
            "disable-legacy=auto",
            "disable-modern=on",
            "scsi=on",
            "max_revision=0",
            "bus=p1",
        ]
    ),
    max_size=3,
    unique_by=lambda said: said.split("=")[0],
)
OPTIONS = st.sampled_from(
    [
        "-global virtio-pci.disable-legacy=off",
        "-global virtio-device.iommu_platform=off",
        "-global virtio-net-pci.disable-modern=on",
        "-global virtio-mmio.force-legacy=on",
        "-drive if=virtio,file=f",
        "-nic user,model=virtio",
        "-device pcie-root-port,id=p1",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ALL),
    st.lists(st.tuples(DEVICES, PROPERTIES), max_size=5),
    st.lists(OPTIONS, max_size=3, unique=True),
    st.sampled_from([None, (5, 2), (7, 2), (11, 1)]),
    st.booleans(),
)
def test_fixes_settle_and_the_edited_text_holds_whatever_the_devices(
    guest, devices, options, version, engaged
):
    said = [f"-device {','.join((driver, *properties))}" for driver, properties in devices]
    text = " ".join((guest, *options, *said))
    after = mended(text, version=version, engaged=engaged)
    assert mended(after, version=version, engaged=engaged) == after
    assert not {
        finding.code for finding in check(case_of(after, version=version, engaged=engaged), RULES)
    } & {
        "SQ301",
        "SQ302",
        "SQ303",
        "SQ304",
        "SQ305",
    }
