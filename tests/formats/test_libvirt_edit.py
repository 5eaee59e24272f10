"""Changes reach the element that says the thing, nothing else moves, and what cannot be said is named."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libvirt_domains import document, domain, guest_of, names, view, views

from sequester.formats.libvirt_read import XmlDocument, read_xml
from sequester.guest import Add, Change, Part, Remove, Retype, Set, Unset
from sequester.guest.virtio import transport


def read(text: str) -> XmlDocument:
    return read_xml(text.encode(), "d.xml")


def diff(before: str, after: str) -> list[str]:
    """The lines that went and those that came, without their indentation."""
    lines = [
        f"{line[0]}{line[1:].strip()}"
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
        if line[0] in "+-" and not line.startswith(("+++", "---"))
    ]
    return sorted(lines, key=lambda line: line[0] == "+")


def edits(text: str, *changes: Change) -> list[str]:
    written = read(text).edited(changes)
    assert written.lost == ()
    return diff(text, written.text)


RNG = "<rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n    </rng>"


def key(text: str, identity: str) -> int:
    return guest_of(text).by_id[identity].key


def test_iommu_platform_is_a_driver_of_its_own_or_an_attribute_of_the_one_there_is() -> None:
    text = domain(devices=RNG)
    assert edits(text, Set(key(text, "rng0"), "iommu_platform", "on")) == ["+<driver iommu='on'/>"]
    text = domain(devices=RNG.replace("</rng>", "<driver packed='on'/></rng>"))
    after = read(text).edited([Set(key(text, "rng0"), "iommu_platform", True)]).text
    assert "<driver packed='on' iommu='on'/>" in after


def test_an_off_that_is_written_becomes_an_on() -> None:
    text = domain(devices=RNG.replace("</rng>", '<driver iommu="off"/></rng>'))
    assert '<driver iommu="on"/>' in read(text).edited([Set(key(text, "rng0"), "iommu_platform", True)]).text


def test_the_last_option_taken_away_takes_its_driver_along() -> None:
    text = domain(devices=RNG.replace("</rng>", "<driver iommu='on'/>\n    </rng>"))
    assert "driver" not in read(text).edited([Unset(key(text, "rng0"), "iommu_platform")]).text


def test_a_device_that_libvirt_adds_by_itself_is_written_down_to_be_changed() -> None:
    text = domain()
    change = Set(key(text, "balloon0"), "iommu_platform", "on")
    assert edits(text, change) == [
        "+<memballoon model='virtio'>",
        "+<driver iommu='on'/>",
        "+</memballoon>",
    ]


def test_a_balloon_goes_by_saying_that_there_is_none() -> None:
    text = domain(
        devices="<memballoon model='virtio' autodeflate='on'>\n      <stats period='5'/>\n    </memballoon>"
    )
    assert edits(text, Remove(key(text, "balloon0"))) == [
        "-<memballoon model='virtio' autodeflate='on'>",
        "-<stats period='5'/>",
        "-</memballoon>",
        "+<memballoon model='none'/>",
    ]


@pytest.mark.parametrize(
    ("devices", "identity", "added"),
    [
        (
            "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>",
            "virtio-disk0",
            "<disk type='file' model='virtio-non-transitional'>",
        ),
        (
            "<interface type='user'><model type='virtio'/></interface>",
            "net0",
            "<model type='virtio-non-transitional'/>",
        ),
        (
            "<controller type='scsi' index='0' model='virtio-scsi'/>",
            "scsi0",
            "model='virtio-non-transitional'",
        ),
        ("<controller type='virtio-serial' index='0'/>", "virtio-serial0", "model='virtio-non-transitional'"),
        (RNG, "rng0", "<rng model='virtio-non-transitional'>"),
        ("<vsock><cid auto='no' address='3'/></vsock>", "vsock0", "<vsock model='virtio-non-transitional'>"),
    ],
)
def test_a_device_without_legacy_virtio_is_of_the_non_transitional_model(
    devices: str, identity: str, added: str
) -> None:
    text = domain(devices=devices)
    device = guest_of(text).by_id[identity]
    written = read(text).edited([Set(device.key, "disable-legacy", "on")])
    assert added in written.text
    assert read(text).edited([Retype(device.key, f"{device.type}-non-transitional")]).text == written.text
    assert guest_of(written.text).by_id[identity].type == f"{device.type}-non-transitional"


def test_ksm_is_turned_off_and_on_by_nosharepages() -> None:
    text = domain()
    machine = guest_of(text).machine.key
    off = read(text).edited([Set(machine, "mem-merge", "off")]).text
    assert diff(text, off) == ["+<memoryBacking>", "+<nosharepages/>", "+</memoryBacking>"]
    assert diff(text, read(off).edited([Set(machine, "mem-merge", "on")]).text) == []


@pytest.mark.parametrize(
    ("name", "value", "element"),
    [
        ("smm", "off", "<smm state='off'/>"),
        ("vmport", "off", "<vmport state='off'/>"),
        ("kernel-irqchip", "split", "<ioapic driver='qemu'/>"),
        ("hpet", "off", "<timer name='hpet' present='no'/>"),
        ("acpi", "on", "<acpi/>"),
    ],
)
def test_properties_of_the_machine_have_their_features(name: str, value: str, element: str) -> None:
    text = domain()
    written = read(text).edited([Set(guest_of(text).machine.key, name, value)])
    assert element in written.text
    assert guest_of(written.text).machine.text(name) == value


def test_a_new_child_of_the_domain_stands_in_libvirts_order() -> None:
    text = domain("<features>\n    <acpi/>\n  </features>")
    guest = guest_of(text)
    overcommit = guest.one("overcommit")
    assert overcommit is not None
    after = read(text).edited([Set(overcommit.key, "mem-lock", "on"), Set(guest.cpu.key, "pmu", "off")]).text
    assert after.index("<memory ") < after.index("<memoryBacking>") < after.index("<vcpu>")


def test_the_processor_becomes_the_hosts() -> None:
    text = domain(
        "<cpu mode='custom' match='exact'>\n    <model>EPYC</model>\n    <feature name='x2apic'/>\n  </cpu>"
    )
    cpu = guest_of(text).cpu
    assert edits(text, Retype(cpu.key, "host"), Set(cpu.key, "svm", "off"), Set(cpu.key, "pmu", "off")) == [
        "-<cpu mode='custom' match='exact'>",
        "-<model>EPYC</model>",
        "+<features>",
        "+<pmu state='off'/>",
        "+</features>",
        "+<cpu mode='host-passthrough'>",
        "+<feature policy='disable' name='svm'/>",
    ]


def test_a_limitation_is_added_as_launch_security() -> None:
    text = domain()
    guest = guest_of(text)
    properties = {"@kernelHashes": "yes", "policy": "0x30000", "quoteGenerationService": "/x"}
    limitation = Part("limitation", "sev-snp", properties, guest.next_key)
    assert edits(text, Add(limitation), Set(guest.machine.key, "confidential-guest-support", "lsec0")) == [
        "+<launchSecurity type='sev-snp' kernelHashes='yes'>",
        "+<policy>0x30000</policy>",
        "+<quoteGenerationService path='/x'/>",
        "+</launchSecurity>",
    ]


def test_changes_to_an_added_limitation_are_part_of_it() -> None:
    text = domain()
    number = guest_of(text).next_key
    changes = [
        Add(Part("limitation", "sev", {"policy": "1"}, number)),
        Set(number, "policy", "3"),
        Retype(number, "tdx"),
    ]
    assert "<launchSecurity type='tdx'>\n    <policy>3</policy>" in read(text).edited(changes).text


def test_a_limitation_is_changed_and_taken_away_in_place() -> None:
    text = domain("<launchSecurity type='sev-snp' vcek='no'>\n    <policy>0x1</policy>\n  </launchSecurity>")
    limitation = guest_of(text).limitation
    assert limitation is not None
    number = limitation.key
    assert edits(
        text, Set(number, "policy", "0x2"), Set(number, "@vcek", True), Unset(number, "hostData")
    ) == [
        "-<launchSecurity type='sev-snp' vcek='no'>",
        "-<policy>0x1</policy>",
        "+<launchSecurity type='sev-snp' vcek='yes'>",
        "+<policy>0x2</policy>",
    ]
    assert "launchSecurity" not in read(text).edited([Remove(number)]).text


def test_the_machine_naming_a_limitation_that_is_not_there_is_lost() -> None:
    text = domain()
    written = read(text).edited([Set(guest_of(text).machine.key, "confidential-guest-support", "x")])
    assert written.text == text
    assert written.lost == (
        "confidential-guest-support=x of machine q35: there is no place for it in this XML",
    )


def test_firmware_becomes_a_rom_without_variables() -> None:
    text = domain().replace(
        "</os>", "<loader readonly='yes' type='pflash'>/a</loader>\n    <nvram>/b</nvram>\n  </os>"
    )
    guest = guest_of(text)
    after = read(text).edited(
        [
            Unset(guest.machine.key, "pflash0"),
            Unset(guest.machine.key, "pflash1"),
            Add(Part("bios", "/ovmf.fd", {}, guest.next_key)),
        ]
    )
    assert after.lost == ()
    assert "type='rom'" in after.text
    assert "nvram" not in after.text
    assert [part.type for part in guest_of(after.text).of("bios")] == ["/ovmf.fd"]


def test_events_are_changed_and_taken_away() -> None:
    text = domain("<on_reboot>destroy</on_reboot>")
    action = guest_of(text).one("action")
    assert action is not None
    assert edits(text, Remove(action.key)) == [
        "-<on_reboot>destroy</on_reboot>",
        "+<on_reboot>restart</on_reboot>",
    ]
    text = domain()
    added = Part("action", "", {"reboot": "shutdown"}, guest_of(text).next_key)
    assert "<on_reboot>destroy</on_reboot>" in read(text).edited([Add(added)]).text


def test_a_listening_address_is_changed_where_it_is_said() -> None:
    text = domain(
        devices="<graphics type='vnc' port='5900' listen='0.0.0.0'>"
        "<listen type='address' address='0.0.0.0'/></graphics>"
    )
    vnc = guest_of(text).one("vnc")
    assert vnc is not None
    after = read(text).edited([Retype(vnc.key, "127.0.0.1:0")]).text
    assert "0.0.0.0" not in after
    assert "port='5900'" in after


def test_what_xml_cannot_say_is_named_and_changes_nothing() -> None:
    text = domain(devices="<memballoon model='none'/>")
    guest = guest_of(text)
    changes: list[Change] = [
        Set(guest.machine.key, "kernel-irqchip", "off"),
        Set(guest.machine.key, "x-odd", "1"),
        Add(Part("global", "virtio-pci", {"disable-modern": "on"}, guest.next_key)),
        Set(guest.smp.key, "sockets", "9"),
    ]
    written = read(text).edited(changes)
    assert written.text == text
    assert [said.partition(" of ")[0] for said in written.lost] == [
        "kernel-irqchip=off",
        "x-odd=1",
        "sockets=9",
        "global virtio-pci: there is no place for it in this XML",
    ]


def test_characters_that_xml_cannot_hold_are_named_and_change_nothing() -> None:
    text = domain("<launchSecurity type='sev'/>")
    guest = guest_of(text)
    assert guest.limitation is not None
    changes = [Set(guest.limitation.key, "session", "a\0b"), Retype(guest.cpu.key, "\x01")]
    written = read(text).edited([*changes, Add(Part("bios", "/\ufffe", {}, guest.next_key))])
    assert written.text == text
    assert len(written.lost) == 3


def test_arguments_behind_libvirts_back_are_changed_in_their_elements() -> None:
    read_ = document("kernel-rom")
    card = next(part for part in read_.guest.devices if part.type == "virtio-net-pci")
    before = read_.edited(()).text
    after = read_.edited([Set(card.key, "iommu_platform", "on")]).text
    assert diff(before, after) == [
        "-<qemu:arg value='virtio-net-pci,netdev=n0,iommu_platform=off'/>",
        "+<qemu:arg value='virtio-net-pci,netdev=n0,iommu_platform=on'/>",
    ]
    gone = read_.edited([Remove(card.key)]).text
    assert [line[0] for line in diff(before, gone)] == ["-", "-"]


def test_an_argument_that_has_the_last_word_is_the_one_that_changes() -> None:
    inside = (
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
        "    <qemu:arg value='-machine'/>\n    <qemu:arg value='mem-merge=on'/>\n  </qemu:commandline>"
    )
    text = domain(inside)
    assert edits(text, Set(guest_of(text).machine.key, "mem-merge", "off")) == [
        "-<qemu:arg value='mem-merge=on'/>",
        "+<qemu:arg value='mem-merge=off'/>",
    ]


def test_a_change_to_a_part_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        read(domain()).edited([Remove(10_000)])


SWITCHES = ("smm", "vmport", "hpet")
OPTIONS = ("iommu_platform", "ats", "packed", "page-per-vq")


@st.composite
def changed_domains(draw: st.DrawFn) -> tuple[XmlDocument, list[Change]]:
    """A domain, and changes that XML can say on different parts or properties."""
    read_ = document(draw(st.sampled_from(names())))
    guest = read_.guest
    on_off = st.sampled_from(["on", "off"])
    changes: list[Change] = []
    if guest.arch == "x86_64":
        chosen = draw(st.lists(st.sampled_from(SWITCHES), unique=True))
        changes += [Set(guest.machine.key, name, draw(on_off)) for name in chosen]
    if draw(st.booleans()):
        changes.append(Set(guest.machine.key, "mem-merge", "off"))
    if draw(st.booleans()):
        changes.append(Set(guest.machine.key, "dump-guest-core", draw(on_off)))
    overcommit = guest.one("overcommit")
    if overcommit is not None and draw(st.booleans()):
        changes.append(Set(overcommit.key, "mem-lock", draw(on_off)))
    virtio = [part for part in guest.devices if transport(part, guest.arch)]
    for device in draw(st.lists(st.sampled_from(virtio), unique_by=lambda part: part.key)) if virtio else []:
        for name in draw(st.lists(st.sampled_from(OPTIONS), unique=True)):
            ways = [Set(device.key, name, True), Set(device.key, name, "off"), Unset(device.key, name)]
            changes += [draw(st.sampled_from(ways))]
    if guest.limitation is None and draw(st.booleans()):
        changes.append(Add(Part("limitation", "tdx", {"policy": "0x1"}, guest.next_key)))
    elif guest.limitation is not None:
        changes.append(Set(guest.limitation.key, "policy", "0x3"))
    return read_, changes


def without(properties: dict[str, Any]) -> dict[str, Any]:
    """Leave out where libvirt puts a device, which moves with what is said of others, and the limitation's name."""
    names = ("bus", "addr", "multifunction", "chassis", "devno", "confidential-guest-support")
    return {name: value for name, value in properties.items() if name not in names}


@given(changed_domains())
def test_an_edited_domain_is_the_changed_guest(case: tuple[XmlDocument, list[Change]]) -> None:
    read_, changes = case
    written = read_.edited(changes)
    again = guest_of(written.text)
    wanted = views(read_.guest.changed(changes))
    unsayable = {said.partition(" of ")[2].partition(":")[0] for said in written.lost}
    for part in read_.guest.parts:
        if part.label() in unsayable or part.group == "limitation" or (part.implied and not part.type):
            continue
        name = next(k for k, v in views(read_.guest).items() if k[0] == part.group and v == view(part))
        kind, properties = views(again)[name]
        assert (kind, without(properties)) == (wanted[name][0], without(wanted[name][1]))
    limitation = read_.guest.changed(changes).limitation
    assert (again.limitation and view(again.limitation)) == (limitation and view(limitation))


@given(changed_domains())
def test_edits_made_one_after_the_other_come_to_the_same_text(case: tuple[XmlDocument, list[Change]]) -> None:
    read_, changes = case
    text = read_.edited(()).text
    for change in changes:
        if isinstance(change, Add):
            text = read(text).edited([replace(change, part=replace(change.part, key=10**6))]).text
        else:
            part = read_.guest.by_key[change.key]
            now = read(text)
            same = next(p for p in now.guest.of(part.group) if p.id == part.id)
            text = now.edited([replace(change, key=same.key)]).text
    assert sorted(text.splitlines()) == sorted(read_.edited(changes).text.splitlines())
