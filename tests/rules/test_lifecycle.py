"""SQ7xx: what a guest's life can no longer have is said, exactly for the QEMU and the platform at hand."""

from dataclasses import replace

import pytest
from rule_cases import ALL, CCA, PEF, PLAIN, PV, SEV, SEV_ES, SNP, TDX, case_of, codes, fixed, found

from sequester.findings import Severity
from sequester.platforms.registry import platforms
from sequester.rules.engine import check
from sequester.rules.lifecycle import RULES

OWNER = ",dh-cert-file=d,session-file=s"


def what(text, **more):
    return codes(RULES, text, **more)


LIFE = (
    "-only-migratable",
    "-incoming defer",
    "-loadvm s",
    "-icount shift=auto,rr=record,rrfile=f",
    "-object colo-compare,id=c",
    "-smp 2,maxcpus=4",
    "-m 1G,slots=2,maxmem=4G",
)


@pytest.mark.parametrize("option", LIFE)
def test_nothing_is_said_of_a_guest_without_limitation(option):
    assert what(f"{PLAIN} {option}", version=(7, 2)) == []


@pytest.mark.parametrize("guest", ALL)
def test_an_ordinary_life_has_no_finding(guest):
    more = "-S -no-reboot -snapshot -daemonize -no-shutdown -smp 4,maxcpus=4 -m 4G -rtc base=utc"
    assert what(f"{guest} {more}", version=(10, 1)) == []


@pytest.mark.parametrize("option", LIFE)
def test_these_rules_report_and_change_nothing(option):
    assert fixed(RULES, f"{SNP} {option}") == f"{SNP} {option}"


def test_every_platform_says_from_when_on_migration_is_blocked():
    assert {platform.name for platform in platforms() if platform.demands.migration_blocked is None} == set()


# SQ701


@pytest.mark.parametrize(
    ("guest", "end"),
    [
        (SEV, "ends when the guest is first let run"),
        (SEV_ES, "ends when the guest is first let run"),
        (SNP, "ends when the guest is first let run"),
        (TDX, "ends while it starts"),
        (PEF, "ends while it starts"),
        (PV, "refuses the CPU feature with which the guest could switch over"),
    ],
)
def test_only_migratable_says_when_qemu_gives_up(guest, end):
    (finding,) = found(RULES, f"{guest} -only-migratable")
    assert (finding.code, finding.severity) == ("SQ701", Severity.ERROR)
    assert finding.found.endswith(end)


def test_a_simulation_has_no_blocker():
    for option in ("-only-migratable", "-incoming defer", "-loadvm s", "-icount shift=0"):
        assert what(f"{SNP} {option}", engaged=False) == []


# SQ702, SQ703, SQ705


@pytest.mark.parametrize("guest", [SEV, SEV_ES, SNP, TDX, PEF, CCA])
@pytest.mark.parametrize(
    ("option", "code"),
    [("-incoming tcp:0:4444", "SQ702"), ("-loadvm s", "SQ703"), ("-object colo-compare,id=c", "SQ705")],
)
def test_what_needs_a_state_that_never_left_is_an_error(guest, option, code):
    (finding,) = found(RULES, f"{guest} {option}")
    assert (finding.code, finding.severity) == (code, Severity.ERROR)


@pytest.mark.parametrize("option", ["-incoming defer", "-loadvm s", "-object colo-compare,id=c"])
def test_a_guest_that_has_not_switched_over_yet_can_still_be_moved(option):
    assert what(f"{PV} {option}") == []


def test_a_live_update_is_refused_where_memory_lives_in_guest_memfd():
    cpr = """-incoming defer -incoming '{"channel-type": "cpr", "addr": {"transport": "socket"}}'"""
    assert [finding.found.split(" of ")[0] for finding in found(RULES, f"{SNP} {cpr}")] == [
        "-incoming: a migration",
        "-incoming: a live update (CPR)",
    ]
    assert what(f"{SEV} {cpr}") == ["SQ702"]


# SQ704


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("-icount shift=auto", "-icount needs TCG"),
        ("-icount shift=1,rr=replay,rrfile=f", "record and replay"),
    ],
)
def test_counting_instructions_is_an_error(option, words):
    (finding,) = found(RULES, f"{TDX} {option}")
    assert (finding.code, finding.severity) == ("SQ704", Severity.ERROR)
    assert words in finding.found


# SQ706


def test_a_measured_launch_without_a_pause_is_a_warning():
    text = SEV + OWNER
    (finding,) = found(RULES, text)
    assert (finding.code, finding.severity) == ("SQ706", Severity.WARNING)
    assert "dh-cert-file and session-file" in finding.found
    assert what(f"{text} -S") == []


@pytest.mark.parametrize("guest", [SEV, SNP, TDX])
def test_a_launch_that_no_owner_prepared_need_not_stop(guest):
    assert what(guest) == []


# SQ707


@pytest.mark.parametrize("guest", [SEV_ES, SNP, TDX])
def test_a_reboot_ends_a_guest_whose_registers_are_closed_until_11_0(guest):
    (finding,) = found(RULES, guest, version=(10, 2))
    assert (finding.code, finding.severity) == ("SQ707", Severity.NOTE)
    assert "a reboot from inside ends this guest: QEMU 10.2 cannot reset" in finding.found
    assert what(guest, version=(11, 0)) == []
    assert what(guest) == []


def test_with_no_shutdown_it_stops_instead():
    (finding,) = found(RULES, f"{SNP} -no-shutdown", version=(10, 2))
    assert "a reboot from inside stops this guest" in finding.found
    assert found(RULES, f"{SNP} -action shutdown=pause", version=(10, 2))[0].found == finding.found


@pytest.mark.parametrize(
    "option", ["-no-reboot", "-action reboot=shutdown", "-action panic=pause,reboot=shutdown"]
)
def test_a_reboot_that_is_a_shutdown_anyway_is_no_surprise(option):
    assert what(f"{SNP} {option}", version=(10, 2)) == []


@pytest.mark.parametrize("guest", [SEV, PV, PEF])
def test_where_a_reset_works_nothing_is_said(guest):
    assert what(guest, version=(7, 2)) == []


# SQ708, SQ709


@pytest.mark.parametrize("guest", [SEV_ES, SNP, TDX])
def test_room_for_more_processors_is_a_note(guest):
    (finding,) = found(RULES, f"{guest} -smp 4,maxcpus=255")
    assert (finding.code, finding.severity) == ("SQ708", Severity.NOTE)
    assert "room for 251 vCPUs more" in finding.found
    assert found(RULES, f"{guest} -smp cpus=4,maxcpus=6")[0].code == "SQ708"


@pytest.mark.parametrize(
    "option",
    ["-smp 4", "-smp 4,maxcpus=4", "-smp maxcpus=8,cpus=8", "-smp sockets=2,cores=2", "-smp x,maxcpus=9"],
)
def test_a_guest_with_all_its_processors_gets_none(option):
    assert what(f"{TDX} {option}") == []


@pytest.mark.parametrize("guest", [SEV, PV, PEF])
def test_where_processors_can_be_plugged_in_nothing_is_said(guest):
    assert what(f"{guest} -smp 1,maxcpus=4") == []


def test_room_for_more_memory_is_a_note_where_the_guest_must_accept_it():
    (finding,) = found(RULES, f"{SNP} -m 2048M,slots=5,maxmem=10240M")
    assert (finding.code, finding.severity) == ("SQ709", Severity.NOTE)
    assert what(f"{SEV} -m 2048M,slots=5,maxmem=10240M") == []
    assert what(f"{SNP} -m 2048M") == []
    assert what(f"{SNP} -m 2048M,slots=0,maxmem=10240M") == []


def test_a_platform_that_does_not_know_is_not_spoken_for(monkeypatch):
    case = case_of(f"{SNP} -only-migratable -incoming defer -loadvm s")
    silent = replace(case.limitation.demands, migration_blocked=None)
    monkeypatch.setattr(type(case.limitation), "demands", silent)
    assert check(case, RULES) == ()
