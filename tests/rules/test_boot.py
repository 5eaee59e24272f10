"""SQ4xx: what a guest boots from fits its platform, is there, and is measured by somebody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, CCA, PEF, PLAIN, PV, SEV, SEV_ES, SNP, TDX, case_of, codes, fixed, found

from sequester.findings import Case, Firmware, Severity
from sequester.formats.libvirt_read import read_xml
from sequester.guest import NotCarried
from sequester.guest.guest import complete
from sequester.guest.part import Part
from sequester.host.emulator import FirmwareImage
from sequester.host.facts import HostFacts
from sequester.platforms.registry import resolve
from sequester.rules.boot import RULES
from sequester.rules.engine import apply, check

X86 = (SEV, SEV_ES, SNP, TDX)
AMDSEV = frozenset({"code", "sev-es", "sev-secret", "sev-hashes", "sev-snp", "snp-hashes"})
FULL = Firmware("/fw", 4 << 20, AMDSEV | {"tdx"})
PLAIN_OVMF = Firmware("/fw", 4 << 20, frozenset({"code", "variables"}))
BOOT = (
    "-bios /fw",
    "-drive if=pflash,file=/fw,readonly=on,format=raw",
    "-drive if=pflash,file=/vars,format=raw,unit=1",
    "-kernel /k",
    "-initrd /i",
    "-append quiet",
    "-shim /s",
    "-global driver=cfi.pflash01,property=secure,value=on",
    "-fw_cfg name=opt/com.coreos/config,file=/ign",
    "-smbios type=11,value=io.systemd.credential:a=b",
    "-acpitable file=/t",
    "-option-rom /r",
    "-dtb /d",
)


def what(text, **more):
    return codes(RULES, text, **more)


def read(*images):
    return {image.path: image for image in images}


@pytest.mark.parametrize("option", BOOT)
def test_nothing_is_said_of_a_guest_without_limitation(option):
    assert what(f"{PLAIN} {option}", firmware=read(PLAIN_OVMF)) == []


@pytest.mark.parametrize("guest", X86)
def test_a_guest_with_its_own_firmware_has_no_finding(guest):
    assert what(f"{guest} -bios /fw -smbios type=1,uuid=x -boot menu=on") == []
    assert what(f"{guest} -bios /fw", firmware=read(FULL)) == []


@pytest.mark.parametrize("guest", [PV, PEF, CCA])
def test_a_guest_that_needs_no_firmware_of_its_own_has_no_finding(guest):
    assert what(f"{guest} -kernel /k -initrd /i -append quiet") == []


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(ALL),
    st.lists(st.sampled_from(BOOT), max_size=6, unique=True),
    st.sampled_from([(), (FULL,), (PLAIN_OVMF,)]),
)
def test_every_fix_settles_and_is_not_wanted_twice(guest, options, images):
    fixed(RULES, " ".join([guest, *options]), firmware=read(*images))


# SQ401


@pytest.mark.parametrize("guest", X86)
def test_a_guest_that_takes_qemus_default_firmware_cannot_start(guest):
    (finding,) = found(RULES, guest)
    assert (finding.code, finding.severity, finding.fixable) == ("SQ401", Severity.ERROR, False)


def image(filename, features, device="memory", **more):
    return FirmwareImage(
        "/d", frozenset(features), device, filename, frozenset({"x86_64"}), ("q35",), True, **more
    )


def test_firmware_that_the_host_has_for_the_platform_is_taken():
    images = (
        image("/secure.fd", {"amd-sev", "amd-sev-snp", "requires-smm"}, "flash"),
        image("/old.fd", {"amd-sev-snp"}, masked_by="/e"),
        image("/sev.fd", {"amd-sev"}),
        image("/snp.fd", {"amd-sev", "amd-sev-es", "amd-sev-snp"}),
    )
    host = HostFacts(firmware=images)
    assert fixed(RULES, SNP, host=host) == f"{SNP} -bios /snp.fd"
    assert fixed(RULES, SEV, host=host) == f"{SEV} -bios /sev.fd"
    assert fixed(RULES, TDX, host=host) == TDX


def test_firmware_that_libvirt_chooses_is_libvirts_matter():
    parts = [Part("machine", "q35", {}, 0), Part("limitation", "sev-snp", {"policy": "0x30000"}, 1, "lsec0")]
    left = [NotCarried("<os firmware='efi'>: libvirt chooses the image on the host")]
    for not_carried, expected in ((left, []), ([], ["SQ401"])):
        guest = complete("x86_64", "", parts, "libvirt", not_carried)
        assert [f.code for f in check(Case(guest, resolve(guest)), RULES)] == expected


# SQ402


FLASH = (
    "-drive if=pflash,file=/fw,readonly=on,format=raw",
    "-pflash /fw",
    "-machine pflash0=c -blockdev driver=file,node-name=f,filename=/fw "
    "-blockdev driver=raw,node-name=c,file=f,read-only=on",
)


@pytest.mark.parametrize("flash", FLASH)
@pytest.mark.parametrize("guest", [SNP, TDX])
def test_firmware_in_flash_is_an_error_for_a_platform_that_takes_a_rom_alone(guest, flash):
    (finding,) = found(RULES, f"{guest} {flash}")
    assert (finding.code, finding.severity, finding.fixable) == ("SQ402", Severity.ERROR, False)
    assert "/fw" in finding.found


@pytest.mark.parametrize("flash", FLASH)
@pytest.mark.parametrize("guest", [SEV, SEV_ES])
def test_firmware_in_flash_is_right_elsewhere(guest, flash):
    assert what(f"{guest} {flash}") == []


@pytest.mark.parametrize("flash", FLASH)
def test_an_image_that_is_known_to_work_as_a_rom_becomes_one(flash):
    text = fixed(RULES, f"{SNP} -S {flash}", firmware=read(FULL))
    assert text.endswith("-bios /fw")
    assert "pflash" not in text
    assert "blockdev" not in text
    assert what(text, firmware=read(FULL)) == []


@pytest.mark.parametrize(
    "about",
    [
        Firmware("/fw", (4 << 20) - 0x84000, AMDSEV),
        Firmware("/fw", 4 << 20, AMDSEV - {"sev-snp"}),
        Firmware("/fw", 0, frozenset(), "Permission denied"),
    ],
)
def test_an_image_that_is_not_known_to_work_as_a_rom_stays_where_it_is(about):
    text = f"{SNP} {FLASH[0]}"
    assert fixed(RULES, text, firmware=read(about)) == text


def test_a_guest_with_variables_beside_its_flash_is_not_changed():
    text = f"{SNP} {FLASH[0]} -drive if=pflash,unit=1,file=/vars,format=raw"
    assert fixed(RULES, text, firmware=read(FULL)) == text


@pytest.mark.parametrize(("guest", "severity"), [(SNP, Severity.ERROR), (SEV, Severity.WARNING)])
def test_a_rom_beside_flash_is_ignored_by_qemu_and_said_to_be(guest, severity):
    (finding, *_) = [f for f in found(RULES, f"{guest} -bios /rom {FLASH[0]}") if "/rom" in f.found]
    assert (finding.code, finding.severity) == ("SQ402", severity)


def test_flash_beside_an_igvm_file_is_refused():
    text = f"{SNP} -machine igvm-cfg=i -object igvm-cfg,id=i,file=/i"
    assert what(text) == []
    assert what(f"{text} {FLASH[0]}") == ["SQ402"]


# SQ403, SQ404


@pytest.mark.parametrize(
    ("guest", "features", "missing"),
    [
        (SEV, set(), None),
        (SEV_ES, {"sev-secret"}, "sev-es"),
        (SEV_ES, {"sev-es"}, None),
        (SNP, {"sev-es"}, "sev-snp"),
        (SNP, {"sev-snp"}, None),
        (TDX, {"sev-snp"}, "tdx"),
        (TDX, {"tdx"}, None),
    ],
)
def test_an_image_needs_the_metadata_of_the_platform(guest, features, missing):
    listed = found(RULES, f"{guest} -bios /fw", firmware=read(Firmware("/fw", 4 << 20, frozenset(features))))
    assert [f.code for f in listed] == (["SQ403"] if missing else [])
    assert all(missing in f.found for f in listed)


def test_nothing_is_said_of_an_image_that_could_not_be_read():
    unread = Firmware("/fw", 0, frozenset(), "Permission denied")
    assert what(f"{TDX} -bios /fw -kernel /k", firmware=read(unread)) == []


def test_an_igvm_file_is_for_the_platforms_that_it_names():
    text = f"{SNP} -machine igvm-cfg=i -object igvm-cfg,id=i,file=/fw"
    assert what(text, firmware=read(Firmware("/fw", 9, frozenset({"igvm", "igvm-sev-snp"})))) == []
    assert what(text, firmware=read(Firmware("/fw", 9, frozenset({"igvm", "igvm-tdx"})))) == ["SQ403"]


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (Firmware("/fw", 3653632, AMDSEV), "no multiple of 64 KiB"),
        (Firmware("/fw", 1 << 20, frozenset({"qcow2"}), "x"), "qcow2"),
        (Firmware("/fw", 1 << 20, frozenset({"igvm", "igvm-sev-snp"})), "IGVM"),
    ],
)
def test_a_file_that_cannot_be_a_rom_is_an_error(about, said):
    listed = found(RULES, f"{SNP} -bios /fw", "SQ404", firmware=read(about))
    assert [f.severity for f in listed] == [Severity.ERROR]
    assert said in listed[0].found


def test_half_an_image_is_right_in_flash():
    assert what(f"{SEV} {FLASH[0]}", firmware=read(Firmware("/fw", 3653632, AMDSEV))) == []


# SQ405, SQ406, SQ407


VARIABLES = "-drive if=pflash,file=/fw,readonly=on,format=raw -drive if=pflash,file=/vars,format=raw"
SECURE = ("-global driver=cfi.pflash01,property=secure,value={}", "-global cfi.pflash01.secure={}")


@pytest.mark.parametrize("option", SECURE)
def test_flash_for_smm_is_an_error_where_there_is_no_smm(option):
    assert what(f"{SEV_ES} {FLASH[0]} {option.format('on')}") == ["SQ405"]
    assert what(f"{SEV} {FLASH[0]} {option.format('on')}") == []
    assert what(f"{SEV_ES} {FLASH[0]} {option.format('off')}") == []


def test_files_that_are_not_there_are_named():
    text = f"{SEV} -bios /fw -kernel /k -initrd /i"
    absent = frozenset({"/fw", "/k", "/i"})
    listed = found(RULES, text, "SQ406", absent=absent)
    assert [f.found for f in listed] == [f"there is no file {path}" for path in ("/fw", "/k", "/i")]
    assert found(RULES, text, "SQ406") == []
    assert found(RULES, f"{SEV} {VARIABLES}", "SQ406", absent=frozenset({"/vars"})) == []


@pytest.mark.parametrize("guest", [SEV, SEV_ES])
def test_a_store_of_variables_is_a_warning(guest):
    (finding,) = found(RULES, f"{guest} {VARIABLES}")
    assert (finding.code, finding.severity) == ("SQ407", Severity.WARNING)
    assert "/vars" in finding.found


def test_variables_on_the_host_are_a_warning():
    assert what(f"{SEV} -bios /fw -device uefi-vars-x64,jsonfile=/v") == ["SQ407"]


def test_one_image_with_code_and_variables_is_right_when_it_is_read_only():
    whole = Firmware("/fw", 4 << 20, frozenset({"code", "variables"}))
    assert what(f"{SEV} -drive if=pflash,file=/fw,readonly=on", firmware=read(whole)) == []
    assert what(f"{SEV} -drive if=pflash,file=/fw", firmware=read(whole)) == ["SQ407"]


# SQ408, SQ409, SQ411


def hashed(guest):
    return guest.replace("id=s0", "id=s0,kernel-hashes=on")


@pytest.mark.parametrize(
    ("guest", "features", "missing"),
    [
        (SEV, {"sev-hashes"}, None),
        (SEV, {"code"}, "sev-hashes"),
        (SNP, {"sev-snp", "sev-hashes", "snp-hashes"}, None),
        (SNP, {"sev-snp", "sev-hashes"}, "snp-hashes"),
    ],
)
def test_kernel_hashes_need_room_in_the_firmware(guest, features, missing):
    about = Firmware("/fw", 4 << 20, frozenset(features))
    listed = found(RULES, f"{hashed(guest)} -bios /fw -kernel /k", firmware=read(about))
    assert [f.code for f in listed] == (["SQ408"] if missing else [])
    assert all(missing in f.found for f in listed)


@pytest.mark.parametrize("guest", [SEV, SEV_ES, SNP])
def test_a_kernel_without_hashes_is_a_warning_while_the_firmware_is_not_known(guest):
    (finding,) = found(RULES, f"{guest} -bios /fw -kernel /k")
    assert (finding.code, finding.severity, finding.fixable) == ("SQ409", Severity.WARNING, False)


@pytest.mark.parametrize("guest", [SEV, SEV_ES, SNP])
def test_a_kernel_without_hashes_is_an_error_with_firmware_that_asks_for_them_and_they_are_turned_on(guest):
    text = f"{guest} -bios /fw -kernel /k"
    (finding,) = found(RULES, text, firmware=read(FULL))
    assert (finding.code, finding.severity) == ("SQ409", Severity.ERROR)
    assert fixed(RULES, text, firmware=read(FULL)).count("kernel-hashes=on") == 1


def test_hashes_are_turned_on_in_the_limitations_own_dialect():
    parts = [
        Part("machine", "q35", {}, 0),
        Part("limitation", "sev", {"policy": "7"}, 1, "lsec0"),
        Part("bios", "/fw", {}, 2),
        Part("kernel", "/k", {}, 3),
    ]
    guest = complete("x86_64", "", parts, "libvirt")
    case, _ = apply(Case(guest, resolve(guest), firmware=read(FULL)), RULES)
    assert case.guest.limitation.properties["@kernelHashes"] == "yes"
    assert case.limitation.value("kernel-hashes") is True


def test_a_kernel_in_a_trust_domain_is_measured_by_its_firmware():
    assert what(f"{TDX} -bios /fw -kernel /k", firmware=read(FULL)) == []


def test_hashes_of_no_kernel_are_a_note():
    (finding,) = found(RULES, f"{hashed(SEV)} -bios /fw")
    assert (finding.code, finding.severity, finding.fixable) == ("SQ411", Severity.NOTE, False)


def test_hashes_of_no_kernel_are_an_error_where_qemu_dies_of_them_and_stay_as_they_were_asked_for():
    text = f"{hashed(SNP)} -bios /fw"
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity) == ("SQ411", Severity.ERROR)
    assert fixed(RULES, text) == text


# SQ410


def test_a_kernel_that_cannot_switch_over_is_a_warning():
    text = f"{PV} -kernel /k -initrd /i -append quiet"
    ordinary = read(Firmware("/k", 9 << 20))
    assert what(text, firmware=ordinary) == ["SQ410"]
    assert found(RULES, text, firmware=ordinary)[0].severity is Severity.WARNING


def test_what_a_protected_image_ignores_is_a_note():
    protected = read(Firmware("/k", 9 << 20, frozenset({"secure-execution"})))
    listed = found(RULES, f"{PV} -kernel /k -initrd /i -append quiet", firmware=protected)
    assert [(f.code, f.severity) for f in listed] == [("SQ410", Severity.NOTE)] * 2
    assert what(f"{PV} -kernel /k", firmware=protected) == []


def test_nothing_is_said_of_a_kernel_that_could_not_be_read():
    assert what(f"{PV} -kernel /k", firmware=read(Firmware("/k", 0, frozenset(), "gone"))) == []


# SQ412 to SQ415


@pytest.mark.parametrize("option", ["-shim /s", "-machine shim=/s", "-fw_cfg name=etc/boot/shim,file=/s"])
@pytest.mark.parametrize("guest", [SEV, SNP])
def test_a_shim_goes_past_the_hashes_of_the_kernel(guest, option):
    (finding,) = found(RULES, f"{hashed(guest)} -bios /fw -kernel /k {option}")
    assert (finding.code, finding.severity) == ("SQ412", Severity.WARNING)


def test_a_shim_is_measured_where_the_firmware_measures_what_it_starts():
    assert what(f"{TDX} -bios /fw -kernel /k -shim /s") == []


@pytest.mark.parametrize(
    "option",
    [
        "-fw_cfg name=opt/com.coreos/config,file=/i.ign",
        "-fw_cfg opt/com.coreos/config,file=/i.ign",
        "-fw_cfg name=opt/io.systemd.credentials/a,string=b",
        "-smbios type=11,value=io.systemd.credential:a=b",
        "-smbios type=11,value=io.systemd.stub.kernel-cmdline-extra=x",
    ],
)
def test_a_configuration_from_the_host_is_a_warning(option):
    (finding,) = found(RULES, f"{SNP} -bios /fw {option}")
    assert (finding.code, finding.severity) == ("SQ413", Severity.WARNING)


def test_smbios_and_acpi_tables_are_right_where_they_are_measured():
    text = "-smbios type=11,value=io.systemd.credential:a=b -acpitable file=/t -smbios file=/t"
    assert what(f"{TDX} -bios /fw {text}") == []
    assert what(f"{TDX} -bios /fw -fw_cfg name=opt/com.coreos/config,file=/i") == ["SQ413"]


@pytest.mark.parametrize(
    "option",
    [
        "-acpitable file=/t",
        "-smbios file=/t",
        "-dtb /d",
        "-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=262144",
        "-fw_cfg name=etc/boot-menu-wait,string=1",
    ],
)
def test_tables_and_hints_of_the_host_are_a_note(option):
    (finding,) = found(RULES, f"{SNP} -bios /fw {option}")
    assert (finding.code, finding.severity) == ("SQ414", Severity.NOTE)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-option-rom /r", ["SQ415"]),
        ("-device virtio-net-pci,romfile=/r", ["SQ415"]),
        ("-device virtio-net-pci,romfile=", []),
        ("-device virtio-net-pci", []),
        ("-fw_cfg name=opt/org.example/mine,string=x", []),
        ("-smbios type=11,value=hello", []),
    ],
)
def test_only_a_rom_that_is_named_is_a_note(option, expected):
    assert what(f"{SNP} -bios /fw {option}") == expected


def test_a_guest_whose_platform_is_not_known_is_left_alone():
    text = SEV.replace("sev-guest", "other-guest") + " -kernel /k -shim /s"
    assert case_of(text).limitation is None
    assert what(text, firmware=read(PLAIN_OVMF)) == []


def test_a_domain_is_told_of_its_firmware_in_libvirts_words():
    domain = read_xml(
        b"<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        b"<launchSecurity type='sev-snp'><policy>0x30000</policy></launchSecurity></domain>",
        "snp.xml",
    )
    (finding,) = check(Case(domain.guest, resolve(domain.guest)), RULES)
    assert (finding.code, finding.remedy) == (
        "SQ401",
        "give an OVMF image built for AMD SEV-SNP with <loader type='rom'>",
    )
