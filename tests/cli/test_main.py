"""The command line as its user meets it: exit status, one-line errors, nothing half-written."""

import json
import os
import subprocess
import sys

import pytest

GOOD = (
    "qemu-system-x86_64 -M q35,confidential-guest-support=s0,mem-merge=off,dump-guest-core=off -accel kvm -cpu EPYC-v4 "
    "-nodefaults -object sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1 -bios /nonexistent/OVMF.fd -m 1G\n"
)
UNNAMED = "qemu-system-x86_64 -M q35 -accel kvm -object sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1\n"


def sequester(*arguments, stdin=None, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "sequester", *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.args"
    path.write_text(UNNAMED)
    return path


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.args"
    path.write_text(GOOD)
    return path


def test_the_version_is_told():
    assert sequester("--version").stdout.startswith("sequester 0.")


def test_help_names_every_command_and_shows_examples():
    shown = sequester("--help").stdout
    for command in ("probe", "platforms", "plan", "check", "run", "explain"):
        assert f"  {command} " in shown
    assert "examples:" in shown


def test_loading_the_command_line_loads_nothing_heavy():
    heavy = "rich pydantic cryptography asyncio lxml importlib.metadata qemu tomlkit tomllib json"
    code = f"import sys, sequester.cli.main; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_checking_a_command_line_loads_nothing_heavy(good):
    heavy = "rich cryptography asyncio lxml importlib.metadata qemu tomlkit subprocess ssl"
    code = (
        f"import sys; from sequester.cli.main import main; main(['check', {str(good)!r}]);"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_good_guest_is_status_0(good):
    done = sequester("check", good)
    assert (done.returncode, done.stderr) == (0, "")


def test_findings_are_status_1_and_name_file_line_and_code(bad):
    done = sequester("check", bad)
    assert done.returncode == 1
    assert f"{bad}:1: error SQ101" in done.stdout


def test_ignored_findings_are_status_0(bad):
    assert sequester("check", bad, "--ignore", "SQ").returncode == 0


def test_an_unreadable_file_is_status_2_and_does_not_stop_the_others(bad, tmp_path):
    done = sequester("check", tmp_path / "none.xml", bad)
    assert done.returncode == 2
    assert "none.xml: this file cannot be read: No such file or directory" in done.stderr
    assert "SQ101" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["plan"],
        ["plan", "-"],
        ["check", "/"],
        ["plan", "x.toml", "--", "qemu"],
        ["platforms", "nonsense"],
        ["explain", "SQ999"],
        ["check", "/dev/null"],
        ["plan", "/dev/null", "--limit", "sev"],
        ["probe", "--host", "/nonexistent"],
        ["run", "--simulate", "nonsense", "--", "qemu-system-x86_64", "-M", "q35"],
        ["check", "x.args", "--host", "/dev/null"],
        ["nonsense"],
        ["check", "--format", "nonsense", "x"],
    ],
)
def test_a_mistake_is_status_2_and_never_a_traceback(arguments):
    done = sequester(*arguments, stdin="")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_standard_input_is_a_guest(bad):
    assert sequester("check", "-", stdin=UNNAMED).stdout.startswith("<stdin>:1: error SQ101")


def test_an_argv_behind_two_dashes_is_a_guest():
    done = sequester("check", "--", *UNNAMED.split())
    assert done.returncode == 1
    assert "<argv>: error SQ101" in done.stdout


def test_json_is_versioned(bad):
    told = json.loads(sequester("check", bad, "--json").stdout)
    assert told["schema"] == "sequester-findings/1"
    assert told["guests"][0]["findings"][0]["code"] == "SQ101"


def test_a_plan_changes_what_it_must_and_lists_it(bad):
    done = sequester("plan", bad, "--to", "diff")
    assert "+qemu-system-x86_64 -M q35,confidential-guest-support=s0" in done.stdout
    assert "SQ101" in done.stderr


def test_a_guest_that_asks_for_nothing_is_refused():
    done = sequester("plan", "--", "qemu-system-x86_64", "-M", "q35")
    assert done.returncode == 1
    assert "asks for no protection" in done.stderr


def test_a_limitation_is_never_replaced_silently(good):
    done = sequester("plan", good, "--limit", "tdx")
    assert done.returncode == 2
    assert "asks for sev-snp, and --limit for tdx" in done.stderr


def test_auto_on_a_host_without_any_is_status_3_and_says_why(tmp_path):
    record = tmp_path / "host.json"
    record.write_text(json.dumps({"schema": "sequester-host/1", "arch": "x86_64"}))
    done = sequester("plan", "--limit", "auto", "--host", record, "--", "qemu-system-riscv64", "-M", "virt")
    assert done.returncode == 3
    assert "no platform works for a guest of riscv64" in done.stderr


def test_output_appears_whole_beside_what_was_there(bad, tmp_path):
    out = tmp_path / "out.args"
    out.write_text("old")
    out.chmod(0o640)
    assert sequester("plan", bad, "-o", out, "-q").returncode in (0, 1)
    assert "confidential-guest-support" in out.read_text()
    assert out.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.args", "out.args"]


def test_output_that_cannot_be_written_is_one_line(bad):
    done = sequester("plan", bad, "-o", bad / "x", "-q")
    assert done.returncode == 2
    assert f"{bad / 'x'}: this file cannot be written" in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m sequester explain | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_platforms_are_listed_and_shown():
    assert "sev-snp-guest" in sequester("platforms").stdout
    assert "bit 19  debug" in sequester("platforms", "snp").stdout
    told = json.loads(sequester("platforms", "--json").stdout)
    assert {p["name"] for p in told["platforms"]} >= {
        "sev",
        "sev-es",
        "sev-snp",
        "tdx",
        "pef",
        "s390-pv",
        "cca",
    }


def test_explain_shows_a_rules_page_and_lists_all():
    assert "What really happens" in sequester("explain", "sq101").stdout
    assert sequester("explain").stdout.startswith("SQ101")
