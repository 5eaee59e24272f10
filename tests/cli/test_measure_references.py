"""`sequester measure --references`: what verifiers take, with every value that a launch alone has."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))

from ovmf_images import image
from tdvf_images import tdvf

from sequester.measure import processor
from sequester.measure.methods import method
from sequester.measure.pieces import Pieces

CPUS = ("EPYC-Milan", "25/17/1")


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sequester", "measure", "--references", *map(str, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, and a file that only looks like one."""
    (tmp_path / "a.fd").write_bytes(image())
    (tmp_path / "b.fd").write_bytes(image(fill=b"other"))
    (tmp_path / "vars.fd").write_bytes(bytes(0x1000))
    return tmp_path


def alone(platform: str, firmware: Path, cpu: str, vcpus: int) -> str:
    pieces = Pieces(platform, str(firmware), vcpus, processor.parse(cpu))
    return method(platform).launch(pieces).measure().digest.hex()


@pytest.mark.parametrize("platform", ["sev-snp", "sev-es"])
def test_every_value_is_the_one_of_the_launch_alone(folder: Path, platform: str) -> None:
    images = f"{folder / 'a.fd'},{folder / 'b.fd'}"
    done = run("json", "--type", platform, "--firmware", images, "--cpus", "1-3,7", "--cpu", ",".join(CPUS))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["platform"] == platform
    found = {
        (each["firmware"], each["processor"], each["vcpus"]): each["value"] for each in told["references"]
    }
    assert found == {
        (str(folder / name), cpu, vcpus): alone(platform, folder / name, cpu, vcpus)
        for name in ("a.fd", "b.fd")
        for cpu in CPUS
        for vcpus in (1, 2, 3, 7)
    }
    assert b"16 references, 16 of them different" in done.stderr


def test_a_folder_stands_for_its_images_and_what_is_none_is_passed_over(folder: Path) -> None:
    done = run("json", "--type", "sev-snp", "--firmware", folder, "--cpus", 1, "--cpu", "EPYC")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["references"]) == 2
    assert b"passed over: " in done.stderr
    assert (
        run(
            "json", "--type", "sev-snp", "--firmware", folder / "vars.fd", "--cpus", 1, "--cpu", "1"
        ).returncode
        == 2
    )


def test_trustee_s_message_has_the_values_under_the_name_that_its_policy_asks_for(folder: Path) -> None:
    done = run(
        "rvps", "--type", "sev-snp", "--firmware", folder / "a.fd", "--cpus", "1-2", "--cpu", "EPYC-Milan"
    )
    message = json.loads(done.stdout)
    assert (message["version"], message["type"]) == ("0.1.0", "sample")
    assert json.loads(base64.b64decode(message["payload"])) == {
        "snp_launch_measurement": [alone("sev-snp", folder / "a.fd", "EPYC-Milan", vcpus) for vcpus in (1, 2)]
    }


def test_a_corim_has_a_reference_triple_for_each_value(folder: Path) -> None:
    cbor2 = pytest.importorskip("cbor2", reason="cbor2 is not installed (extra `dev`)")
    path = folder / "values.corim"
    done = run(
        *("corim", "--type", "sev-snp", "--firmware", folder / "a.fd", "--cpus", "1-30", "--cpu", "EPYC"),
        *("--output", path),
    )
    assert done.returncode == 0
    corim = cbor2.loads(path.read_bytes())
    assert corim.tag == 501
    (tag,) = corim.value[1]
    assert tag.tag == 506
    comid: dict[int, Any] = cbor2.loads(tag.value)
    assert comid[1][0] == corim.value[0]
    found = []
    for environment, ((claim),) in comid[4][0]:
        assert environment == {0: {1: "AMD", 2: "SEV-SNP"}}
        assert claim[0] == "launch-digest"
        ((algorithm, value),) = claim[1][2]
        assert algorithm == 7
        found.append(value.hex())
    assert found == [alone("sev-snp", folder / "a.fd", "EPYC", vcpus) for vcpus in range(1, 31)]


def test_the_same_values_make_the_same_corim(folder: Path) -> None:
    pieces = ("corim", "--type", "sev", "--firmware", folder / "a.fd")
    assert run(*pieces).stdout == run(*pieces).stdout != b""


def test_tdx_gives_each_register_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "TDVF.fd"
    path.write_bytes(tdvf())
    done = run("rvps", "--type", "tdx", "--firmware", path)
    values = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))
    assert set(values) == {"mr_td", "rtmr_3", "mr_config_id", "mr_owner", "mr_owner_config"}


@pytest.mark.parametrize("cpus", ["0", "5-3", "1-4097", "x", "1,,2", "-3"])
def test_what_is_no_range_of_vcpus_is_refused(folder: Path, cpus: str) -> None:
    done = run("json", "--type", "sev-snp", "--firmware", folder / "a.fd", f"--cpus={cpus}", "--cpu", "EPYC")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
