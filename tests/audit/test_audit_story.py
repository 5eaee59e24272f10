"""A guest of answers, judged: what is right is passed over, and each thing that is wrong is found by its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from asked_qemu import BLOCKED, FIRMWARE, NOT_TAKEN, SEV, SNP, AskedQemu, qemu

from sequester.audit.asking import Command, Seen, children, command, prop
from sequester.audit.auditing import audit, case_of
from sequester.audit.questions import ANONYMOUS, MACHINE, NODES, OBJECTS, UNATTACHED, ask
from sequester.errors import GuestError, InputError, SequesterError
from sequester.findings.rule import Severity
from sequester.formats.sources import from_argv
from sequester.rules.engine import Selection

PLAN = (
    "qemu-system-x86_64 -nodefaults -M q35,confidential-guest-support=s,mem-merge=off,dump-guest-core=off -m 1G "
    "-object sev-snp-guest,id=s,cbitpos=51,reduced-phys-bits=1 -bios /OVMF.fd "
)


def codes(made: AskedQemu, *arguments: object, **more: object) -> list[str]:
    """What an audit finds above a note."""
    found = audit(made, *arguments, **more).findings  # type: ignore[arg-type]
    return [finding.code for finding in found if finding.severity > Severity.NOTE]


def all_codes(made: AskedQemu, *arguments: object, **more: object) -> list[str]:
    return [finding.code for finding in audit(made, *arguments, **more).findings]  # type: ignore[arg-type]


def test_a_guest_that_runs_as_it_should_has_no_finding() -> None:
    found = audit(qemu())
    assert found.findings == ()
    assert found.protected


def test_two_rounds_ask_everything_of_a_hundred_devices() -> None:
    made = qemu()
    for number in range(100):
        made.virtio(f"net{number + 1}")
    assert codes(made) == []
    assert made.rounds == 2


def test_nothing_is_asked_that_changes_a_guest() -> None:
    made = qemu()
    made.add(OBJECTS, "key0", "secret")
    audit(made)
    names = {one.name for one in made.asked}
    assert {name for name in names if not name.startswith(("query-", "qom-list", "qom-get"))} == {
        "x-query-virtio",
        "x-query-virtio-status",
    }
    assert not any("key0" in str(one.arguments) for one in made.asked)  # a secret is nobody's to read


@pytest.mark.parametrize("version", [(7, 2, 22), (10, 0, 2)])
def test_a_release_that_survives_it_is_asked_what_was_negotiated(version: tuple[int, int, int]) -> None:
    made = qemu("sev-guest", SEV, version)
    made.say("query-sev", {"enabled": True, "state": "running", "policy": 15})
    audit(made)
    assert "x-query-virtio-status" in {one.name for one in made.asked}


@pytest.mark.parametrize("version", [(7, 1, 0), (10, 1, 0), (11, 1, 2), (12, 0, 0)])
def test_any_other_release_is_never_asked_and_that_is_said(version: tuple[int, int, int]) -> None:
    made = qemu(version=version)
    found = all_codes(made)
    assert "x-query-virtio-status" not in {one.name for one in made.asked}
    assert "SQ953" in found


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"iommu_platform": False}, "SQ301"),
        ({"disable-legacy": "off"}, "SQ302"),
        ({"disable-modern": True}, "SQ303"),
        ({"status": NOT_TAKEN}, "SQ952"),
    ],
)
def test_a_device_is_judged_by_what_it_really_has(changed: dict[str, object], code: str) -> None:
    made = qemu()
    made.virtio("bad0", "virtio-blk-pci", **changed)
    (finding,) = [one for one in audit(made).findings if one.severity > Severity.NOTE]
    assert finding.code == code
    assert finding.part is not None
    assert finding.part.id == "bad0"


def test_a_device_without_an_id_is_named_by_its_place() -> None:
    made = qemu()
    path = made.add(
        ANONYMOUS, "device[0]", "virtio-rng-pci", {"iommu_platform": False, "disable-legacy": "on"}
    )
    (finding,) = [one for one in audit(made).findings if one.code == "SQ301"]
    assert finding.part is not None
    assert finding.part.id == path == finding.part.spelled


def test_a_virtio_device_that_a_board_made_is_found_too() -> None:
    made = qemu()
    made.add(UNATTACHED, "device[9]", "virtio-net-pci", {"iommu_platform": False, "disable-legacy": "on"})
    made.add(UNATTACHED, "device[10]", "i8042")
    assert codes(made) == ["SQ301"]


def test_a_device_behind_a_driver_that_was_offered_nothing_is_one_finding() -> None:
    made = qemu()
    made.virtio("bad0", status=NOT_TAKEN, iommu_platform=False)
    assert codes(made) == ["SQ301"]


def test_a_device_that_no_driver_has_set_up_is_no_finding() -> None:
    made = qemu()
    made.virtio("idle0", status={"status": {"statuses": []}, "guest-features": {"transports": []}})
    assert codes(made) == []


@pytest.mark.parametrize(("legacy", "found"), [(True, ["SQ304"]), (False, [])])
def test_virtio_mmio_is_judged_by_its_transport(legacy: bool, found: list[str]) -> None:
    made = qemu()
    bus = made.add(UNATTACHED, "device[5]", "virtio-mmio", {"force-legacy": legacy})
    made.virtio("m0", "virtio-blk-device", parent_bus=f"{bus}/virtio-mmio-bus.0")
    made.properties("/machine/peripheral/m0", {"parent_bus": f"{bus}/virtio-mmio-bus.0"})
    assert codes(made) == found


def test_merging_is_found_by_the_backend_though_the_machine_denies_it() -> None:
    made = qemu()
    made.answers[command("query-memdev")][0]["merge"] = True
    assert codes(made) == ["SQ201"]


def test_merging_is_found_by_the_machine_though_the_backend_denies_it() -> None:
    made = qemu()
    made.machine(mem_merge=True)
    assert codes(made) == ["SQ201"]


def test_merging_of_a_second_backend_alone_is_its_own_finding() -> None:
    made = qemu()
    made.add(OBJECTS, "ram1", "memory-backend-memfd")
    made.answers[command("query-memdev")].append({"id": "ram1", "merge": True, "dump": False})
    assert codes(made) == ["SQ202"]


def test_an_object_that_the_machine_does_not_name_protects_nothing() -> None:
    assert codes(qemu(link=False)) == ["SQ101"]


def test_a_platform_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    assert "SQ950" in codes(qemu(""), "sev-snp")


def test_a_platform_that_is_another_than_was_asked_for_is_an_error() -> None:
    assert codes(qemu(), "tdx") == ["SQ950"]


def test_a_guest_that_asks_for_nothing_is_told_so_and_is_no_failure() -> None:
    assert all_codes(qemu("")) == ["SQ950"]
    assert codes(qemu("")) == []


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(InputError, match="no platform 'nix'"):
        audit(qemu(), "nix")


def test_a_guest_without_its_blocker_is_found() -> None:
    made = qemu()
    made.say("query-migrate", {})
    assert codes(made) == ["SQ954"]


def test_before_its_first_run_a_guest_has_no_blocker_yet() -> None:
    made = qemu()
    made.say("query-migrate", {})
    made.say("query-status", {"status": "prelaunch", "running": False})
    assert codes(made) == []


@pytest.mark.parametrize("status", ["active", "completed", "postcopy-active"])
def test_a_migration_that_is_or_was_under_way_is_found(status: str) -> None:
    made = qemu()
    made.say("query-migrate", {**BLOCKED, "status": status})
    assert codes(made) == ["SQ954"]


def test_a_capability_that_copies_memory_is_found() -> None:
    made = qemu()
    made.say("query-migrate-capabilities", [{"capability": "x-colo", "state": True}])
    assert codes(made) == ["SQ954"]


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ({"enabled": False, "state": "uninit", "policy": 0}, 1),
        ({"enabled": True, "state": "launch-secret", "policy": 15}, 1),
        ({"enabled": True, "state": "running", "policy": 1}, 1),
        ({"enabled": True, "state": "running", "policy": 15}, 0),
    ],
)
def test_the_firmwares_own_word_on_a_launch_counts(told: dict[str, object], count: int) -> None:
    made = qemu("sev-guest", SEV)
    made.say("query-sev", told)
    assert codes(made) == ["SQ956"] * count


@pytest.mark.parametrize(
    ("blockers", "found"),
    [([], ["SQ957"]), (["protected VMs are currently not migratable."], [])],
)
def test_an_s390_guest_has_switched_over_when_qemu_has_its_blocker(
    blockers: list[str], found: list[str]
) -> None:
    made = qemu("s390-pv-guest", {}, arch="s390x")
    made.say("query-migrate", {"blocked-reasons": blockers})
    assert codes(made) == found


def test_a_gdb_stub_is_found_wherever_it_listens() -> None:
    made = qemu()
    chardevs = made.answers[command("query-chardev")]
    chardevs.append({"label": "gdb", "filename": "disconnected:unix:/tmp/gdb,server=on"})
    assert codes(made) == ["SQ955"]
    chardevs[-1]["filename"] = "disconnected:tcp:0.0.0.0:1234,server=on"
    assert codes(made) == ["SQ805"]


def test_a_monitor_on_the_network_is_found() -> None:
    made = qemu()
    made.answers[command("query-chardev")].append(
        {"label": "compat_monitor1", "filename": "tcp:0.0.0.0:4444,server=on <-> 10.0.0.1:5"}
    )
    assert codes(made) == ["SQ805"]


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("none", ["SQ806"]),
        ("vencrypt+plain", ["SQ806"]),
        ("vencrypt+x509+plain", []),
        ("vencrypt+tls+none", []),
        ("sasl", []),
        ("vnc", []),  # a password: a note
    ],
)
def test_a_screen_on_the_network_is_found(method: str, found: list[str]) -> None:
    made = qemu()
    told = {"enabled": True, "host": "0.0.0.0", "service": "5900", "family": "ipv4"}
    made.say("query-vnc", {**told, "auth": method})
    assert codes(made) == found


def test_a_device_that_was_plugged_in_is_told() -> None:
    made = qemu()
    made.virtio("hot0", hotplugged=True)
    assert all_codes(made) == ["SQ958"]
    assert codes(made) == []


def test_a_vcpu_that_was_plugged_in_is_told_where_launches_measure_them() -> None:
    for kind, properties, found in (("sev-snp-guest", SNP, ["SQ958"]), ("", {}, [])):
        made = qemu(kind, properties)
        made.add(ANONYMOUS, "device[0]", "EPYC-v4-x86_64-cpu", {"hotplugged": True})
        assert codes(made) == found
        assert "SQ958" in all_codes(made)


def test_a_plan_finds_what_is_strange_and_what_is_missing() -> None:
    made = qemu()
    made.virtio("hot0", hotplugged=True)
    made.add(UNATTACHED, "device[7]", "ICH9-LPC")
    planned = from_argv(
        [*PLAN.split(), *["-device", "virtio-net,id=net0", "-device", "virtio-rng-pci,id=rng0"]]
    ).guest
    found = {one.code: one for one in audit(made, planned=planned).findings}
    assert set(found) == {"SQ958", "SQ959"}
    assert "hot0" in found["SQ958"].found
    assert found["SQ958"].severity is Severity.WARNING
    assert "rng0" in found["SQ959"].found
    assert found["SQ959"].part is not None
    assert found["SQ959"].part.line == 0  # a line of the plan is none of the guest


def test_a_plan_names_the_platform() -> None:
    planned = from_argv([*PLAN.split(), *["-device", "virtio-net-pci,id=net0"]]).guest
    assert codes(qemu(), planned=planned) == []
    assert "SQ950" in codes(qemu(""), planned=planned)


def test_a_finding_of_a_guest_that_runs_offers_no_fix() -> None:
    made = qemu()
    made.virtio("bad0", iommu_platform=False)
    (finding,) = [one for one in audit(made).findings if one.code == "SQ301"]
    assert not finding.fixable
    assert finding.fix == ()
    assert finding.remedy


def test_properties_that_nobody_gave_are_no_findings() -> None:
    socket = {"type": "unix", "path": "/run/qgs"}
    digests = {"mrconfigid": "", "mrowner": "", "mrownerconfig": ""}
    tdx = {"attributes": 1 << 28, "sept-ve-disable": True, "quote-generation-socket": socket, **digests}
    made = qemu("tdx-guest", tdx, (11, 1, 2))  # as QEMU 11.1.2 answers
    made.properties("/machine/unattached/device[0]", {"type": "host-x86_64-cpu"})
    assert all_codes(made) == ["SQ953"]


def test_rules_are_selected_as_for_check() -> None:
    made = qemu(link=False)
    made.virtio("hot0", hotplugged=True)
    assert all_codes(made, selection=Selection(select=("SQ958",))) == ["SQ958"]
    assert all_codes(made, selection=Selection(ignore=("SQ101",))) == ["SQ958"]
    assert codes(made, selection=Selection(downgrade=("SQ101",))) == []


def test_firmware_in_flash_is_followed_to_its_file() -> None:
    made = qemu("sev-guest", SEV)
    made.machine(pflash0="libvirt-pflash0-format")
    node = {"node-name": "libvirt-pflash0-format", "drv": "raw", "file": FIRMWARE, "ro": True}
    made.answers[NODES] = [node]
    case = case_of(ask(Seen(made)), None)
    (part,) = case.guest.of("blockdev")
    assert part.get("filename") == FIRMWARE
    assert not case.guest.of("bios")


def test_the_machine_and_the_processor_have_the_names_that_people_give_them() -> None:
    guest = case_of(ask(Seen(qemu())), None).guest
    assert guest.machine.type == "pc-q35-10.0"
    assert guest.cpu.type == "EPYC-v4"
    assert guest.accelerators == ("kvm",)
    assert guest.name == "web"
    assert guest.memory.type == f"{1 << 30}b"


LIES = (None, True, -1, 2**70, 1.5, "", "x", "/machine/x", [], {}, [[]], [{}], [1], {"id": [1]}, [{"id": {}}])


def lies_for(true: Any) -> Iterator[Any]:
    """Yield an answer with each value in it, at every depth, replaced by something else."""
    yield from LIES
    if isinstance(true, dict):
        yield from ({**true, key: lie} for key, value in true.items() for lie in lies_for(value))
    elif isinstance(true, list):
        for at, value in enumerate(true):
            yield from ([*true[:at], lie, *true[at + 1 :]] for lie in lies_for(value))


def everything() -> AskedQemu:
    """A QEMU with one of each thing that is read."""
    made = qemu()
    made.say("query-spice", {"enabled": True, "port": 5, "host": "h", "auth": "none"})
    made.say(
        "query-vnc", {"enabled": True, "host": "0.0.0.0", "service": "5900", "auth": "vnc", "family": "ipv4"}
    )
    made.say("query-accelerators", {"enabled": "kvm"})
    made.machine(pflash0="n0", pflash1="n1", igvm_cfg=f"{OBJECTS}/igvm0")
    made.answers[NODES] = [{"node-name": "n0", "drv": "raw", "file": "/x", "ro": True}]
    made.say("query-block", [{"device": "n1", "inserted": {"drv": "raw", "file": "x", "ro": False}}])
    made.virtio("m0", "virtio-blk-device", parent_bus="/machine/unattached/device[5]/bus")
    made.properties("/machine/peripheral/m0", {"parent_bus": "/machine/unattached/device[5]/bus"})
    made.add(OBJECTS, "mon0", "monitor-qmp", {"chardev": "c"})
    made.add(OBJECTS, "igvm0", "igvm-cfg", {"file": "/x"})
    made.add("/machine/peripheral", "port0", "virtserialport", {"name": "n", "chardev": "c"})
    return made


@pytest.mark.parametrize("asked", sorted(everything().answers, key=repr), ids=str)
def test_whatever_a_qemu_answers_is_judged_or_an_error_of_ours(asked: Command) -> None:
    for lie in lies_for(everything().answers[asked]):
        made = everything()
        made.answers[asked] = lie
        with suppress(SequesterError):
            audit(made)


def test_a_qemu_without_a_machine_is_told_of() -> None:
    made = qemu()
    del made.answers[command("query-target")]
    with pytest.raises(GuestError, match="has not made its machine yet"):
        audit(made)


def test_a_qemu_with_endless_devices_is_given_up() -> None:
    made = qemu()
    made.answers[children(ANONYMOUS)] = [
        {"name": f"device[{number}]", "type": "child<virtio-rng-pci>"} for number in range(5000)
    ]
    with pytest.raises(GuestError, match="5001 devices"):
        audit(made)


def test_paths_that_lead_elsewhere_are_not_followed() -> None:
    made = qemu()
    made.say("x-query-virtio", [{"name": "virtio-net", "path": "/objects/key0"}])
    with pytest.raises(GuestError, match="has a device at"):
        audit(made)


def test_a_property_of_the_object_that_cannot_be_right_is_found() -> None:
    made = qemu(properties={**SNP, "policy": 196608 | 1 << 19})
    made.say("query-sev", {"enabled": True, "state": "running", "snp-policy": 196608 | 1 << 19})
    assert codes(made) == ["SQ801"]


def test_a_question_that_was_refused_has_no_answer() -> None:
    seen = Seen(qemu())
    seen.ask([command("nothing")])
    assert seen.value(command("nothing")) is None
    assert seen.property(MACHINE, "type") is None  # not asked
    assert replace(prop(MACHINE, "type")) == prop(MACHINE, "type")
