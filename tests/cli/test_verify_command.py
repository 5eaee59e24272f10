"""`sequester verify` and `show` from the command line: exit statuses, formats, and mistakes in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from snp_made import Vendor, certificate_table, report

from sequester.cli.main import main

AT = "2026-06-01T12:00:00"
VENDOR = Vendor("Genoa")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a report, and one below it with what it is verified with."""
    (tmp_path / "report.bin").write_bytes(report(VENDOR, report_data=b"nonce"))
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "README").write_text("not a certificate")
    (tmp_path / "certs" / ".hidden").write_bytes(b"\x30" * 99)
    for number, document in enumerate(VENDOR.documents()):
        (tmp_path / "certs" / f"{number}.der").write_bytes(document)
    return tmp_path


def verify(folder: Path, *more: str) -> int:
    """Run the command over the report."""
    fixed = ["verify", str(folder / "report.bin"), "--collateral", str(folder / "certs"), "--at", AT]
    return main([*fixed, *more])


def test_accepted_evidence_exits_0_and_refused_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder, "--trust-simulated", "--report-data", b"nonce".hex()) == 0
    assert "accepted, but simulated" in capsys.readouterr().out
    assert verify(folder) == 4
    assert "NO  EV206" in capsys.readouterr().out
    assert verify(folder, "--trust-simulated", "--report-data", "00") == 4
    assert "NO  EV601" in capsys.readouterr().out


def test_report_data_may_be_a_file(folder: Path) -> None:
    (folder / "nonce").write_bytes(b"nonce")
    assert verify(folder, "--trust-simulated", "--report-data", str(folder / "nonce")) == 0


def test_a_policy_is_read_and_the_options_go_on_top_of_it(folder: Path) -> None:
    (folder / "policy.toml").write_text("simulated = true\nreport-data = '00'\n[minimum-tcb]\nsnp = 23\n")
    policy = ("--policy", str(folder / "policy.toml"))
    assert verify(folder, *policy) == 4
    assert verify(folder, *policy, "--report-data", b"nonce".hex()) == 0


def test_evidence_that_is_none_exits_2_and_the_rest_is_still_verified(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(folder / "report.bin"), "/nonexistent", str(folder / "certs" / "README")]
    options = ["--collateral", str(folder / "certs"), "--at", AT, "--trust-simulated", "--json"]
    assert main(["verify", *names, *options]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["accepted"] is False
    assert told["evidence"][0]["accepted"] is True
    assert [each["name"] for each in told["unread"]] == ["/nonexistent", str(folder / "certs" / "README")]
    assert len(err.splitlines()) == 2


def test_certificates_beside_evidence_in_a_folder_are_no_evidence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "certs" / "README").unlink()
    options = ["--collateral", str(folder), "--at", AT, "--trust-simulated"]
    assert main(["verify", str(folder), *options]) == 0
    assert capsys.readouterr().err == ""
    assert main(["verify", str(folder / "certs"), *options]) == 2
    assert "there is no evidence" in capsys.readouterr().err
    assert main(["verify", str(folder / "certs" / "0.der"), *options]) == 2


@pytest.mark.parametrize("form", ["json", "sarif", "ear"])
def test_formats_that_programs_read_are_json(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(folder, "--format", form) == 4
    assert json.loads(capsys.readouterr().out)


def test_an_ear_is_signed_with_a_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ear.pem").write_bytes(pem)
    assert verify(folder, "--trust-simulated", "--format", "ear", "--ear-key", str(folder / "ear.pem")) == 0
    assert capsys.readouterr().out.count(".") == 2


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--at", "yesterday"), "no time"),
        (("--at", "0001-01-01T00:00+23:00"), "no time"),
        (("--report-data", "00" * 65), "at most 64 bytes"),
        (("--report-data", "/nonexistent"), "cannot be read"),
        (("--policy", "/nonexistent"), "cannot be read"),
        (("--policy", "/dev/zero"), "neither a file nor a pipe"),
        (("--collateral", "/nonexistent"), "cannot be read"),
        (("--ear-key", "/nonexistent"), "--format ear"),
        (("--guest", "/nonexistent.toml"), "nonexistent"),
        (("--guest", "x.toml", "--", "qemu-system-x86_64"), "both given"),
        (("--formt", "json"), "unrecognized"),
    ],
)
def test_a_mistake_is_one_line_and_exits_2(
    more: tuple[str, ...], word: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(folder, *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert len(err.splitlines()) == 1


def test_a_report_is_held_against_a_guest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ovmf_images", reason="no firmware image is made here")
    from ovmf_images import image

    from sequester.measure import processor
    from sequester.measure.pieces import Pieces
    from sequester.measuring import measure

    firmware = folder / "ovmf.fd"
    firmware.write_bytes(image())
    (folder / "guest.toml").write_text(
        f'limit = "sev-snp"\ncpus = 2\ncpu = "EPYC-Milan"\nmemory = "1G"\nfirmware = "{firmware}"\n'
    )
    pieces = Pieces("sev-snp", str(firmware), vcpus=2, signature=processor.parse("EPYC-Milan"))
    (folder / "report.bin").write_bytes(report(VENDOR, measurement=measure(pieces).digest))
    guest = ("--guest", str(folder / "guest.toml"), "--trust-simulated")
    assert verify(folder, *guest) == 0
    assert "EV602" in capsys.readouterr().out
    (folder / "report.bin").write_bytes(report(VENDOR, measurement=bytes(48)))
    assert verify(folder, *guest) == 4
    assert "NO  EV602" in capsys.readouterr().out


def test_show_prints_every_field(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "report.bin").write_bytes(report(VENDOR) + certificate_table(VENDOR))
    assert main(["show", str(folder / "report.bin")]) == 0
    text = capsys.readouterr().out
    for word in ("AMD SEV-SNP attestation report", "measurement", "snp 23", "VCEK"):
        assert word in text
    assert main(["show", "--json", str(folder / "report.bin")]) == 0
    told = json.loads(capsys.readouterr().out)
    raw = "".join(field["raw"] for field in told["fields"])
    assert bytes.fromhex(raw) == (folder / "report.bin").read_bytes()


def test_show_of_what_is_no_evidence_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(folder / "certs" / "README")]) == 2
    broken = bytearray(report(VENDOR))
    broken[0x4C] = 1
    (folder / "report.bin").write_bytes(broken)
    assert main(["show", str(folder / "report.bin")]) == 2
    assert "offset 0x4c" in capsys.readouterr().err


def test_evidence_comes_from_standard_input_too(folder: Path) -> None:
    command = [sys.executable, "-m", "sequester", "verify", "-", "--collateral", str(folder / "certs")]
    command += ["--at", AT, "--trust-simulated", "--json"]
    done = subprocess.run(
        command, input=(folder / "report.bin").read_bytes(), capture_output=True, check=False, env=os.environ
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["evidence"][0]["name"] == "<stdin>"


def test_a_criterion_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ev201"]) == 0
    assert "EV201: the signature" in capsys.readouterr().out
    assert main(["explain", "EV201", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == "EV201"
    assert main(["explain", "EV999"]) == 2
    assert "EV602" in capsys.readouterr().err
