"""The engine: selection, order, and that all rules together settle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.findings import Breach, Case, Rule, Severity
from sequester.formats.argv_read import read_argv, read_argv_text
from sequester.guest import Add, Part, Set
from sequester.platforms.registry import resolve
from sequester.rules.catalogue import rule, rules
from sequester.rules.engine import Selection, apply, check

BAD = "qemu-system-x86_64 -M q35,memory-encryption=s0 -accel tcg -object sev-guest,id=s0"


def case_of(text):
    guest = read_argv_text(text.encode(), "g").guest
    return Case(guest, resolve(guest))


def test_codes_are_unique_and_in_order():
    codes = [found.code for found in rules()]
    assert codes == sorted(set(codes))


def test_a_rule_is_found_by_its_code_in_any_case():
    assert rule("sq101").code == "SQ101"
    with pytest.raises(InputError, match="there is no rule SQ999"):
        rule("SQ999")


def test_only_selected_rules_speak():
    assert {f.code for f in check(case_of(BAD), rules(), Selection(select=("SQ10",)))} <= {"SQ104", "SQ105"}


def test_ignored_rules_are_silent():
    assert all(not f.code.startswith("SQ1") for f in check(case_of(BAD), rules(), Selection(ignore=("sq1",))))


def test_downgraded_rules_are_notes():
    found = check(case_of(BAD), rules(), Selection(select=("SQ110",), downgrade=("SQ110",)))
    assert [f.severity for f in found] == [Severity.NOTE]


def test_a_code_that_no_rule_has_is_an_error():
    with pytest.raises(InputError, match="no rule's code begins with 'XY'"):
        check(case_of(BAD), rules(), Selection(ignore=("XY",)))


def test_findings_come_in_the_order_of_the_source():
    text = (
        "qemu-system-x86_64 \\\n -M q35,memory-encryption=s0 \\\n -accel tcg \\\n -object sev-guest,id=s0\n"
    )
    lines = [f.part.line for f in check(case_of(text), rules()) if f.part is not None]
    assert lines == sorted(lines)


def test_rules_that_undo_each_other_are_a_defect_and_never_loop():
    def flip(value, other):
        def find(case):
            if case.guest.machine.text("x") != value:
                yield Breach("x", case.guest.machine, (Set(case.guest.machine.key, "x", value),))

        return Rule(f"ZZ{other}", "t", Severity.ERROR, find, "w", "b", "r", unlimited=True)

    with pytest.raises(RuntimeError, match="do not settle"):
        apply(case_of("qemu-system-x86_64 -M q35"), (flip("a", 1), flip("b", 2)))


DEVICES = (
    "virtio-net-pci",
    "virtio-net-pci-transitional",
    "virtio-blk-pci,disable-legacy=off",
    "virtio-blk-pci,iommu_platform=off,disable-legacy=on",
    "virtio-rng-pci,disable-modern=on",
    "virtio-balloon-pci,free-page-reporting=on",
    "virtio-scsi-pci-non-transitional",
    "vhost-user-fs-pci,chardev=c",
    "e1000e",
    "vfio-pci,host=01:00.0",
    "virtio-mem-pci,memdev=m",
    "nvdimm,memdev=m",
)
OBJECTS = (
    "sev-guest,id=s0",
    "sev-guest,id=s0,policy=5",
    "sev-snp-guest,id=s0,kernel-hashes=on",
    "tdx-guest,id=s0",
)
EXTRA = (
    "-S",
    "-no-reboot",
    "-nodefaults",
    "-only-migratable",
    "-kernel k",
    "-bios b",
    "-drive if=pflash,file=f",
    "-drive if=virtio,file=f",
    "-global virtio-pci.disable-legacy=off",
    "-global virtio-device.iommu_platform=off",
    "-nic user,model=virtio",
    "-incoming defer",
    "-gdb tcp::1",
    "-accel kvm,kernel-irqchip=off",
    "-cpu host",
    "-cpu EPYC,-x2apic",
    "-smp 4,maxcpus=8",
    "-m 1G,slots=2,maxmem=4G",
    "-object memory-backend-memfd,id=m,size=1G,share=on,merge=on",
)
NAMED = "memory-encryption confidential-guest-support"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(DEVICES), max_size=5),
    st.sampled_from(OBJECTS),
    st.lists(st.sampled_from(EXTRA), max_size=6, unique=True),
    st.sampled_from([*NAMED.split(), ""]),
    st.booleans(),
)
def test_every_fix_settles_and_the_edited_text_says_what_the_plan_says(
    devices, thing, extra, spelling, engaged
):
    machine = f"q35,{spelling}=s0" if spelling else "q35"
    text = " ".join(
        [
            "qemu-system-x86_64",
            "-M",
            machine,
            "-object",
            thing,
            *extra,
            *(f"-device {device}" for device in devices),
        ]
    )
    document = read_argv_text(text.encode(), "g")
    case = Case(document.guest, resolve(document.guest), engaged=engaged)
    after, applied = apply(case, rules())
    _, more = apply(after, rules())
    assert not more
    written = document.edited([change for done in applied for change in done.changes])
    read = read_argv_text(written.text.encode(), "g").guest
    reread = Case(read, resolve(read), engaged=engaged)
    assert [f.code for f in check(reread, rules()) if f.fixable] == []


def test_checking_takes_time_in_proportion_to_the_devices():
    argv = ["qemu-system-x86_64", "-M", "q35,confidential-guest-support=s0", "-object", "sev-guest,id=s0"]
    for number in range(2000):
        argv += ["-device", f"virtio-net-pci,id=n{number},disable-legacy=off,iommu_platform=off"]
    guest = read_argv(argv).guest
    _, applied = apply(Case(guest, resolve(guest)), rules())
    assert len(applied) >= 2000


def test_parts_that_two_rules_add_in_one_round_do_not_take_each_others_place():
    def adding(name):
        def find(case):
            if (name, "x") not in case.guest.globals:
                part = Part("global", name, {"x": "off"}, case.guest.next_key)
                yield Breach("", fix=(Add(part), Set(part.key, "x", "on")))

        return Rule(f"T{name}", "", Severity.NOTE, find, "", "", "", unlimited=True)

    document = read_argv_text(b"qemu-system-x86_64 -M q35", "g")
    case, done = apply(Case(document.guest), (adding("a"), adding("b")))
    assert [case.guest.globals[name, "x"].get("x") for name in "ab"] == ["on", "on"]
    written = document.edited([change for applied in done for change in applied.changes])
    assert written.text == "qemu-system-x86_64 -M q35 -global a.x=on -global b.x=on"
