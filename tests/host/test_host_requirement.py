"""How requirements are judged and how evidence is joined; and the checks that the chains use rarely."""

from __future__ import annotations

import pytest
from fake_hosts import bare, by_nobody, error, facts, folder, milan, text, z15

from sequester.host.kernel import (
    cmdline_lacks,
    cmdline_on,
    file_says,
    kernel_built_with,
    log_says,
    module_loaded,
)
from sequester.host.kvm import ids_free, kvm_usable, memory_lockable, node_usable
from sequester.host.processor import bare_metal, cpuinfo_says, msr_bits
from sequester.host.requirement import (
    Check,
    Requirement,
    State,
    Verdict,
    all_of,
    conclude,
    disproves,
    evaluate,
    failed,
    firmware_setup,
    first_of,
    passed,
    proves,
    roots,
    unknown,
    when,
)
from sequester.host.software import libvirt_offers, qemu_property

NOBODY = facts(bare("x86_64", "6.12"))


def says(verdict: Verdict) -> Check:
    return lambda facts: verdict


YES, NO, HUH = says(passed("yes")), says(failed("no", "because", "mend")), says(unknown("huh", "", "ask"))


def test_every_requirement_is_judged_and_later_ones_name_the_failures_that_they_follow_from() -> None:
    chain = (
        Requirement("a", "A", YES),
        Requirement("b", "B", NO, after=("a", "d")),
        Requirement("c", "C", NO, after=("a", "b")),
        Requirement("d", "D", HUH, after=("c",)),
    )
    outcomes = evaluate(chain, NOBODY)
    assert [one.state for one in outcomes] == [State.PASSED, State.FAILED, State.FAILED, State.UNKNOWN]
    assert [one.after_failed for one in outcomes] == [(), (), ("b",), ("c",)]
    assert [one.requirement.name for one in roots(outcomes)] == ["b"]


@pytest.mark.parametrize(
    ("checks", "state"),
    [((YES, YES), State.PASSED), ((YES, HUH), State.UNKNOWN), ((HUH, NO), State.FAILED), ((), State.PASSED)],
)
def test_a_host_is_fit_when_all_needed_requirements_are_met(checks: tuple[Check, ...], state: State) -> None:
    chain = [Requirement(str(number), "", check) for number, check in enumerate(checks)]
    chain.append(Requirement("advice", "", NO, needed=False))
    outcomes = evaluate(chain, NOBODY)
    assert conclude(outcomes) is state
    assert "advice" not in [one.requirement.name for one in roots(outcomes)]


def test_a_check_s_own_remedy_stands_in_for_the_requirement_s() -> None:
    chain = (
        Requirement("own", "", NO, "reason", "general"),
        Requirement("general", "", says(failed("no")), "reason", "general"),
        Requirement("passed", "", YES, "reason", "general"),
    )
    own, general, fine = evaluate(chain, NOBODY)
    assert (own.why, own.remedy) == ("because; reason", "mend")
    assert (general.why, general.remedy) == ("reason", "general")
    assert (fine.why, fine.remedy) == ("", "")


def test_what_ends_up_in_an_outcome_is_one_printable_line() -> None:
    hostile = "\x1b[31m red\n" + "x" * 5000
    chain = (
        Requirement("a", "", says(passed(hostile))),
        Requirement("b", "", says(failed(hostile, hostile, hostile))),
    )
    for outcome in evaluate(chain, NOBODY):
        for line in (outcome.read, outcome.why, outcome.remedy):
            assert line.isprintable()
            assert len(line) <= 1000


def test_what_root_would_tell_is_said_to_others_only() -> None:
    chain = (Requirement("x", "", HUH, root_would_tell="MSR 0x87"),)
    assert evaluate(chain, facts(milan()))[0].remedy == "ask"
    assert evaluate(chain, facts(by_nobody(milan())))[0].remedy == "ask; as root: MSR 0x87"


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (first_of(HUH, NO, YES), State.FAILED),
        (first_of(HUH, YES, NO), State.PASSED),
        (first_of(HUH, HUH), State.UNKNOWN),
        (all_of(YES, HUH, NO), State.FAILED),
        (all_of(YES, HUH), State.UNKNOWN),
        (all_of(YES, YES), State.PASSED),
        (proves(YES), State.PASSED),
        (proves(NO), State.UNKNOWN),
        (disproves(NO), State.FAILED),
        (disproves(YES), State.UNKNOWN),
        (when(YES, NO), State.FAILED),
        (when(NO, NO), State.UNKNOWN),
        (when(HUH, YES), State.UNKNOWN),
    ],
)
def test_evidence_is_joined(check: Check, state: State) -> None:
    assert check(NOBODY).state is state


def test_evidence_that_does_not_tell_is_listed_once_each() -> None:
    verdict = first_of(HUH, HUH, proves(NO), says(unknown("hm", "", "look")))(NOBODY)
    assert (verdict.read, verdict.remedy) == ("huh; hm", "ask; or look")


def test_advice_on_the_firmware_s_setup_is_in_its_vendor_s_words() -> None:
    advice = firmware_setup("usual", {"Dell": "Dell's"})
    assert advice(facts(milan())) == "in the firmware's setup (Dell Inc. PowerEdge R6525 BIOS 2.15.2): Dell's"
    assert advice(NOBODY) == "in the firmware's setup: usual"


def test_advice_does_not_repeat_what_a_hostile_firmware_calls_itself() -> None:
    record = milan()
    record["files"]["/sys/class/dmi/id/sys_vendor"] = text("Evil\x1b[31m\n" + "x" * 5000)
    said = firmware_setup("usual")(facts(record))
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize(
    ("node", "said", "remedy"),
    [
        ({"mode": "0660", "group": "kvm", "uid": 0}, "/dev/x 0660 root:kvm", "usermod -aG kvm USER"),
        ({"mode": "0600", "group": "root", "uid": 0}, "/dev/x 0600 root:root", 'KERNEL=="x", GROUP="kvm"'),
        ({"mode": "0xz0", "group": "kvm", "uid": 0}, "/dev/x 0xz0 root:kvm", 'KERNEL=="x", GROUP="kvm"'),
        ({"mode": "0600", "group": "", "uid": 7, "gid": 9}, "/dev/x 0600 7:9", 'KERNEL=="x", GROUP="kvm"'),
    ],
)
def test_a_device_without_permission_says_which_group_or_rule_gives_it(
    node: dict[str, object], said: str, remedy: str
) -> None:
    record = bare("x86_64", "6.12")
    record["user"] = {"uid": 1000, "groups": []}
    record["nodes"]["/dev/x"] = {"kind": "character device", "gid": 0, "read": False, "write": False, **node}
    verdict = node_usable("/dev/x")(facts(record))
    assert said in verdict.read
    assert remedy in verdict.remedy


def test_a_member_of_the_right_group_who_may_not_use_a_device_is_confined() -> None:
    record = bare("x86_64", "6.12")
    record["user"] = {"uid": 1000, "groups": ["kvm"]}
    record["nodes"]["/dev/kvm"].update({"read": False, "write": False})
    record["kvm"] = error("EACCES")
    assert "AppArmor, SELinux" in kvm_usable()(facts(record)).remedy


def test_a_file_in_place_of_a_device_is_named() -> None:
    record = bare("x86_64", "6.12")
    record["nodes"]["/dev/kvm"] = {**folder(), "kind": "file"}
    record["kvm"] = error("not a device but a file")
    assert "is a file, not a device" in kvm_usable()(facts(record)).read


def test_kvm_that_is_there_and_does_not_answer_fails() -> None:
    record = bare("x86_64", "6.12")
    record["kvm"] = error("EBUSY")
    assert kvm_usable()(facts(record)).state is State.FAILED
    record["kvm"] = {"api": 11, "caps": {}}
    assert "API 11" in kvm_usable()(facts(record)).read


def test_a_missing_device_in_a_container_mentions_the_container() -> None:
    record = bare("x86_64", "6.12")
    record["nodes"] = {"/dev/kvm": error("ENOENT"), "/.dockerenv": {**folder(), "kind": "file"}}
    record["kvm"] = error("ENOENT")
    assert "container (docker)" in kvm_usable()(facts(record)).why


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        (["prot_virt=1"], True),
        (["prot_virt=y"], True),
        (["prot_virt=On"], True),
        (["prot_virt"], True),
        (["prot_virt=yFOO"], True),
        (["prot_virt=0"], False),
        (["prot_virt=off"], False),
        (["prot_virt=1", "prot_virt=0"], False),
        (["xprot_virt=1"], False),
        ([], False),
    ],
)
def test_a_switch_among_the_kernel_s_arguments_is_read_as_the_kernel_does(
    arguments: list[str], on: bool
) -> None:
    record = z15()
    record["cmdline"]["arguments"] = arguments
    assert (cmdline_on("prot_virt")(facts(record)).state is State.PASSED) == on


def test_the_kernel_s_arguments_are_unknown_where_they_cannot_be_read() -> None:
    record = z15()
    record["cmdline"] = error("EACCES")
    for check in (cmdline_on("prot_virt"), cmdline_lacks("iommu", "pt")):
        assert check(facts(record)).state is State.UNKNOWN


def test_silence_means_something_only_in_a_complete_log() -> None:
    record = bare("x86_64", "6.12")
    check = log_says(good=("enabled",), silence="it is off")
    assert check(facts(record)).why == "it is off"
    record["log"]["complete"] = False
    assert check(facts(record)).state is State.UNKNOWN


def test_of_several_bad_lines_the_most_telling_counts() -> None:
    record = bare("x86_64", "6.12")
    record["log"]["lines"] = ["cause 7", "consequence"]
    check = log_says(bad=(("cause", "root", "mend it"), ("consequence", "", "")))
    assert check(facts(record)).why == "root"


def test_registers_that_need_the_msr_module_say_so() -> None:
    record = milan()
    record["msrs"] = {"0xc0010010": error("ENOENT")}
    assert "modprobe msr" in msr_bits(0xC0010010, "SYSCFG", 1, "x")(facts(record)).remedy
    record["msrs"] = {"0xc0010010": 0}
    assert msr_bits(0xC0010010, "SYSCFG", 1, "x", wanted=False)(facts(record)).state is State.PASSED


def test_ids_without_a_cgroup_are_counted_by_cpuid() -> None:
    record = milan()
    del record["files"]["/sys/fs/cgroup/misc.capacity"]
    assert "99 ASIDs by CPUID" in ids_free("sev_es", "ASIDs", "sev_es_asids")(facts(record)).read
    record["cpuid"] = error("EACCES")
    assert ids_free("sev_es", "ASIDs", "sev_es_asids")(facts(record)).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("hard", "uid", "state"), [(None, 1, "passed"), (8 << 20, 1, "failed"), (8 << 20, 0, "passed")]
)
def test_the_limit_on_locked_memory_binds_ordinary_users(hard: int | None, uid: int, state: str) -> None:
    record = bare("x86_64", "6.12")
    record["memlock"] = [1, hard]
    record["user"] = {"uid": uid, "groups": []}
    assert memory_lockable(1 << 30)(facts(record)).state.value == state


@pytest.mark.parametrize(
    ("libvirt", "state"),
    [
        ({"binaries": {}, "asked": False}, "unknown"),
        ({"binaries": {"virsh": "/usr/bin/virsh"}, "asked": False}, "unknown"),
        ({"binaries": {"virsh": "x"}, "asked": True, "error": "no answer within 3 s"}, "unknown"),
        ({"binaries": {"virsh": "x"}, "asked": True, "sectypes": ["sev"], "features": {}}, "failed"),
        ({"binaries": {"virsh": "x"}, "asked": True, "sectypes": ["sev", "sev-snp"]}, "passed"),
        ({"binaries": {"virsh": "x"}, "asked": True, "features": {"sev-snp": True}}, "passed"),
    ],
)
def test_what_libvirt_offers(libvirt: dict[str, object], state: str) -> None:
    record = milan()
    record["libvirt"] = libvirt
    assert libvirt_offers("sev-snp", "10.5.0")(facts(record)).state.value == state


def test_a_property_that_a_type_lacks_is_named_with_the_release_that_has_it() -> None:
    verdict = qemu_property("sev-snp-guest", "secure-tsc", "x86_64", (12, 0))(facts(milan()))
    assert verdict.state is State.FAILED
    assert "12.0" in verdict.remedy
    assert qemu_property("sev-snp-guest", "policy", "x86_64", (9, 1))(facts(milan())).state is State.PASSED


def test_small_checks_answer_unknown_where_nothing_was_read() -> None:
    empty = facts({"schema": "sequester-host/1"})
    for check in (
        cpuinfo_says("cpu", "POWER9"),
        kernel_built_with("CONFIG_KVM"),
        module_loaded("kvm"),
        file_says("/x/y", "1"),
        msr_bits(1, "X", 1, "x"),
        ids_free("sev", "ASIDs"),
        qemu_property("x", "y", "x86_64", (1,)),
    ):
        assert check(empty).state is State.UNKNOWN


def test_a_machine_under_a_hypervisor_is_not_bare() -> None:
    record = milan()
    assert bare_metal()(facts(record)).state is State.PASSED
    record["cpuinfo"]["flags"] += " hypervisor"
    assert bare_metal()(facts(record)).state is State.FAILED
