"""Whole chains of requirements on whole hosts: what fails first is what a person would have to mend first."""

from __future__ import annotations

import copy

import pytest
from fake_hosts import (
    Record,
    by_nobody,
    emerald_rapids,
    error,
    facts,
    milan,
    milan_without_rmp,
    naples,
    power9,
    qemu,
    ryzen,
    tdx_module_too_old,
    tdx_off_in_firmware,
    text,
    z15,
)

from sequester.host.requirement import Outcome, State, conclude, evaluate, roots
from sequester.platforms.registry import platforms

ALL = {platform.name: platform.host_requirements() for platform in platforms()}


def judge(platform: str, record: Record) -> dict[str, Outcome]:
    return {outcome.requirement.name: outcome for outcome in evaluate(ALL[platform], facts(record))}


def first_to_mend(platform: str, record: Record) -> list[str]:
    return [outcome.requirement.name for outcome in roots(evaluate(ALL[platform], facts(record)))]


@pytest.mark.parametrize("platform", ALL)
def test_a_chain_names_every_requirement_once_and_follows_only_from_its_own(platform: str) -> None:
    names = [requirement.name for requirement in ALL[platform]]
    assert len(set(names)) == len(names)
    assert {name for requirement in ALL[platform] for name in requirement.after} <= set(names)


@pytest.mark.parametrize(
    ("platform", "record"),
    [
        ("sev", milan()),
        ("sev-es", milan()),
        ("sev-snp", milan()),
        ("sev", naples()),
        ("tdx", emerald_rapids()),
        ("s390-pv", z15()),
        ("pef", power9()),
    ],
)
def test_a_host_that_has_everything_passes(platform: str, record: Record) -> None:
    outcomes = evaluate(ALL[platform], facts(record))
    assert [
        outcome for outcome in outcomes if outcome.requirement.needed and outcome.state is not State.PASSED
    ] == []
    assert conclude(outcomes) is State.PASSED


@pytest.mark.parametrize(
    ("platform", "record"),
    [("sev-snp", milan()), ("tdx", emerald_rapids()), ("s390-pv", z15()), ("pef", power9())],
)
def test_an_ordinary_user_gets_the_same_answer_but_for_devices_that_only_root_may_open(
    platform: str, record: Record
) -> None:
    outcomes = judge(platform, by_nobody(record))
    assert {
        name for name, one in outcomes.items() if one.state is State.UNKNOWN and one.requirement.needed
    } == set()
    assert [name for name, one in outcomes.items() if one.state is State.FAILED] == (
        ["dev-sev"] if platform == "sev-snp" else []
    )


def test_without_a_reserved_rmp_the_firmware_setting_is_named_in_the_vendors_words() -> None:
    outcomes = judge("sev-snp", milan_without_rmp())
    assert first_to_mend("sev-snp", milan_without_rmp()) == ["rmp"]
    rmp = outcomes["rmp"]
    assert "0xc0010132" in rmp.read
    assert "Dell Inc. PowerEdge R6525 BIOS 2.15.2" in rmp.remedy
    assert "SNP Memory Coverage = Enabled" in rmp.remedy
    assert outcomes["kvm-sev-snp"].after_failed == ("rmp",)
    assert outcomes["kvm-vm-type"].state is State.FAILED


def test_without_a_reserved_rmp_an_ordinary_user_learns_it_from_the_missing_flag() -> None:
    record = by_nobody(milan_without_rmp())
    rmp = judge("sev-snp", record)["rmp"]
    assert rmp.state is State.FAILED
    assert "no flag sev_snp" in rmp.read


def test_without_a_reserved_rmp_sev_and_sev_es_still_work() -> None:
    record = facts(milan_without_rmp())
    assert conclude(evaluate(ALL["sev-es"], record)) is State.PASSED


def test_an_rmp_that_covers_only_a_part_of_memory_says_so() -> None:
    record = milan_without_rmp()
    record["msrs"] = {}
    line = "SEV-SNP: Memory reserved for the RMP table does not cover full system RAM (expected 0x8 got 0x4)"
    record["log"]["lines"] = ["SEV-SNP: RMP table physical range [0x1 - 0x2]", line]
    assert "part of memory" in judge("sev-snp", record)["rmp"].why


def test_naples_does_sev_and_is_told_which_processor_does_more() -> None:
    assert conclude(evaluate(ALL["sev"], facts(naples()))) is State.PASSED
    snp = judge("sev-snp", naples())["cpu-sev-snp"]
    assert snp.state is State.FAILED
    assert "CPUID 0x8000001f EAX=0x00000007: bit 4 (SEV-SNP) is clear" in snp.read
    assert "7003" in snp.remedy
    assert first_to_mend("sev-snp", naples()) == ["cpu-sev-snp", "psp-firmware"]


def test_sev_es_on_a_host_that_gave_all_asids_to_plain_sev_points_at_the_firmware_setting() -> None:
    record = milan()
    record["cpuid"]["leaves"]["0x8000001f"][3] = 1
    record["files"]["/sys/fs/cgroup/misc.capacity"] = text("sev 509\nsev_es 0")
    record["files"]["/sys/module/kvm_amd/parameters/sev_es"] = text("N")
    asids = judge("sev-es", record)["asids"]
    assert asids.state is State.FAILED
    assert "Minimum SEV non-ES ASID" in asids.remedy


def test_a_ryzen_with_the_flag_is_told_that_the_flag_is_not_enough() -> None:
    outcomes = judge("sev", ryzen())
    assert outcomes["cpu-sev"].state is State.PASSED
    assert outcomes["memory-encryption"].state is State.PASSED
    assert first_to_mend("sev", ryzen()) == ["cpu-epyc"]
    assert "no SEV firmware" in outcomes["cpu-epyc"].why
    assert outcomes["dev-sev"].after_failed == ("cpu-epyc",)


@pytest.mark.parametrize("spelling", ["Y", "y", "1"])
def test_every_spelling_of_a_module_parameter_that_is_on_counts(spelling: str) -> None:
    record = milan()
    for name in ("sev", "sev_es", "sev_snp"):
        record["files"][f"/sys/module/kvm_amd/parameters/{name}"] = text(spelling)
    assert conclude(evaluate(ALL["sev-snp"], facts(record))) is State.PASSED


@pytest.mark.parametrize("spelling", ["N", "0"])
def test_a_module_parameter_that_is_off_comes_with_the_command_that_turns_it_on(spelling: str) -> None:
    record = milan()
    record["files"]["/sys/module/kvm_amd/parameters/sev_snp"] = text(spelling)
    outcome = judge("sev-snp", record)["kvm-sev-snp"]
    assert outcome.state is State.FAILED
    assert "modprobe -r kvm_amd && modprobe kvm_amd" in outcome.remedy


def test_memory_encryption_off_is_told_from_the_register_by_root_and_from_the_flag_by_others() -> None:
    record = milan()
    record["msrs"]["0xc0010010"] &= ~(1 << 23)
    record["cpuinfo"]["flags"] = "fpu svm"
    assert "MSR 0xc0010010 (SYSCFG)" in judge("sev", record)["memory-encryption"].read
    assert "no flag sev" in judge("sev", by_nobody(record))["memory-encryption"].read


@pytest.mark.parametrize(
    "arguments", [["iommu=pt"], ["iommu=pt", "iommu=1"], ["amd_iommu=off"], ["iommu.passthrough=1"]]
)
def test_an_iommu_in_passthrough_mode_rules_out_snp_and_says_which_argument(arguments: list[str]) -> None:
    record = milan_without_rmp()
    record["cmdline"]["arguments"] = arguments
    record["log"] = error("EPERM")
    outcome = judge("sev-snp", record)["iommu"]
    assert outcome.state is State.FAILED
    assert arguments[0] in outcome.read
    assert arguments[0] in outcome.remedy


def test_the_misleading_message_about_the_iommu_leads_to_the_setting_it_means() -> None:
    record = milan_without_rmp()
    record["log"]["lines"] = ["AMD-Vi: SNP: IOMMU SNP feature not enabled, SNP cannot be supported."]
    record["files"]["/sys/class/dmi/id/sys_vendor"] = text("Supermicro")
    outcome = judge("sev-snp", record)["iommu"]
    assert "SEV-SNP Support = Enabled (Auto means off)" in outcome.remedy


def test_sev_firmware_that_is_too_old_is_named_with_its_version_and_source() -> None:
    record = milan_without_rmp()
    record["sev"]["platform"].update({"major": 1, "minor": 49})
    outcome = judge("sev-snp", record)["psp-firmware"]
    assert outcome.state is State.FAILED
    assert "SEV API 1.49, older than 1.51 (/dev/sev PLATFORM_STATUS)" in outcome.read


def test_a_security_processor_that_refuses_to_start_is_decoded() -> None:
    record = milan_without_rmp()
    record["files"]["/sys/module/kvm_amd/parameters/sev"] = text("N")
    record["log"]["lines"] = ["ccp 0000:22:00.1: SEV: failed to INIT error 0x3, rc -5"]
    outcome = judge("sev-snp", record)["psp-init"]
    assert "INVALID_CONFIG" in outcome.why
    assert "UEFI" in outcome.remedy


def test_asids_that_are_all_in_use_are_told_apart_from_asids_that_never_were() -> None:
    record = milan()
    record["files"]["/sys/fs/cgroup/misc.current"] = text("sev 0\nsev_es 99")
    outcome = judge("sev-snp", record)["asids"]
    assert outcome.state is State.FAILED
    assert "taken by running guests" in outcome.why


def test_use_of_ids_is_summed_over_the_groups_where_the_root_has_none() -> None:
    record = milan()
    record["files"]["/sys/fs/cgroup/misc.current"] = error("ENOENT")
    record["files"]["/sys/fs/cgroup/machine.slice/misc.current"] = text("sev 0\nsev_es 40")
    record["files"]["/sys/fs/cgroup/system.slice/misc.current"] = text("sev 0\nsev_es 2")
    assert "57 of 99" in judge("sev-snp", record)["asids"].read


def test_a_kernel_older_than_mainline_s_counts_when_the_parameter_was_ported_back() -> None:
    record = milan()
    record["files"]["/proc/sys/kernel/osrelease"] = text("5.14.0-503.el9.x86_64")
    assert "ported back" in judge("sev-snp", record)["kernel"].read


def test_a_kernel_that_is_too_old_says_which_one_it_takes() -> None:
    record = milan()
    record["files"]["/proc/sys/kernel/osrelease"] = text("6.1.0-18-amd64")
    record["files"]["/sys/module/kvm_amd/parameters/sev_snp"] = error("ENOENT")
    outcomes = judge("sev-snp", record)
    assert "6.11" in outcomes["kernel"].remedy
    assert "does not know sev_snp" in outcomes["kvm-sev-snp"].why


def test_several_qemus_are_told_apart_by_version() -> None:
    record = milan()
    record["qemu"].insert(0, qemu("/opt/old/qemu-system-x86_64", [7, 2, 22], "x86_64", "sev-guest"))
    outcome = judge("sev-snp", record)["qemu"]
    assert outcome.state is State.PASSED
    assert "QEMU 11.1.2 (/usr/bin/qemu-system-x86_64)" in outcome.read
    assert "QEMU 7.2.22 (/opt/old/qemu-system-x86_64) is older than 9.1" in outcome.read
    del record["qemu"][1]
    assert judge("sev-snp", record)["qemu"].state is State.FAILED


def test_a_new_qemu_without_the_type_was_built_without_it() -> None:
    record = milan()
    record["qemu"] = [qemu("/usr/bin/qemu-system-x86_64", [11, 1, 2], "x86_64")]
    assert "built without it (CONFIG_SEV)" in judge("sev-snp", record)["qemu"].read


def test_a_qemu_that_does_not_answer_leaves_the_question_open() -> None:
    record = milan()
    record["qemu"] = [{"path": "/usr/bin/qemu-system-x86_64", "error": "no answer within 3 s"}]
    outcome = judge("sev-snp", record)["qemu"]
    assert outcome.state is State.UNKNOWN
    assert "no answer within 3 s" in outcome.read


def test_a_missing_firmware_image_is_told_from_a_missing_descriptor() -> None:
    record = milan()
    record["firmware"][0]["present"] = False
    assert "it is not there" in judge("sev-snp", record)["firmware"].why
    del record["firmware"][0]
    assert "none with amd-sev-snp" in judge("sev-snp", record)["firmware"].read


def test_tdx_that_is_off_in_the_firmware_lists_all_settings_it_takes() -> None:
    outcomes = judge("tdx", tdx_off_in_firmware())
    assert first_to_mend("tdx", tdx_off_in_firmware()) == ["bios"]
    assert "MSR 0x87" in outcomes["bios"].read
    assert "key split" in outcomes["bios"].remedy
    assert outcomes["kvm-tdx"].after_failed == ("bios",)


def test_tdx_that_is_off_in_the_firmware_is_known_without_root() -> None:
    outcome = judge("tdx", by_nobody(tdx_off_in_firmware()))["bios"]
    assert outcome.state is State.FAILED
    assert "no flag tdx_host_platform" in outcome.read


def test_a_tdx_module_that_is_too_old_is_told_from_one_that_is_not_there() -> None:
    outcomes = judge("tdx", tdx_module_too_old())
    assert first_to_mend("tdx", tdx_module_too_old()) == ["module"]
    assert "0xc000050500000000" in outcomes["module"].read
    assert "older than Linux needs" in outcomes["module"].why
    missing = tdx_module_too_old()
    missing["log"]["lines"][1:] = [
        "virt/tdx: module not loaded",
        "virt/tdx: module initialization failed (-19)",
    ]
    assert "SEAM Loader" in judge("tdx", missing)["module"].remedy


def test_a_later_success_outweighs_an_earlier_failure_in_the_log() -> None:
    record = tdx_module_too_old()
    record["log"]["lines"].append("virt/tdx: module initialized")
    assert judge("tdx", record)["module"].state is State.PASSED


def test_hibernation_in_the_way_of_tdx_is_one_argument() -> None:
    record = tdx_off_in_firmware()
    record["log"]["lines"] = [
        "virt/tdx: BIOS enabled: private KeyID range [64, 128)",
        "virt/tdx: initialization failed: Hibernation support is enabled",
    ]
    assert "nohibernate" in judge("tdx", record)["bios"].remedy


def test_a_desktop_intel_has_no_tdx_whatever_its_firmware_says() -> None:
    record = tdx_off_in_firmware()
    record["cpuinfo"].update({"model": "158", "model name": "Intel(R) Core(TM) i7-8700"})
    record["cpuid"]["leaves"]["0x7"] = [0, 0, 0, 0]
    assert first_to_mend("tdx", record)[0] == "cpu-tdx"


def test_s390_without_prot_virt_asks_for_the_argument() -> None:
    record = z15()
    record["cmdline"]["arguments"] = []
    record["files"]["/sys/firmware/uv/prot_virt_host"] = text("0")
    record["kvm"]["caps"] = {"180": 0}
    assert first_to_mend("s390-pv", record) == ["prot-virt-argument"]
    assert "zipl" in judge("s390-pv", record)["prot-virt-argument"].remedy


def test_s390_in_a_container_does_not_take_hidden_sysfs_for_a_missing_ultravisor() -> None:
    record = z15()
    record["nodes"]["/run/.containerenv"] = {**record["nodes"]["/dev/kvm"], "kind": "file"}
    record["nodes"]["/sys/firmware/uv"] = error("ENOENT")
    for name in ("host", "guest"):
        del record["files"][f"/sys/firmware/uv/prot_virt_{name}"]
    outcome = judge("s390-pv", record)["prot-virt-host"]
    assert outcome.state is State.UNKNOWN
    assert "hidden from this container (podman)" in outcome.read


def test_an_s390_qemu_on_x86_is_told_that_it_lacks_kvm() -> None:
    record = z15()
    record["qemu"] = [qemu("/usr/bin/qemu-system-s390x", [11, 1, 2], "s390x")]
    assert "KVM, on s390x" in judge("s390-pv", record)["qemu"].read


def test_power10_is_told_that_only_power9_has_it() -> None:
    record = power9()
    record["cpuinfo"]["cpu"] = "POWER10 (architected), altivec supported"
    record["nodes"]["/proc/device-tree/ibm,ultravisor"] = error("ENOENT")
    record["kvm"]["caps"] = {"181": 0}
    assert first_to_mend("pef", record) == ["cpu"]


def test_a_virtual_machine_is_told_that_its_hypervisor_decides() -> None:
    record = milan()
    record["cpuid"]["leaves"]["0x8000001f"] = [0, 0, 0, 0]
    record["cpuid"]["leaves"]["0x40000000"] = [0x40000001, 0x4B4D564B, 0x564B4D56, 0x4D]
    outcome = judge("sev", record)["cpu-sev"]
    assert "KVMKVMKVM" in outcome.why
    assert outcome.remedy == "use a physical machine"


@pytest.mark.parametrize("platform", ALL)
def test_a_host_of_another_architecture_fails_at_the_first_step(platform: str) -> None:
    other = z15() if platform != "s390-pv" else milan()
    outcomes = evaluate(ALL[platform], facts(other))
    assert outcomes[0].requirement.name == "arch"
    assert outcomes[0].state is State.FAILED


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize(
    "part", ["files", "cpuinfo", "cpuid", "msrs", "nodes", "kvm", "sev", "log", "config", "qemu"]
)
def test_a_chain_judges_a_record_with_a_part_missing(platform: str, part: str) -> None:
    for host in (milan(), emerald_rapids(), z15(), power9()):
        record = copy.deepcopy(host)
        del record[part]
        for outcome in evaluate(ALL[platform], facts(record)):
            assert outcome.read or outcome.state is State.UNKNOWN


@pytest.mark.parametrize("platform", ALL)
def test_every_failure_says_what_was_read_why_it_matters_and_what_mends_it(platform: str) -> None:
    empty = facts({"schema": "sequester-host/1", "arch": "x86_64", "qemu": []})
    for host in (empty, facts(ryzen()), facts(tdx_module_too_old()), facts(milan_without_rmp())):
        for outcome in evaluate(ALL[platform], host):
            if outcome.state is State.FAILED:
                assert outcome.read
                assert outcome.why
                assert outcome.remedy or outcome.requirement.name == "arch" or outcome.after_failed
