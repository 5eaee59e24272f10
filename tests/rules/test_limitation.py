"""SQ1xx: each rule speaks where it is broken, is silent where it holds, and its fix is exactly the edit wanted."""

import pytest

from sequester.errors import RefusedError
from sequester.findings import Case, Severity
from sequester.formats.argv_read import read_argv_text
from sequester.formats.libvirt_read import read_xml
from sequester.formats.toml_read import read_toml
from sequester.host.emulator import QemuFacts
from sequester.planning import make_plan
from sequester.platforms.registry import resolve
from sequester.rules.engine import apply, check
from sequester.rules.limitation import RULES

KVM = "qemu-system-x86_64 -M q35,confidential-guest-support=s0 -accel kvm"
SEV = "-object sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1"


def case_of(text, qemu=None, **more):
    guest = read_argv_text(text.encode(), "g").guest
    return Case(guest, resolve(guest), qemu, **more)


def codes(text, **more):
    return [finding.code for finding in check(case_of(text, **more), RULES)]


def fixed(text, **more):
    document = read_argv_text(text.encode(), "g")
    _, applied = apply(case_of(text, **more), RULES)
    written = document.edited([change for done in applied for change in done.changes])
    assert not written.lost
    return written.text


def qemu(*version, types=("sev-guest",)):
    return QemuFacts("/usr/bin/qemu-system-x86_64", version, arch="x86_64", types=frozenset(types))


def test_a_right_guest_has_no_finding():
    assert codes(f"{KVM} {SEV}") == []


def test_a_guest_without_limitation_has_no_finding():
    assert codes("qemu-system-x86_64 -M q35 -accel tcg -device virtio-net-pci") == []


def test_an_object_that_nothing_names_is_an_error_and_is_named_by_the_fix():
    text = f"qemu-system-x86_64 -M q35 -accel kvm {SEV}"
    assert codes(text) == ["SQ101"]
    assert fixed(text) == f"qemu-system-x86_64 -M q35,confidential-guest-support=s0 -accel kvm {SEV}"


def test_an_object_that_a_domain_passes_to_qemu_and_does_not_name_is_an_error_without_a_fix():
    document = read_xml(
        b"<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        b"<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        b"<qemu:commandline><qemu:arg value='-object'/><qemu:arg value='tdx-guest,id=tdx'/></qemu:commandline>"
        b"</domain>",
        "td.xml",
    )
    with pytest.raises(RefusedError, match=r"nothing names object 'tdx' .* \(use <launchSecurity> instead"):
        make_plan(document)


def test_the_fix_makes_a_machine_option_where_there_is_none():
    assert fixed(f"qemu-system-x86_64 -accel kvm {SEV}").endswith("-machine confidential-guest-support=s0")


def test_two_objects_that_nothing_names_are_reported_and_none_is_chosen():
    text = f"qemu-system-x86_64 -M q35 -accel kvm {SEV} -object tdx-guest,id=t0"
    assert codes(text) == ["SQ101", "SQ101"]
    assert fixed(text) == text


def test_a_second_object_beside_the_named_one_is_a_warning():
    found = check(case_of(f"{KVM} {SEV} -object tdx-guest,id=t0"), RULES)
    assert [(finding.code, finding.severity) for finding in found] == [("SQ101", Severity.WARNING)]


def test_a_name_without_an_object_is_an_error():
    assert codes("qemu-system-x86_64 -M q35,confidential-guest-support=nope -accel kvm") == ["SQ102"]


def test_an_object_that_protects_nothing_is_an_error():
    assert codes(f"{KVM} -object rng-random,id=s0") == ["SQ103"]


@pytest.mark.parametrize(
    ("old", "severity"), [("memory-encryption", Severity.NOTE), ("host-trust-limitation", Severity.ERROR)]
)
def test_an_older_spelling_is_rewritten_to_the_one_of_today(old, severity):
    text = f"qemu-system-x86_64 -M q35,{old}=s0 -accel kvm {SEV}"
    found = check(case_of(text), RULES)
    assert [(finding.code, finding.severity) for finding in found] == [("SQ104", severity)]
    assert fixed(text) == f"qemu-system-x86_64 -M q35,confidential-guest-support=s0 -accel kvm {SEV}"


def test_a_qemu_before_6_0_gets_its_own_spelling():
    text = f"{KVM} {SEV}"
    old = qemu(5, 2, 0)
    assert codes(text, qemu=old) == ["SQ104"]
    assert "memory-encryption=s0" in fixed(text, qemu=old)
    assert codes(f"qemu-system-x86_64 -M q35,memory-encryption=s0 -accel kvm {SEV}", qemu=old) == []


def test_an_older_spelling_beside_the_one_of_today_is_to_be_removed():
    text = f"qemu-system-x86_64 -M q35,memory-encryption=s0,confidential-guest-support=s0 -accel kvm {SEV}"
    (finding,) = check(case_of(text), RULES)
    assert finding.remedy == "remove it: confidential-guest-support=s0 is there"
    assert fixed(text) == f"{KVM} {SEV}"


def test_two_spellings_that_contradict_each_other_are_never_resolved_silently():
    text = f"qemu-system-x86_64 -M q35,confidential-guest-support=s0,memory-encryption=x -accel kvm {SEV}"
    assert codes(text) == ["SQ104"]
    assert fixed(text) == text


def test_missing_properties_are_filled_in():
    assert fixed(f"{KVM} -object sev-guest,id=s0") == f"{KVM} {SEV}"


def test_the_host_says_where_the_c_bit_is():
    class Rome:
        sev_cbitpos = 47
        qemus = ()

    assert "cbitpos=47" in fixed(f"{KVM} -object sev-guest,id=s0", host=Rome())


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1,policy=0x10000", "bit 17 (reserved-one)"),
        ("sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1,id-auth=AAAA", "id-auth is 3 bytes, not 4096"),
        ("tdx-guest,id=s0,attributes=1", "bit 0 (debug) cannot be set through QEMU"),
        ("sev-guest,id=s0,cbitpos=51,reduced-phys-bits=99", "99 is not between 1 and 63"),
        ("sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1,nonsense=1", "no property 'nonsense'"),
    ],
)
def test_a_value_that_qemu_takes_and_that_fails_later_is_an_error_now(thing, message):
    found = check(case_of(f"{KVM} -object {thing}"), RULES)
    assert [finding.code for finding in found] == ["SQ106"]
    assert message in found[0].found


def test_a_session_file_that_is_not_there_is_a_warning_only_where_it_was_looked_for():
    text = f"{KVM} {SEV},session-file=/nowhere"
    assert codes(text) == []
    assert codes(text, absent=frozenset({"/nowhere"})) == ["SQ107"]


def test_a_platform_of_another_architecture_is_an_error():
    text = f"qemu-system-s390x -M s390-ccw-virtio,confidential-guest-support=s0 -accel kvm {SEV}"
    assert codes(text) == ["SQ108"]


@pytest.mark.parametrize(
    ("machine", "fits"),
    [
        ("q35", True),
        ("pc-q35-8.2", True),
        ("pc+pve0", True),
        ("pc-i440fx-9.0", True),
        ("microvm", False),
        ("isapc", False),
        ("none", False),
        ("pc-q35-rhel9.4.0", True),
    ],
)
def test_a_machine_without_the_hook_is_an_error(machine, fits):
    thing = "-object sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1"
    text = f"qemu-system-x86_64 -M {machine},confidential-guest-support=s0 -accel kvm {thing}"
    assert codes(text) == ([] if fits else ["SQ109"])


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        ("-M q35,confidential-guest-support=s0 -accel tcg", "-accel kvm"),
        ("-M q35,confidential-guest-support=s0,accel=tcg", "accel=kvm"),
        ("-M q35,confidential-guest-support=s0", "accel=kvm"),
    ],
)
def test_an_accelerator_that_cannot_protect_is_replaced(accelerator, expected):
    text = f"qemu-system-x86_64 {accelerator} {SEV}"
    assert codes(text) == ["SQ110"]
    assert expected in fixed(text)
    assert "tcg" not in fixed(text)


def test_a_fallback_to_tcg_is_a_note():
    found = check(
        case_of(f"qemu-system-x86_64 -M q35,confidential-guest-support=s0,accel=kvm:tcg {SEV}"), RULES
    )
    assert [(finding.code, finding.severity) for finding in found] == [("SQ110", Severity.NOTE)]


def test_a_simulation_may_run_under_tcg():
    text = f"qemu-system-x86_64 -M q35,confidential-guest-support=s0 -accel tcg {SEV}"
    assert codes(text, engaged=False) == []


@pytest.mark.parametrize(("version", "code"), [((9, 0, 2), ["SQ111"]), ((9, 1, 0), []), ((11, 1, 2), [])])
def test_a_qemu_older_than_the_object_is_an_error(version, code):
    thing = "-object sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1"
    assert codes(f"{KVM} {thing}", qemu=qemu(*version, types=("sev-guest", "sev-snp-guest"))) == code


def test_a_build_without_the_object_is_an_error():
    thing = "-object tdx-guest,id=s0"
    assert codes(f"{KVM} {thing}", qemu=qemu(11, 1, 2)) == ["SQ111"]


def test_a_platform_that_no_qemu_has_is_an_error():
    text = "qemu-system-aarch64 -M virt,confidential-guest-support=r -accel kvm -object rme-guest,id=r"
    assert codes(text) == ["SQ111"]


def test_a_property_newer_than_the_qemu_is_an_error():
    text = f"{KVM} {SEV},legacy-vm-type=on"
    assert codes(text, qemu=qemu(9, 0, 0)) == ["SQ112"]
    assert codes(text, qemu=qemu(9, 1, 0)) == []
    assert codes(text) == []


def test_every_rule_tells_why_what_happens_and_what_to_do():
    for rule in RULES:
        assert rule.why
        assert rule.broken
        assert rule.remedy


def test_a_property_that_does_not_exist_is_to_be_renamed_or_removed():
    (finding,) = check(case_of(f"{KVM} {SEV},polcy=5"), RULES)
    assert finding.remedy == "correct its name, or remove it"


def test_an_object_without_an_id_is_to_be_given_one():
    (finding,) = check(case_of("qemu-system-x86_64 -M q35 -accel kvm -object sev-guest,policy=1"), RULES)
    assert finding.remedy == "give it an id, and add confidential-guest-support=ID to -machine"


@pytest.mark.parametrize(
    ("document", "found", "remedy"),
    [
        (
            read_xml(
                b"<domain type='kvm'><os><type arch='x86_64' machine='q35'>hvm</type></os>"
                b"<launchSecurity type='sev-xyz'/></domain>",
                "g.xml",
            ),
            "<launchSecurity type='sev-xyz'>: there is no such type",
            "use one of: s390-pv, sev, sev-snp, tdx",
        ),
        (
            read_toml(b'machine = "q35"\nlimit = "sevsnp"\n', "g.toml"),
            "limit 'sevsnp': there is no such platform",
            "use one of: s390-pv, tdx, sev-snp, cca, pef, sev-es, sev",
        ),
    ],
    ids=["xml", "toml"],
)
def test_an_unknown_limitation_is_answered_in_the_formats_own_words(document, found, remedy):
    (finding,) = check(Case(document.guest, resolve(document.guest)), RULES)
    assert (finding.code, finding.found, finding.remedy) == ("SQ103", found, remedy)


def test_what_every_plan_completes_need_not_be_in_a_short_guest():
    guest = read_toml(b'machine = "q35"\nlimit = "sev-snp"\n', "g.toml").guest
    assert check(Case(guest, resolve(guest)), RULES) == ()
