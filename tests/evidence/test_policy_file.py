"""A policy is read strictly: what is misspelled or of another type is an error with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.evidence.policy import Policy
from sequester.evidence.policy_file import KEYS, platform_keys, read_policy

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "policy.toml"


def test_an_empty_policy_is_the_safe_default() -> None:
    policy = read_policy(b"# nothing\n", "p.toml")
    assert policy == Policy()
    assert (policy.debug, policy.simulated, policy.migration, policy.revocation) == (
        False,
        False,
        False,
        True,
    )


def test_everything_is_read() -> None:
    text = b"""
debug = true
revocation = false
report-data = "0011"
tcb-statuses = ["UpToDate", "SWHardeningNeeded"]
advisories = "INTEL-SA-00837"
[measurements]
measurement = "%s"
[minimum-tcb]
snp = 22
[sev-snp]
vmpl = 1
minimum-firmware = "1.55.22"
platform-must = ["alias-check"]
[sev-snp.minimum-launch-tcb]
microcode = 213
""" % (b"ab" * 48)
    policy = read_policy(text, "p.toml")
    assert policy.debug
    assert not policy.revocation
    assert policy.report_data == b"\0\x11"
    assert policy.tcb_statuses == ("UpToDate", "SWHardeningNeeded")
    assert policy.advisories == ("INTEL-SA-00837",)
    assert policy.measurements == {"measurement": (b"\xab" * 48,)}
    assert policy.minimum_tcb == {"snp": 22}
    assert policy.of("sev-snp") == {
        "vmpl": 1,
        "minimum-firmware": (1, 55, 22),
        "platform-must": ("alias-check",),
        "minimum-launch-tcb": {"microcode": 213},
    }


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("degub = false", 1, "degub"),
        ("\ndebug = 1", 2, "true or false"),
        ('debug = "false"', 1, "true or false"),
        ("report-data = 12", 1, "hex"),
        ('report-data = "0g"', 1, "hex"),
        (f'report-data = "{"00" * 65}"', 1, "0 to 64 bytes"),
        ('[measurements]\nmeasurment = "00"', 1, "measurment"),
        ('[measurements]\nmeasurement = "0011"', 1, "16 to 64 bytes"),
        ("[measurements]\nmeasurement = []", 1, "empty list"),
        ("[minimum-tcb]\nsnp = -1", 1, "0 to 65535"),
        ("[minimum-tcb]\nsnp = true", 1, "whole number"),
        ("[minimum-tcb]\nspn = 1", 1, "spn"),
        ("minimum-tcb = 3", 1, "table"),
        ("[sev-spn]\nvmpl = 0", 1, "sev-spn"),
        ("[sev-snp]\nvmlp = 0", 2, "vmlp"),
        ("[sev-snp]\nvmpl = 4", 2, "0 to 3"),
        ('[sev-snp]\nminimum-firmware = "1.55.256"', 2, "version"),
        ('[sev-snp]\nguest-policy-must = ["smtt"]', 2, "smt"),
        ('[sev-snp]\nid-keys = ["00"]', 2, "48 bytes"),
        ("sev-snp = true", 1, "sev-snp"),
        ("debug = \n", 1, "TOML"),
        ("[a]\n[a]\n", 2, "TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, word: str) -> None:
    with pytest.raises(InputError) as caught:
        read_policy(text.encode(), "p.toml")
    assert f"p.toml:{line}" in str(caught.value)
    assert word in str(caught.value)


def test_text_that_is_not_utf8_too_long_or_too_deep_is_refused() -> None:
    for data in (b"debug = \xff", b" " * (1 << 21), b"a = " + b"[" * 9999, b"a." * 5000 + b"b = 1"):
        with pytest.raises(InputError):
            read_policy(data, "p.toml")


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_an_error_of_one_line(text: str) -> None:
    said = ""
    try:
        read_policy(text.encode("utf-8", "replace"), "p.toml")
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def test_the_example_is_a_policy_that_names_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    policy = read_policy(text.encode(), "policy.toml")
    assert replace(policy, platforms={}) == Policy(platforms={})
    assert not any(policy.platforms.values())
    assert [key for key in KEYS if key not in text] == []
    for platform, own in platform_keys().items():
        table = text.partition(f"\n[{platform}]\n")[2].partition("\n[")[0]
        assert [key for key in own if f"## {key} = " not in table and f"{platform}.{key}]" not in text] == []


def test_what_the_example_suggests_can_be_said() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    said = [line.removeprefix("## ") for line in lines if '"..."' not in line]
    read_policy("\n".join(said).encode(), "policy.toml")
