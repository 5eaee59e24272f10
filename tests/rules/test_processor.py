"""SQ5xx: the processor that a platform needs, and that neither model nor limitation is changed for the other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, PLAIN, PV, SEV, SEV_ES, SNP, TDX, case_of, codes, fixed, found

from sequester.findings import Case, Severity
from sequester.guest import NotCarried
from sequester.guest.guest import complete
from sequester.guest.part import Part
from sequester.platforms.registry import resolve
from sequester.rules.engine import check
from sequester.rules.processor import RULES

S390 = "qemu-system-s390x -nodefaults -M s390-ccw-virtio"
PROCESSOR = (
    "-cpu host",
    "-cpu EPYC-v4,pmu=on,phys-bits=48",
    "-cpu qemu64,host-phys-bits=off",
    "-accel kvm,kernel-irqchip=off",
    "-machine kernel_irqchip=on",
    "-machine smm=on,pic=on",
    "-smp 300",
)


def what(text, **more):
    return codes(RULES, text, **more)


@pytest.mark.parametrize("option", PROCESSOR)
def test_nothing_is_said_of_a_guest_without_limitation(option):
    assert what(f"{PLAIN} {option}") == []


@pytest.mark.parametrize("guest", ALL)
def test_the_hosts_processor_and_qemus_defaults_are_right(guest):
    assert what(f"{guest} -accel kvm -cpu host -smp 4 -machine vmport=off,smm=off") == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ALL), st.lists(st.sampled_from(PROCESSOR), max_size=5, unique=True))
def test_every_fix_settles_and_is_not_wanted_twice(guest, options):
    fixed(RULES, " ".join([guest, *options]))


# SQ501


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("", " -cpu host"),
        (" -cpu qemu64", " -cpu host"),
        (" -cpu EPYC-v4,+aes,kvm=off", " -cpu host,+aes,kvm=off"),
    ],
)
def test_a_model_that_the_platform_does_not_take_becomes_the_hosts(given_, expected):
    assert [f.severity for f in found(RULES, TDX + given_, "SQ501")] == [Severity.ERROR]
    assert fixed(RULES, TDX + given_) == TDX + expected


@pytest.mark.parametrize("model", ["host", "max", "host,-avx10"])
def test_the_hosts_model_is_right(model):
    assert what(f"{TDX} -cpu {model}") == []


@pytest.mark.parametrize("guest", [SEV, SNP, PV])
def test_other_platforms_take_any_model(guest):
    assert what(f"{guest} -cpu {'EPYC-v4' if guest != PV else 'host'}") == []


def test_a_simulation_has_the_model_that_it_can_have():
    assert what(f"{TDX} -cpu EPYC", engaged=False) == []


def test_libvirts_host_model_is_a_named_one():
    parts = [
        Part("machine", "q35", {}, 0),
        Part("cpu", "host", {}, 1),
        Part("limitation", "tdx", {}, 2, "lsec0"),
    ]
    left = [NotCarried("<cpu mode='host-model'>: libvirt works the model out on the host")]
    for not_carried, expected in ((left, ["SQ501"]), ([], [])):
        guest = complete("x86_64", "", parts, "libvirt", not_carried)
        assert [f.code for f in check(Case(guest, resolve(guest)), RULES)] == expected


# SQ502, SQ508: rule 8 of the design, row by row


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("", []),
        ("-cpu host", []),
        ("-cpu max", []),
        ("-cpu host,unpack=on", []),
        ("-cpu gen15a,unpack=on", []),
        ("-cpu gen16a-base,unpack=on", []),
        ("-cpu host,unpack=off", ["SQ502"]),
        ("-cpu gen15a,-unpack", ["SQ502"]),
        ("-cpu gen15a", ["SQ502"]),
        ("-cpu gen16a-base,nnpa=on", ["SQ502"]),
        ("-cpu z14", ["SQ502"]),
        ("-cpu z14.2-base", ["SQ502"]),
        ("-cpu z13s,unpack=on", ["SQ502"]),
        ("-cpu zEC12.2", ["SQ502"]),
    ],
)
def test_with_the_limitation_the_feature_must_be_there_and_neither_is_changed(cpu, expected):
    text = f"{PV} {cpu}".rstrip()
    assert what(text) == expected
    assert all(f.severity is Severity.ERROR and not f.fixable for f in found(RULES, text))
    assert fixed(RULES, text) == text


def test_a_model_that_is_too_old_is_called_so():
    (finding,) = found(RULES, f"{PV} -cpu z14")
    assert "z14 is older than unpack" in finding.found


def test_a_simulation_needs_no_such_feature():
    assert what(f"{PV} -cpu qemu", engaged=False) == []


@pytest.mark.parametrize("cpu", ["", "-cpu host", "-cpu gen15a", "-cpu gen15a,unpack=off"])
def test_without_the_limitation_nothing_is_said_of_a_guest_that_asks_for_no_feature(cpu):
    assert what(f"{S390} {cpu}") == []


def test_without_the_limitation_the_feature_is_a_note():
    (finding,) = found(RULES, f"{S390} -cpu gen15a,unpack=on")
    assert (finding.code, finding.severity) == ("SQ508", Severity.NOTE)
    assert what("qemu-system-ppc64 -M pseries -cpu power9,unpack=on") == []


def test_without_the_limitation_the_feature_and_only_migratable_are_an_error():
    listed = found(RULES, f"{S390} -cpu gen15a,unpack=on -only-migratable")
    assert sorted(f.severity for f in listed) == [Severity.NOTE, Severity.ERROR]
    assert what(f"{S390} -cpu gen15a -only-migratable") == []


# SQ503, SQ504


@pytest.mark.parametrize(
    ("guest", "option", "mended"),
    [
        (TDX, "-accel kvm,kernel-irqchip=on", "-accel kvm,kernel-irqchip=split"),
        (TDX, "-accel kvm,kernel-irqchip=off", "-accel kvm,kernel-irqchip=split"),
        (TDX, "-machine accel=kvm,kernel_irqchip=on", "-machine accel=kvm,kernel_irqchip=split"),
        (SEV_ES, "-machine kernel-irqchip=off", "-machine kernel-irqchip=on"),
    ],
)
def test_the_interrupt_controller_is_mended_where_it_is_said(guest, option, mended):
    text = f"{guest} -cpu host {option}"
    assert [f.code for f in found(RULES, text)] == ["SQ503"]
    assert fixed(RULES, text) == text.replace(option, mended)


@pytest.mark.parametrize(
    ("guest", "value"), [(TDX, "split"), (SEV_ES, "on"), (SEV_ES, "split"), (SNP, "off"), (SEV, "off")]
)
def test_an_interrupt_controller_that_works_is_left_alone(guest, value):
    assert what(f"{guest} -cpu host -accel kvm,kernel-irqchip={value}") == []


@pytest.mark.parametrize(("guest", "switch"), [(TDX, "smm"), (TDX, "pic"), (SNP, "smm"), (SEV_ES, "smm")])
@pytest.mark.parametrize("on", ["on", "yes", "true"])
def test_a_switch_that_the_platform_cannot_have_is_turned_off(guest, switch, on):
    text = f"{guest} -cpu host -machine {switch}={on}"
    assert what(text) == ["SQ504"]
    assert fixed(RULES, text) == f"{guest} -cpu host -machine {switch}=off"


@pytest.mark.parametrize(
    ("guest", "switch"),
    [(SEV, "smm=on"), (TDX, "smm=auto"), (TDX, "smm=off"), (TDX, "vmport=on"), (SNP, "pic=on")],
)
def test_a_switch_that_works_is_left_alone(guest, switch):
    assert what(f"{guest} -cpu host -machine {switch}") == []


# SQ505, SQ506, SQ507


@pytest.mark.parametrize("feature", ["phys-bits=46", "host-phys-bits=off", "host-phys-bits-limit=39"])
def test_other_address_bits_than_the_hosts_are_an_error(feature):
    (finding,) = found(RULES, f"{TDX} -cpu host,{feature}")
    assert (finding.code, finding.severity) == ("SQ505", Severity.ERROR)
    assert what(f"{SNP} -cpu host,{feature}") == []


@pytest.mark.parametrize("feature", ["phys-bits=0", "host-phys-bits=on", "host-phys-bits-limit=0"])
def test_the_hosts_address_bits_are_right(feature):
    assert what(f"{TDX} -cpu host,{feature}") == []


@pytest.mark.parametrize(("said", "mended"), [("pmu=on", "pmu=off"), ("+pmu", "pmu=off")])
def test_a_feature_that_the_platform_does_not_give_is_turned_off(said, mended):
    text = f"{TDX} -cpu host,{said}"
    assert what(text) == ["SQ506"]
    assert fixed(RULES, text) == f"{TDX} -cpu host,{mended}"
    assert what(f"{SNP} -cpu host,{said}") == []


@pytest.mark.parametrize(
    ("smp", "expected"),
    [("248", []), ("249", ["SQ507"]), ("1,maxcpus=249", ["SQ507"]), ("cpus=300", ["SQ507"]), ("x", [])],
)
def test_vcpus_beyond_the_platforms_number_are_an_error(smp, expected):
    assert what(f"{PV} -smp {smp}") == expected
    assert what(f"{SNP} -smp {smp}") == []


def test_a_guest_whose_platform_is_not_known_is_left_alone():
    text = TDX.replace("tdx-guest", "other-guest") + " -cpu qemu64,pmu=on -smp 999 -machine smm=on"
    assert case_of(text).limitation is None
    assert what(text) == []
