"""What is decided about each command, for which platform and when. Nothing here runs or listens."""

from pathlib import Path

import pytest
from fake_monitor import rules_of
from hypothesis import given
from hypothesis import strategies as st

from sequester.formats.argv_read import read_argv_text
from sequester.guard import human as human_module
from sequester.guard.commands import HARMLESS
from sequester.guard.human import is_harmless, name_of
from sequester.guard.rulebook import Rulebook, rulebook
from sequester.guard.verdict import Allow, Amend, Refuse
from sequester.platforms.registry import platforms, resolve
from sequester.rules.catalogue import rule
from sequester.rules.monitor import MONITOR_RULES

SNP = rules_of()
SEV = rules_of("sev-guest", policy=1)
ES = rules_of("sev-guest", policy=5)
TDX = rules_of("tdx-guest")
PV = rules_of("s390-pv-guest", "s390x")
PEF = rules_of("pef-guest", "ppc64")


def code(rules: Rulebook, command: str, engaged: bool = True, **arguments: object) -> str:
    """Return the code of a refusal, '' where there is none."""
    verdict = rules.decide(command, {k.replace("_", "-"): v for k, v in arguments.items()}, engaged)
    return verdict.code if isinstance(verdict, Refuse) else ""


def human(rules: Rulebook, line: str, engaged: bool = True) -> str:
    return code(rules, "human-monitor-command", engaged, command_line=line)


def test_the_object_of_the_guest_decides_the_platform() -> None:
    assert (SEV.limitation.name, ES.limitation.name, PV.limitation.name) == ("sev", "sev-es", "s390-pv")


@pytest.mark.parametrize("platform", platforms(), ids=lambda platform: platform.name)
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("migrate", "SQ901"),
        ("migrate-incoming", "SQ901"),
        ("x-colo-lost-heartbeat", "SQ901"),
        ("snapshot-save", "SQ902"),
        ("snapshot-load", "SQ902"),
        ("memsave", "SQ903"),
        ("pmemsave", "SQ903"),
        ("dump-guest-memory", "SQ903"),
        ("dump-skeys", "SQ903"),
        ("query-firmware-log", "SQ903"),
        ("x-query-interrupt-controllers", "SQ904"),
        ("screendump", "SQ905"),
        ("calc-dirty-rate", "SQ906"),
        ("x-query-ramblock", "SQ907"),
        ("x-query-virtio-queue-element", "SQ907"),
        ("a-command-of-tomorrow", "SQ916"),
        ("x-query-of-tomorrow", "SQ916"),
        ("query-of-tomorrow", ""),
        ("query-status", ""),
        ("query-sev-launch-measure", ""),
        ("sev-inject-launch-secret", ""),
        ("cont", ""),
        ("quit", ""),
        ("netdev_add", ""),
        ("blockdev-add", ""),
        ("nbd-server-start", ""),
        ("migrate-set-capabilities", ""),
        ("migrate_cancel", ""),
        ("inject-nmi", ""),
    ],
)
def test_every_platform_keeps_memory_and_registers_from_the_monitor(platform, command, expected) -> None:
    rules = rules_of(platform.object_type, platform.architectures[0])
    assert code(rules, command) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xp/10i 0x1000", "SQ903"),
        ("x/4xw 0", "SQ903"),
        ("  x 0", "SQ903"),
        ("sum 0 100", "SQ903"),
        ("savevm now", "SQ902"),
        ("loadvm now", "SQ902"),
        ("migrate -d tcp:host:1", "SQ901"),
        ("gdbserver tcp::1234", "SQ904"),
        ("info registers", "SQ904"),
        ("info \t registers -a", "SQ904"),
        ("print/x $rip", "SQ904"),
        ("p $rax", "SQ904"),
        ("log cpu", "SQ904"),
        ("info lapic", "SQ904"),
        ("screendump /tmp/a", "SQ905"),
        ("info ramblock", "SQ907"),
        ("info virtio-status /machine", "SQ908"),
        ("device_add virtio-net-pci", "SQ915"),
        ("object_add memory-backend-ram,id=m", "SQ915"),
        ("qom-set /machine mem-merge on", "SQ915"),
        ("info tomorrow", "SQ915"),
        ("Info registers", "SQ915"),
        ("info/registers", "SQ915"),
        ("/", "SQ915"),
        ("\x00", "SQ915"),
        ("info status", ""),
        ("info", ""),
        ("", ""),
        ("help x", ""),
        ("drive_add 0 if=none,id=d", ""),
        ("c", ""),
    ],
)
def test_the_human_monitor_is_read_as_qemu_reads_it(line, expected) -> None:
    assert human(SNP, line) == expected


def test_a_human_command_is_the_first_word_up_to_a_slash() -> None:
    assert name_of("info  block -v") == "info block"
    assert name_of("xp/10i 0") == "xp"
    assert is_harmless("info block")
    assert not is_harmless("xp")


@pytest.mark.parametrize("device", ["virtio-net-pci", "virtio-blk-pci", "virtio-net", "vhost-vsock-pci"])
def test_a_virtio_device_gets_the_flags_that_nobody_gave_it(device) -> None:
    verdict = SNP.decide("device_add", {"driver": device, "id": "n0", "bus": "rp0"})
    assert isinstance(verdict, Amend)
    assert verdict.arguments == {
        "driver": device,
        "id": "n0",
        "bus": "rp0",
        "iommu_platform": True,
        "disable-legacy": "on",
    }
    assert verdict.changes == ("SQ301 iommu_platform=on", "SQ302 disable-legacy=on")


def test_a_device_that_says_all_itself_passes_as_it_is() -> None:
    given = {"driver": "virtio-net-pci", "iommu_platform": "on", "disable-legacy": True}
    assert SNP.decide("device_add", given) == Allow()
    assert SNP.decide("device_add", {"driver": "e1000e"}) == Allow()
    assert SNP.decide("device_add", {}) == Allow()
    assert SNP.decide("device_add", {"driver": 5}) == Allow()


def test_auto_leaves_the_choice_and_is_no_contradiction() -> None:
    verdict = SNP.decide("device_add", {"driver": "virtio-net-pci", "disable-legacy": "auto"})
    assert isinstance(verdict, Amend)
    assert verdict.arguments["disable-legacy"] == "on"


def test_a_channel_device_gets_the_flag_that_it_has() -> None:
    verdict = PV.decide("device_add", {"driver": "virtio-blk-ccw"})
    assert isinstance(verdict, Amend)
    assert verdict.arguments == {"driver": "virtio-blk-ccw", "iommu_platform": True}


def test_a_device_is_held_to_the_rules_before_the_switchover_too() -> None:
    assert isinstance(PV.decide("device_add", {"driver": "virtio-blk-ccw"}, engaged=False), Amend)
    wrong = {"driver": "virtio-blk-ccw", "iommu_platform": False}
    assert isinstance(PV.decide("device_add", wrong, engaged=False), Refuse)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"driver": "virtio-net-pci", "iommu_platform": False}, "SQ301"),
        ({"driver": "virtio-net-pci", "iommu_platform": "off"}, "SQ301"),
        ({"driver": "virtio-net-pci", "disable-legacy": "off"}, "SQ302"),
        ({"driver": "virtio-net-pci", "disable-legacy": False}, "SQ302"),
        ({"driver": "virtio-net-pci-transitional"}, "SQ302"),
        ({"driver": "virtio-net-pci", "disable-modern": True}, "SQ303"),
        ({"driver": "virtio-blk-device"}, "SQ304"),
        ({"driver": "vhost-user-fs-pci"}, "SQ306"),
        ({"driver": "virtio-blk-pci", "scsi": True}, "SQ308"),
        ({"driver": "nvdimm"}, "SQ914"),
        ({"driver": "pc-dimm"}, "SQ914"),
        ({"driver": "virtio-mem-pci"}, "SQ914"),
        ({"driver": "loader", "addr": 4096}, "SQ914"),
        ({"driver": "EPYC-v4-x86_64-cpu"}, "SQ913"),
    ],
)
def test_a_device_that_says_otherwise_is_refused_by_the_rule_it_breaks(arguments, expected) -> None:
    verdict = SNP.decide("device_add", arguments)
    assert isinstance(verdict, Refuse)
    assert verdict.code == expected
    assert verdict.description.startswith(f"{expected}: device_add refused: ")
    assert "\n" not in verdict.description


def test_memory_is_plugged_in_where_the_platform_can_have_it() -> None:
    assert code(SEV, "device_add", driver="pc-dimm") == ""
    assert code(SEV, "device_add", driver="virtio-mem-pci") == "SQ914"
    assert code(TDX, "device_add", driver="pc-dimm") == "SQ914"


def test_a_vcpu_is_plugged_in_where_the_platform_can_have_it() -> None:
    assert code(SEV, "device_add", driver="EPYC-x86_64-cpu") == ""
    assert code(ES, "device_add", driver="EPYC-x86_64-cpu") == "SQ913"
    assert code(PEF, "device_add", driver="host-spapr-cpu-core") == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"qom-type": "memory-backend-ram", "id": "m", "size": 1 << 20}, ""),
        ({"qom-type": "memory-backend-ram", "id": "m", "merge": True}, "SQ202"),
        ({"qom-type": "memory-backend-memfd-private", "id": "m"}, "SQ212"),
        ({"qom-type": "sev-guest", "id": "m"}, "SQ909"),
        ({"qom-type": "tdx-guest", "id": "m"}, "SQ909"),
        ({"qom-type": "monitor-qmp", "id": "m", "chardev": "c"}, "SQ917"),
        ({"qom-type": "monitor-hmp", "id": "m", "chardev": "c"}, "SQ917"),
        ({"qom-type": "qtest", "id": "q", "chardev": "c"}, "SQ918"),
        ({"qom-type": "dbus-display", "id": "d"}, "SQ916"),
        ({"qom-type": "of-tomorrow", "id": "d"}, "SQ916"),
        ({"qom-type": 5, "id": "d"}, ""),
        ({"qom-type": "iothread", "id": "i"}, ""),
        ({"qom-type": "secret", "id": "s", "data": "x"}, ""),
    ],
)
def test_objects_are_made_as_the_rules_allow(arguments, expected) -> None:
    verdict = SNP.decide("object-add", arguments)
    assert (verdict.code if isinstance(verdict, Refuse) else "") == expected


def test_the_protection_object_stays() -> None:
    assert code(SNP, "object-del", id="lsec0") == "SQ910"
    assert code(SNP, "object-del", id="other") == ""


@pytest.mark.parametrize(
    ("path", "name", "value", "expected"),
    [
        ("/objects/lsec0", "policy", 0, "SQ911"),
        ("lsec0", "policy", 0, "SQ911"),
        ("/objects/lsec0/", "policy", 0, "SQ911"),
        ("/machine", "confidential-guest-support", "", "SQ911"),
        ("/machine", "mem-merge", True, "SQ911"),
        ("/machine", "mem-merge", "on", "SQ911"),
        ("/machine", "mem-merge", False, ""),
        ("/objects/m", "merge", True, "SQ911"),
        ("/objects/m", "merge", "maybe", "SQ911"),
        ("/machine/peripheral/n", "iommu_platform", False, "SQ911"),
        ("/machine/peripheral/n", "iommu_platform", True, ""),
        ("/machine/peripheral/balloon0", "guest-stats-polling-interval", 2, ""),
        (5, ["merge"], True, ""),
    ],
)
def test_settings_that_undo_the_protection_are_refused(path, name, value, expected) -> None:
    assert code(SNP, "qom-set", path=path, property=name, value=value) == expected


def test_a_reset_passes_where_the_guest_outlives_it() -> None:
    assert code(rules_of(version=(10, 0, 2)), "system_reset") == "SQ912"
    assert code(SNP, "system_reset") == ""
    assert code(rules_of("sev-guest", version=(7, 2, 0), policy=1), "system_reset") == ""
    assert human(rules_of(version=(10, 0, 2)), "system_reset") == "SQ912"


@pytest.mark.parametrize(
    ("version", "expected"), [((7, 2, 22), ""), ((10, 0, 2), ""), ((11, 1, 2), "SQ908"), ((7, 1, 0), "SQ908")]
)
def test_what_kills_this_qemu_does_not_reach_it(version, expected) -> None:
    assert code(rules_of(version=version), "x-query-virtio-status") == expected
    assert human(rules_of(version=version), "info virtio-status") == expected


@pytest.mark.parametrize(("protocol", "expected"), [("vnc", ""), ("spice", ""), ("charmonitor", "SQ917")])
def test_no_connection_to_another_monitor_is_made(protocol, expected) -> None:
    assert code(SNP, "add_client", protocol=protocol, fdname="f") == expected


@pytest.mark.parametrize(
    "command", ["migrate", "snapshot-save", "memsave", "dump-guest-memory", "screendump"]
)
def test_a_guest_that_has_not_switched_over_is_as_free_as_any(command) -> None:
    assert code(PV, command, engaged=False) == ""
    assert code(PV, command, engaged=True) != ""


def test_what_outlives_the_switchover_is_refused_before_it() -> None:
    assert human(PV, "gdbserver", engaged=False) == "SQ904"
    assert human(PV, " gdbserver tcp::1", engaged=False) == "SQ904"
    assert human(PV, "info registers", engaged=False) == ""
    assert code(PV, "object-del", engaged=False, id="lsec0") == "SQ910"
    assert code(PEF, "migrate", engaged=False) == "SQ901"  # QEMU blocks that from the start


def test_only_a_platform_whose_switchover_shows_in_qemu_asks_for_it() -> None:
    assert PV.asks_for_switchover
    assert not PEF.asks_for_switchover
    assert not SNP.asks_for_switchover
    assert not rules_of("s390-pv-guest", "s390x", version=(5, 2, 0)).asks_for_switchover


def test_unknown_commands_pass_where_that_is_said() -> None:
    rules = rules_of(unknown="allow")
    assert code(rules, "a-command-of-tomorrow") == ""
    assert human(rules, "tomorrow") == ""
    assert code(rules, "migrate") == "SQ901"
    assert human(rules, "device_add virtio-net-pci") == "SQ915"


@pytest.mark.parametrize("value", [None, [], "x", 5, {"a": []}])
def test_arguments_of_any_type_are_looked_at_without_a_fault(value) -> None:
    for command in (
        "device_add",
        "object-add",
        "object-del",
        "qom-set",
        "add_client",
        "human-monitor-command",
    ):
        for name in ("driver", "qom-type", "id", "path", "property", "value", "protocol", "command-line"):
            SNP.decide(command, {name: value})


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["on", "auto"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [
        "iommu_platform",
        "disable-legacy",
        "disable-modern",
        "id",
        "bus",
        "netdev",
        "chardev",
        "scsi",
        "blob",
        "max_revision",
        "host",
        "romfile",
        "bootindex",
        "merge",
        "dump",
        "share",
        "prealloc",
        "policy",
        "mem-path",
        "size",
        "hugetlb",
        "private",
        "free-page-reporting",
        "memdev",
        "name",
    ]
)
TYPES = st.sampled_from(
    [
        "virtio-net-pci",
        "virtio-blk-ccw",
        "virtio-mem-pci",
        "vhost-user-fs-pci",
        "virtio-blk-device",
        "vfio-pci",
        "nvdimm",
        "loader",
        "memory-backend-ram",
        "memory-backend-file",
        "memory-backend-memfd",
        "colo-compare",
        "virtserialport",
        "tpm-tis",
    ]
)


@pytest.mark.parametrize("rules", [SNP, SEV, PV], ids=["snp", "sev", "pv"])
@given(kind=TYPES, more=st.dictionaries(NAMES, ANY, max_size=4))
def test_hostile_devices_and_objects_are_decided_on_without_a_fault(rules, kind, more) -> None:
    for command, name in (("device_add", "driver"), ("object-add", "qom-type")):
        verdict = rules.decide(command, {name: kind, **more})
        if isinstance(verdict, Amend):
            said = {k: repr(v) for k, v in more.items() if v not in (None, "auto")}
            assert {k: repr(v) for k, v in verdict.arguments.items() if k in said} == said


def test_every_rule_of_the_monitor_is_among_all_rules() -> None:
    for each in MONITOR_RULES:
        assert rule(each.code) is each
        assert each.code.startswith("SQ9")


def test_no_command_is_both_judged_always_and_harmless() -> None:
    always = {name for each in MONITOR_RULES if each.look is None for name in each.commands}
    assert always & HARMLESS == set()


def test_a_guest_as_it_was_planned_gives_the_same_rules() -> None:
    argv = (
        "qemu-system-x86_64 -M q35,confidential-guest-support=p0 -object sev-snp-guest,id=p0,cbitpos=51 "
        "-global virtio-net-pci.iommu_platform=on -global virtio-net-pci.disable-legacy=on -device virtio-blk-pci"
    )
    guest = read_argv_text(argv.encode(), "g").guest
    limitation = resolve(guest)
    assert limitation is not None
    rules = rulebook(guest, limitation, (11, 1, 2))
    assert code(rules, "object-del", id="p0") == "SQ910"
    verdict = rules.decide("device_add", {"driver": "virtio-net-pci"})
    assert isinstance(verdict, Amend), "a global that could be overruled is not relied on"


def test_a_domain_of_libvirt_gives_rules_in_qemus_words() -> None:
    from sequester.formats.sources import read
    from sequester.planning import make_plan

    text = (
        "<domain type='kvm'><name>d</name><memory>1048576</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<devices/></domain>"
    )
    plan = make_plan(read(text.encode(), "d.xml"), "sev-snp")
    rules = rulebook(plan.guest, plan.limitation, (11, 1, 2))
    assert isinstance(rules.decide("device_add", {"driver": "virtio-net-pci"}), Amend)
    assert code(rules, "device_add", driver="virtio-net-pci-transitional") == "SQ302"
    assert code(rules, "memsave") == "SQ903"


def test_the_manual_names_every_rule_command_and_harmless_word() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guard.md").read_text(encoding="utf-8")
    for each in MONITOR_RULES:
        assert f"| {each.code}: " in text
        for name in (*each.commands, *each.human):
            assert f"`{name}`" in text, (each.code, name)
    listed = text.partition("## The human monitor")[2]
    for topic in human_module.HARMLESS | human_module.HARMLESS_INFO:
        assert f"`{topic}`" in listed
