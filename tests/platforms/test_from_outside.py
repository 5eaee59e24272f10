"""A seventh platform comes by entry point and is used through the whole command line; nothing in the tree changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = '''
from sequester.host.requirement import Requirement, passed
from sequester.platforms.limitation import Demands, HostTrustLimitation, Limits
from sequester.platforms.property import Property, Unsigned


class Keyed(HostTrustLimitation):
    """A platform that no processor has."""

    name = "keyed"
    title = "ACME Keyed Memory"
    object_type = "keyed-guest"
    architectures = ("x86_64", "aarch64", "s390x", "ppc64", "riscv64")
    limits = Limits.READ_MEMORY
    strength = 99
    qemu_since = (5, 0)
    properties = (Property("slot", Unsigned(8), "key slot", always=3),)
    demands = Demands(machines=("q35",))
    requirements = (Requirement("keyed-here", "keyed memory", lambda facts: passed("always")),)
    migration = "never"
    evidence = "none"
'''


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "acme_keyed.py").write_text(MODULE)
    info = tmp_path / "acme_keyed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-keyed\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sequester.platforms]\nkeyed = acme_keyed:Keyed\n")
    return tmp_path


def sequester(outside, *arguments, check=True):
    command = [sys.executable, "-m", "sequester", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(outside)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, timeout=60)


def test_it_is_listed_with_its_properties(outside):
    told = json.loads(sequester(outside, "platforms", "keyed", "--json").stdout)
    assert told["platforms"][0]["properties"][0]["name"] == "slot"


def test_a_plan_gives_a_guest_its_object(outside):
    done = sequester(
        outside,
        "plan",
        "--limit",
        "keyed",
        "--to",
        "argv",
        "--",
        "qemu-system-x86_64",
        "-M",
        "q35",
        "-m",
        "1G",
        check=False,
    )
    assert "keyed-guest,id=htl0,slot=3" in done.stdout
    assert "confidential-guest-support=htl0" in done.stdout
    assert "mem-merge=off" in done.stdout


def test_its_object_without_the_machine_property_is_found(outside, tmp_path):
    guest = tmp_path / "g.args"
    guest.write_text("qemu-system-x86_64 -M q35 -object keyed-guest,id=k,slot=300\n")
    done = sequester(outside, "check", str(guest), "--json", check=False)
    assert done.returncode == 1
    assert "SQ101" in done.stdout


def test_auto_takes_it_when_it_is_the_strongest_that_works(outside):
    done = sequester(
        outside,
        "plan",
        "--limit",
        "auto",
        "--to",
        "argv",
        "--",
        "qemu-system-x86_64",
        "-M",
        "q35",
        check=False,
    )
    assert "keyed-guest" in done.stdout


def test_probe_judges_its_requirements(outside):
    done = sequester(outside, "probe", "keyed", "--json", "--qemu", "/nonexistent/qemu")
    assert json.loads(done.stdout)["platforms"][0]["state"] == "passed"


def test_one_that_cannot_be_loaded_is_named(outside):
    (Path(outside) / "acme_keyed.py").write_text("raise ImportError('no such luck')")
    done = sequester(outside, "platforms", check=False)
    assert done.returncode == 2
    assert "the platform 'keyed' cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr
