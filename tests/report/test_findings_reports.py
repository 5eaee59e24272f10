"""Findings for people and for programs, against golden files (SEQUESTER_UPDATE_GOLDEN=1 writes them anew)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sequester import __version__
from sequester.findings.rule import Finding, Rule, Severity
from sequester.formats.argv_read import read_argv, read_argv_text
from sequester.formats.toml_read import read_toml
from sequester.guest.change import Remove, Set, Unset
from sequester.guest.part import Part
from sequester.planning import check
from sequester.report import json_report, sarif, text
from sequester.report.page import markdown, page

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SEQUESTER_UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def rule(code: str, severity: Severity, references: tuple[str, ...] = ()) -> Rule:
    return Rule(
        code,
        f"The title of {code}",
        severity,
        lambda case: (),
        "Because of this, and of that which is told at some length so that a line has to be folded somewhere.",
        "QEMU 7.2 and 11.1 start it, and nothing works.",
        "do the other thing",
        references,
    )


NET = Part("device", "virtio-net-pci", {"id": "net0"}, 3, "net0", 14, "-device virtio-net-pci,id=net0")
ERROR = rule("SQ301", Severity.ERROR, ("https://www.qemu.org/docs/master/", "QEMU hw/core/machine.c"))
NOTE = rule("SQ205", Severity.NOTE)
FINDINGS = (
    Finding(ERROR, Severity.ERROR, "iommu_platform=off", NET, "leave it out", True, "iommu_platform=on"),
    Finding(NOTE, Severity.WARNING, "device 'net0' (virtio-net-pci) sees nothing", NET),
    Finding(NOTE, Severity.NOTE, "the guest as a whole", None, "nothing needs to be done."),
)
CHECKED = [
    ("guests/web 1.args", FINDINGS),
    ("<stdin>", FINDINGS[2:]),
    ("libvirt:db", FINDINGS[:1]),
    ("fine.xml", ()),
]


def test_findings_for_people() -> None:
    golden("findings.txt", text.report(CHECKED))


def test_colour_changes_nothing_but_colour() -> None:
    import re

    coloured = text.report(CHECKED, coloured=True)
    assert coloured != text.report(CHECKED)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text.report(CHECKED)


def test_nothing_found_is_said() -> None:
    assert text.report([("a", ()), ("b", ())]) == "2 guests checked: nothing found\n"


def test_no_text_of_a_guest_reaches_the_terminal_as_a_command() -> None:
    part = Part("device", "x\x1b[2J", {}, 0, "\x9b1m", 1)
    finding = Finding(ERROR, Severity.ERROR, "a\x1b]0;title\x07\nb\u202e", part, "c\rd")
    said = text.report([("n\x1bame", [finding])])
    assert all(line.isprintable() for line in said.splitlines())
    assert "x\\x1b[2J" in said


def test_findings_as_json() -> None:
    found = json_report.report(CHECKED)
    golden("findings.json", found)
    assert json.loads(found)["schema"] == "sequester-findings/1"


def test_rules_as_json() -> None:
    golden("rules.json", json_report.rules_json([ERROR, NOTE]))


def test_findings_as_sarif() -> None:
    golden("findings.sarif", sarif.report(CHECKED).replace(f'ersion": "{__version__}"', 'ersion": "VERSION"'))


@pytest.mark.parametrize("form", ["page", "markdown"])
def test_a_rules_page(form: str) -> None:
    golden(
        f"rule.{'md' if form == 'markdown' else 'txt'}",
        markdown(ERROR) if form == "markdown" else page(ERROR),
    )


def test_every_real_rule_has_a_whole_page() -> None:
    from sequester.rules.catalogue import rules

    for each in rules():
        told = markdown(each)
        assert told.startswith(f"# {each.code}: {each.title}\n")
        for head in ("Why", "What really happens", "What to do"):
            assert told.partition(f"## {head}\n\n")[2].strip().partition("\n")[0], (each.code, head)


BAD_TOML = """\
limit = "sev-snp"

[[network]]
options = { iommu_platform = false }

[[device]]
driver = "virtio-balloon-pci"
disable-legacy = false
"""

BAD_ARGS = """\
qemu-system-x86_64 -M q35,confidential-guest-support=s0 \\
  -object sev-snp-guest,id=s0,cbitpos=51,reduced-phys-bits=1 \\
  -device virtio-net-pci,id=n,iommu_platform=off
"""


@pytest.fixture(params=["toml", "args"])
def log(request: pytest.FixtureRequest) -> dict[str, Any]:
    read = read_toml(BAD_TOML.encode(), "bad.toml") if request.param == "toml" else None
    document = read or read_argv_text(BAD_ARGS.encode(), "bad.args")
    findings = check(document)
    told = sarif.report([(document.name, findings), *CHECKED], sarif.replacements(document, findings))
    found: dict[str, Any] = json.loads(told)
    return found


def test_sarif_has_what_the_standard_and_code_hosts_ask_for(log: dict[str, Any]) -> None:
    assert log["version"] == "2.1.0"
    assert log["$schema"].startswith("https://")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "sequester"
    rules = driver["rules"]
    assert [each["id"] for each in rules] == sorted({result["ruleId"] for result in run["results"]})
    for each in rules:
        assert each["defaultConfiguration"]["level"] in ("note", "warning", "error")
        assert each["help"]["markdown"].startswith(f"# {each['id']}")
        assert all(each[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
        assert each["name"].isalnum()
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"].endswith((".", "…"))
        (location,) = result["locations"]
        physical = location.get("physicalLocation")
        if physical:
            assert not set(physical["artifactLocation"]["uri"]) & set(' <>"{}|\\^`')
            assert physical.get("region", {}).get("startLine", 1) >= 1
        assert location["logicalLocations"][0]["name"]
    prints = [result["partialFingerprints"]["finding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_a_log_agrees_with_the_official_schema(log: dict[str, Any]) -> None:
    path = os.environ.get("SEQUESTER_SARIF_SCHEMA", "")
    if not path:
        pytest.skip("needs OASIS' sarif-schema-2.1.0.json, named by SEQUESTER_SARIF_SCHEMA")
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(log, json.loads(Path(path).read_text(encoding="utf-8")))


@pytest.mark.parametrize(("name", "source"), [("bad.toml", BAD_TOML), ("bad.args", BAD_ARGS)])
def test_a_fix_taken_by_itself_gives_the_edited_document(name: str, source: str) -> None:
    document = (
        read_toml(source.encode(), name) if name.endswith("toml") else read_argv_text(source.encode(), name)
    )
    findings = check(document)
    fixes = sarif.replacements(document, findings)
    assert fixes.keys() == {finding for finding in findings if finding.fix}
    for finding, new in fixes.items():
        lines = source.splitlines(keepends=True)
        fixed = "".join([*lines[: new.first - 1], new.text, *lines[new.behind - 1 :]])
        assert fixed == document.edited(finding.fix).text


def test_fixes_at_the_end_and_of_whole_lines_are_exact() -> None:
    for source in ('name = "x"', 'name = "x"\n', "a = 1\nb = 2\n"):
        for new in ("", source + "\nc = 3\n", "c = 1\n" + source, "z"):
            replaced = sarif._replacement(sarif._lines(source), sarif._lines(new))
            lines = sarif._lines(source)
            assert (
                "".join([*lines[: replaced.first - 1], replaced.text, *lines[replaced.behind - 1 :]]) == new
            )


def test_an_argument_vector_has_no_lines_to_fix() -> None:
    document = read_argv(
        ["qemu-system-x86_64", "-M", "q35,confidential-guest-support=s0", "-object", "sev-guest,id=s0"]
    )
    findings = check(document)
    assert any(finding.fix for finding in findings)
    assert sarif.replacements(document, findings) == {}
    told = json.loads(sarif.report([(document.name, findings)]))
    assert all("physicalLocation" not in result["locations"][0] for result in told["runs"][0]["results"])


def test_a_fingerprint_outlives_a_change_of_lines() -> None:
    def prints(source: str) -> list[str]:
        document = read_toml(source.encode(), "bad.toml")
        (run,) = json.loads(sarif.report([(document.name, check(document))]))["runs"]
        return [result["partialFingerprints"]["finding/v1"] for result in run["results"]]

    assert prints(BAD_TOML) == prints("# a comment\n\n" + BAD_TOML)


def test_a_fix_that_the_format_cannot_say_in_full_is_left_out() -> None:
    document = read_toml(BAD_TOML.encode(), "bad.toml")
    machine = document.guest.machine.key
    findings = [
        Finding(ERROR, Severity.ERROR, "a", None, fix=(Remove(machine),)),
        Finding(ERROR, Severity.ERROR, "b", None, fix=(Unset(machine, "nothing"),)),
        Finding(ERROR, Severity.ERROR, "c", None, fix=(Set(machine, "x", 1),)),
    ]
    assert [each.found for each in sarif.replacements(document, findings)] == ["c"]
