"""SQ2xx: memory that the host cannot read is neither merged nor dumped, and not asked to do what it cannot."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, CCA, PEF, PLAIN, PV, SEV, SEV_ES, SNP, TDX, case_of, codes, fixed, found

from sequester.findings import Severity
from sequester.guest import NotCarried
from sequester.guest.guest import complete
from sequester.guest.part import Part
from sequester.host.facts import HostFacts
from sequester.platforms.registry import resolve
from sequester.rules.engine import check
from sequester.rules.memory import RULES

GOOD = ",mem-merge=off,dump-guest-core=off"
MEMORY = (
    "-object memory-backend-ram,id=m,size=1G,merge=on,dump=on,prealloc=on,host-nodes=0,policy=bind",
    "-object memory-backend-file,id=m,size=1G,mem-path=/var/tmp/m,share=on",
    "-object memory-backend-memfd,id=m,size=1G,hugetlb=on",
    "-mem-path /dev/hugepages",
    "-mem-prealloc",
    "-overcommit mem-lock=on",
    "-device virtio-balloon-pci,free-page-reporting=on",
    "-device virtio-mem-pci,memdev=m",
    "-device pc-dimm,memdev=m",
    "-machine aux-ram-share=on",
    "-machine mem-merge=on,dump-guest-core=on",
)


def what(text, **more):
    return codes(RULES, text, **more)


def good(guest):
    """The guest with what a plan would give its machine."""
    return guest.replace("confidential-guest-support=s0", f"confidential-guest-support=s0{GOOD}")


@pytest.mark.parametrize("option", MEMORY)
def test_nothing_is_said_of_a_guest_without_limitation(option):
    assert what(f"{PLAIN} {option}") == []


@pytest.mark.parametrize("guest", ALL)
def test_an_ordinary_guest_with_merging_and_dumps_off_has_no_finding(guest):
    more = "-m 4G -overcommit mem-lock=off -object memory-backend-ram,id=m,size=4G -machine memory-backend=m"
    assert what(f"{good(guest)} {more} -device virtio-rng-pci") == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ALL), st.lists(st.sampled_from(MEMORY), max_size=6, unique=True))
def test_every_fix_settles_and_is_not_wanted_twice(guest, options):
    fixed(RULES, " ".join([guest, *options]))


# SQ201, SQ202


@pytest.mark.parametrize("guest", ALL)
def test_merging_is_turned_off_where_nothing_is_said_of_it(guest):
    assert "SQ201" in what(guest)
    text = fixed(RULES, guest)
    assert "confidential-guest-support=s0,mem-merge=off" in text
    assert "SQ201" not in what(text)


def test_merging_is_turned_off_where_it_was_turned_on():
    text = SEV.replace("s0 ", "s0,mem-merge=on,dump-guest-core=off ", 1)
    assert fixed(RULES, text) == text.replace("mem-merge=on", "mem-merge=off")
    assert "with mem-merge=on" in found(RULES, text, "SQ201")[0].found


def test_the_machine_of_a_guest_that_names_none_gets_an_option():
    text = "qemu-system-x86_64 -object sev-guest,id=s0 -machine confidential-guest-support=s0"
    assert fixed(RULES, text).endswith("confidential-guest-support=s0,mem-merge=off,dump-guest-core=off")


@pytest.mark.parametrize(
    ("guest", "severity"), [(SNP, Severity.WARNING), (PV, Severity.NOTE), (PEF, Severity.NOTE)]
)
def test_merging_is_a_note_where_the_guest_switches_over_later(guest, severity):
    (finding,) = found(RULES, guest, "SQ201")
    assert finding.severity is severity


def test_a_backend_that_turns_merging_on_is_turned_off_and_named():
    text = f"{good(SNP)} -object memory-backend-ram,id=ram,size=1G,merge=on"
    (finding,) = found(RULES, text, "SQ202")
    assert "memory-backend-ram" in finding.found
    assert "merge=on" in finding.found
    assert fixed(RULES, text) == text.replace("merge=on", "merge=off")


def test_a_backend_in_json_is_turned_off_with_a_boolean():
    text = f'{good(SNP)} -object \'{{"qom-type":"memory-backend-ram","id":"r","size":64,"merge":true}}\''
    assert fixed(RULES, text).endswith('"merge":false}\'')


@pytest.mark.parametrize("merge", ["", ",merge=off"])
def test_a_backend_that_follows_the_machine_is_right(merge):
    assert what(f"{good(SEV)} -object memory-backend-ram,id=ram,size=1G{merge}") == []


# SQ203


HUGE = (
    "-object memory-backend-memfd,id=m,size=1G,hugetlb=on",
    "-object memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages/libvirt/qemu/1",
    "-object memory-backend-file,id=m,size=1G,mem-path=/mnt/huge",
    "-mem-path /dev/hugepages1G",
)


@pytest.mark.parametrize("option", HUGE)
def test_huge_pages_are_an_error_for_a_platform_that_takes_memory_by_small_pages(option):
    (finding,) = found(RULES, f"{good(PV)} {option}", "SQ203")
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize("option", HUGE)
@pytest.mark.parametrize("guest", [SEV, PEF])
def test_huge_pages_are_right_elsewhere(guest, option):
    assert what(f"{good(guest)} {option}") == []


def test_a_file_that_is_not_on_hugetlbfs_is_no_huge_page():
    option = "-object memory-backend-file,id=m,size=1G,mem-path=/dev/shm/guest-huge"
    assert what(f"{good(PV)} {option}", code="SQ203") == []


# SQ204, SQ205


@pytest.mark.parametrize(
    ("guest", "device", "severity"),
    [
        (SEV, "virtio-mem-pci", Severity.ERROR),
        (SEV_ES, "virtio-mem-pci", Severity.ERROR),
        (SNP, "virtio-mem-pci", Severity.WARNING),
        (TDX, "pc-dimm", Severity.WARNING),
        (CCA, "virtio-mem-pci", Severity.WARNING),
        (PV, "virtio-mem-ccw", Severity.WARNING),
    ],
)
def test_memory_that_is_plugged_in_is_named(guest, device, severity):
    (finding,) = found(RULES, f"{good(guest)} -device {device},id=more,memdev=m")
    assert (finding.code, finding.severity) == ("SQ204", severity)
    assert "'more'" in finding.found


@pytest.mark.parametrize(("guest", "device"), [(SEV, "pc-dimm"), (PEF, "virtio-mem-pci")])
def test_memory_may_be_plugged_in_where_nothing_speaks_against_it(guest, device):
    assert what(f"{good(guest)} -device {device},memdev=m") == []


@pytest.mark.parametrize("guest", ALL)
@pytest.mark.parametrize("driver", ["virtio-balloon", "virtio-balloon-pci", "virtio-balloon-ccw"])
def test_a_balloon_is_a_note_on_every_platform_and_is_left_alone(guest, driver):
    text = f"{good(guest)} -device {driver},id=b"
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity) == ("SQ205", Severity.NOTE)
    assert fixed(RULES, text) == text


def test_a_balloon_that_should_report_free_pages_says_so():
    (finding,) = found(RULES, f"{good(SNP)} -device virtio-balloon-pci,free-page-reporting=on")
    assert "reports no free pages" in finding.found


# SQ206


def domain(overcommit, *left):
    parts = [
        Part("machine", "q35", {"mem-merge": "off", "dump-guest-core": "off"}, 0),
        Part("m", "1048576k", {}, 1),
        Part("overcommit", "", {"mem-lock": overcommit}, 2),
        Part("limitation", "sev", {"policy": "7"}, 3, "lsec0"),
    ]
    return complete("x86_64", "", parts, "libvirt", [NotCarried(what) for what in left])


def of_domain(guest):
    from sequester.findings import Case

    return [finding.code for finding in check(Case(guest, resolve(guest)), RULES)]


def test_a_domain_whose_memory_is_pinned_needs_a_limit_for_it():
    assert of_domain(domain("off")) == ["SQ206"]


@pytest.mark.parametrize("guest", [domain("on"), domain("off", "<memtune> in <domain>")])
def test_a_domain_that_speaks_of_locked_memory_is_believed(guest):
    assert of_domain(guest) == []


@pytest.mark.parametrize(
    ("memlock", "uid", "memory", "expected"),
    [
        (64 << 20, 1000, "-m 4G", ["SQ206"]),
        (64 << 20, 1000, "", ["SQ206"]),
        (8 << 30, 1000, "-m 4G", []),
        (4 << 30, 1000, "-m 4096", ["SQ206"]),
        (None, 1000, "-m 4G", []),
        (64 << 20, 0, "-m 4G", []),
        (64 << 20, 1000, "-m nonsense", []),
    ],
)
def test_a_host_whose_users_may_lock_too_little_is_told_apart(memlock, uid, memory, expected):
    assert what(f"{good(SEV)} {memory}", host=HostFacts(memlock=memlock, uid=uid)) == expected


def test_nothing_is_pinned_elsewhere():
    assert what(f"{good(SNP)} -m 4G", host=HostFacts(memlock=0, uid=1000)) == []


# SQ207, SQ208


@pytest.mark.parametrize("guest", [SNP, TDX, CCA])
@pytest.mark.parametrize(
    "option",
    [
        "-object memory-backend-ram,id=m,size=1G,prealloc=on",
        "-mem-prealloc",
        "-overcommit mem-lock=on",
    ],
)
def test_memory_that_is_taken_at_once_is_a_note_where_private_memory_is_elsewhere(guest, option):
    (finding,) = found(RULES, f"{good(guest)} {option}")
    assert (finding.code, finding.severity) == ("SQ207", Severity.NOTE)


def test_huge_pages_that_are_never_given_back_are_a_warning_and_named_once():
    option = "-object memory-backend-memfd,id=m,size=1G,hugetlb=on,prealloc=on"
    (finding,) = found(RULES, f"{good(SNP)} {option}")
    assert (finding.code, finding.severity) == ("SQ207", Severity.WARNING)


@pytest.mark.parametrize("guest", [SEV, SEV_ES, PV, PEF])
def test_memory_may_be_taken_at_once_where_there_is_but_one_copy(guest):
    assert what(f"{good(guest)} -object memory-backend-ram,id=m,size=1G,prealloc=on -mem-prealloc") == []


@pytest.mark.parametrize("more", ["host-nodes=0,policy=bind", "policy=interleave", "host-nodes=1"])
def test_a_numa_policy_is_a_note_where_private_memory_is_elsewhere(more):
    text = f"-object memory-backend-ram,id=m,size=1G,{more}"
    assert what(f"{good(TDX)} {text}") == ["SQ208"]
    assert what(f"{good(SEV)} {text}") == []
    assert what(f"{good(TDX)} -object memory-backend-ram,id=m,size=1G,policy=default") == []


# SQ209, SQ210, SQ211


@pytest.mark.parametrize("guest", ALL)
def test_core_files_go_without_guest_memory(guest):
    text = guest.replace("s0 ", "s0,mem-merge=off ", 1)
    assert what(text) == ["SQ209"]
    assert fixed(RULES, text) == guest.replace("s0 ", "s0,mem-merge=off,dump-guest-core=off ", 1)


def test_a_backend_that_is_dumped_is_named_and_turned_off():
    text = f"{good(SNP)} -object memory-backend-ram,id=m,size=1G,dump=on"
    assert what(text) == ["SQ209"]
    assert fixed(RULES, text) == text.replace("dump=on", "dump=off")


def test_libvirt_turns_dumps_off_by_itself():
    assert of_domain(domain("on").changed([])) == []


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("memory-backend-file,id=m,size=1G,mem-path=/var/tmp/m,share=on", ["SQ210"]),
        ("memory-backend-file,id=m,size=1G,mem-path=/var/tmp/m,share=on,discard-data=on", []),
        ("memory-backend-file,id=m,size=1G,mem-path=/var/tmp/m", []),
        ("memory-backend-file,id=m,size=1G,mem-path=/dev/shm/m,share=on", []),
        ("memory-backend-file,id=m,size=1G,mem-path=/var/tmp/,share=on", []),
        ("memory-backend-memfd,id=m,size=1G,share=on", []),
    ],
)
def test_only_a_shared_file_on_a_disk_keeps_memory(backend, expected):
    assert what(f"{good(SEV)} -object {backend}") == expected


def test_a_live_update_is_a_note_where_it_is_refused():
    assert what(f"{good(SNP)} -machine aux-ram-share=on") == ["SQ211"]
    assert what(f"{good(SEV)} -machine aux-ram-share=on") == []


def test_a_guest_whose_platform_is_not_known_is_judged_by_what_holds_for_all():
    text = good(SEV).replace("sev-guest", "other-guest") + " -device virtio-mem-pci"
    assert case_of(text).limitation is None
    assert what(text) == []


@pytest.mark.parametrize(
    ("backend", "mended"),
    [
        (
            "memory-backend-memfd-private,id=m,size=1G,share=true",
            "memory-backend-memfd,id=m,size=1G,share=true",
        ),
        ("memory-backend-ram,id=m,size=1G,private=on", "memory-backend-ram,id=m,size=1G"),
    ],
)
def test_a_backend_of_the_first_patched_qemus_becomes_one_that_was_released(backend, mended):
    assert "SQ212" in codes(RULES, SNP + f" -object {backend}")
    assert f"-object {mended}" in fixed(RULES, SNP + f" -object {backend}")


def test_an_unreleased_backend_with_a_path_is_reported_and_left():
    text = SNP + " -object memory-backend-memfd-private,id=m,size=1G,path=/x"
    assert "SQ212" in codes(RULES, text)
    assert "memory-backend-memfd-private" in fixed(RULES, text)
