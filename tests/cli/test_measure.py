"""`sequester measure` as its user meets it, beside the peer's command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))

from ovmf_images import SECTIONS, image
from tdvf_images import tdvf


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sequester", "measure", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "OVMF.fd"
    path.write_bytes(image(svsm=0x100))
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"a kernel")
    return path


def measure(firmware: Path, *more: object, platform: str = "sev-snp", cpus: int = 2) -> str:
    done = run("--type", platform, "--firmware", firmware, "--cpus", cpus, "--cpu", "EPYC-v4", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def peer(firmware: Path, mode: str, *more: object) -> str:
    pytest.importorskip("sevsnpmeasure", reason="sev-snp-measure, the peer, is not installed")
    code = "import sys; from sevsnpmeasure.cli import main; sys.exit(main())"
    told = ["--mode", mode, "--vcpus", "2", "--vcpu-type", "EPYC-v4", "--ovmf", firmware, *more]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, told)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_each_kind_of_launch_prints_what_the_peer_prints(firmware: Path, kernel: Path) -> None:
    boot = ("--kernel", kernel, "--append", "quiet ro")
    assert measure(firmware, *boot) == peer(firmware, "snp", *boot)
    assert measure(firmware, *boot, platform="sev-es") == peer(firmware, "seves", *boot)
    assert measure(firmware, *boot, platform="sev") == peer(firmware, "sev", *boot)
    assert measure(firmware, "--guest-features", "0x21") == peer(firmware, "snp", "--guest-features", "0x21")
    assert measure(firmware, "--monitor", "EC2") == peer(firmware, "snp", "--vmm-type", "ec2")
    assert measure(firmware, "--firmware-only") == peer(firmware, "snp:ovmf-hash")
    svsm = ("--svsm", firmware)
    assert measure(firmware, *svsm, "--vars", 0x84000) == peer(
        firmware, "snp:svsm", *svsm, "--vars-size", 0x84000
    )
    assert measure(firmware, "--format", "base64") == peer(firmware, "snp", "--output-format", "base64")
    digest = measure(firmware, "--firmware-only")
    assert measure(firmware, "--firmware-digest", digest) == measure(firmware)


def test_the_processor_is_named_in_three_ways(firmware: Path) -> None:
    said = {
        run("--type", "sev-snp", "--firmware", firmware, "--cpus", 1, "--cpu", cpu).stdout
        for cpu in ("EPYC-v4", "23/1/2", "0x800f12")
    }
    assert len(said) == 1


def test_json_has_the_registers_and_with_explain_what_they_are_made_of(firmware: Path) -> None:
    told = json.loads(measure(firmware, "--json", "--explain"))
    assert told["schema"] == "sequester.measure/1"
    assert told["registers"] == [{"name": "launch-digest", "value": measure(firmware)}]
    assert told["contributions"][-1]["running"] == measure(firmware)
    assert len(told["contributions"]) == 1 + len(SECTIONS) + 2


def test_explain_shows_every_contribution_before_the_digest(firmware: Path) -> None:
    lines = measure(firmware, "--explain").splitlines()
    assert lines[0] == "launch-digest"
    assert "SNP_SECRETS" in "".join(lines)
    assert lines[-1] == measure(firmware)


def test_compare_says_the_mistake_and_ends_with_1(firmware: Path) -> None:
    seen = measure(firmware, cpus=9)
    for spelled in (seen, seen.upper(), base64.b64encode(bytes.fromhex(seen)).decode()):
        done = run(
            *("--type", "sev-snp", "--firmware", firmware, "--cpus", 2, "--cpu", "EPYC-v4"),
            *("--compare", spelled),
        )
        assert done.returncode == 1
        assert "9 vCPUs instead of 2" in done.stdout


def test_compare_ends_with_0_for_the_launch_itself_and_4_for_no_launch(firmware: Path) -> None:
    pieces = ("--type", "sev", "--firmware", firmware)
    assert run(*pieces, "--compare", measure(firmware, platform="sev")).returncode == 0
    done = run(*pieces, "--compare", "00" * 32, "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["explained"] is False


def test_compare_knows_the_other_images_of_the_folder(firmware: Path) -> None:
    other = firmware.with_name("other.fd")
    other.write_bytes(image(fill=b"other"))
    done = run("--type", "sev", "--firmware", firmware, "--compare", measure(other, platform="sev"))
    assert "other.fd instead of" in done.stdout


def test_an_id_block_comes_as_qemu_takes_it(firmware: Path, tmp_path: Path) -> None:
    key = tmp_path / "id.pem"
    key.write_bytes(
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    options = dict(option.split("=", 1) for option in measure(firmware, "--id-key", key).split(","))
    block = base64.b64decode(options["id-block"])
    assert block[:48].hex() == measure(firmware)
    assert len(base64.b64decode(options["id-auth"])) == 4096
    assert options["author-key-enabled"] == "off"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "neither a guest nor --type"),
        (("--type", "nothing"), "no platform 'nothing'"),
        (("--type", "sev-snp"), "no firmware image"),
        (("--type", "sev-snp", "--firmware", "/absent"), "/absent: this file cannot be read"),
        (("--type", "sev-snp", "--firmware", "/etc/passwd", "--cpus", "1", "--cpu", "1"), "/etc/passwd: "),
        (("--type", "sev", "--firmware", "/dev/null", "--compare", "zz"), "no digest"),
        (("--type", "sev", "guest.toml"), "both given"),
        (("--type", "sev-snp", "--cpu", "EPYC-9"), "no processor model"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_ends_with_2(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_a_number_that_is_none_is_a_mistake_of_usage() -> None:
    done = run("--type", "sev", "--cpus", "four")
    assert done.returncode == 2
    assert "'four' is no number" in done.stderr


def test_a_tdx_guest_s_registers_are_a_line_each_with_why_one_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "TDVF.fd"
    path.write_bytes(tdvf())
    done = run("--type", "tdx", "--firmware", path, "--memory", "2G")
    assert done.returncode == 0
    lines = {line.split()[0]: line.split(None, 1)[1] for line in done.stdout.splitlines()}
    assert list(lines)[:5] == ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3"]
    assert len(lines["MRTD"]) == 96
    assert lines["RTMR0"].startswith("not known: the ACPI tables")
    assert "MRSEAM" in done.stderr
    told = json.loads(run("--type", "tdx", "--firmware", path, "--json").stdout)
    assert [each["name"] for each in told["registers"] if each["value"] is None] == [
        "RTMR0",
        "RTMR1",
        "RTMR2",
    ]
    found = run("--type", "tdx", "--firmware", path, "--compare", lines["MRTD"])
    assert found.returncode == 0


def test_what_qemu_gives_its_firmware_for_acpi_is_read_from_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "TDVF.fd"
    path.write_bytes(tdvf())
    folder = tmp_path / "etc"
    (folder / "etc" / "acpi" / "tables").mkdir(parents=True)
    (folder / "etc" / "acpi" / "tables" / "raw").write_bytes(b"tables")
    (folder / "rsdp").write_bytes(b"rsdp")
    pieces = ("--type", "tdx", "--firmware", path, "--memory", "2G", "--acpi", folder)
    done = run(*pieces)
    assert done.returncode == 2
    assert "no table-loader" in done.stderr
    (folder / "table_loader.bin").write_bytes(b"loader")
    assert "ACPI DATA etc/acpi/tables" in run(*pieces, "--explain").stdout


def test_the_simple_command_loads_nothing_that_takes_longer_than_its_work(firmware: Path) -> None:
    heavy = "argparse typing dataclasses re enum json base64 inspect sequester.platforms.registry"
    code = (
        "import sys; from sequester.cli.main import main;"
        f"status = main('measure --type sev-snp --firmware {firmware} --cpus 2 --cpu EPYC'.split());"
        f"print(status, [name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_simple_and_other_arguments_mean_the_same(firmware: Path) -> None:
    plain = measure(firmware, "--append", "quiet", "--kernel", "/dev/null")
    spelled = measure(firmware, "--append=quiet", "--kernel=/dev/null")
    assert plain == spelled
    negative = run("--type", "sev-snp", "--firmware", firmware, "--cpus", "-1", "--cpu", "EPYC")
    assert negative.returncode == 2


def test_each_vcpu_s_page_is_written_as_the_peer_writes_it(firmware: Path, tmp_path: Path) -> None:
    pytest.importorskip("sevsnpmeasure", reason="sev-snp-measure, the peer, is not installed")
    for platform, mode in (("sev-snp", "snp"), ("sev-es", "seves")):
        mine, theirs = tmp_path / platform, tmp_path / mode
        theirs.mkdir()
        measure(firmware, "--dump-vmsas", mine, platform=platform)
        code = "import sys; from sevsnpmeasure.cli import main; sys.exit(main())"
        told = [
            "--mode",
            mode,
            "--vcpus",
            "2",
            "--vcpu-type",
            "EPYC-v4",
            "--ovmf",
            str(firmware),
            "--dump-vmsa",
        ]
        subprocess.run([sys.executable, "-c", code, *told], capture_output=True, check=True, cwd=theirs)
        pages = {path.name: path.read_bytes() for path in theirs.iterdir()}
        assert {path.name: path.read_bytes() for path in mine.iterdir()} == pages
        assert len(pages) == 2


def test_a_realm_is_measured_with_what_is_told_of_its_host(tmp_path: Path) -> None:
    kernel, tree = tmp_path / "Image", tmp_path / "dtb"
    kernel.write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    tree.write_bytes(b"\xd0\x0d\xfe\xed" + (64).to_bytes(4, "big") + bytes(56))
    told = ("--type", "cca", "--kernel", kernel, "--memory", "1G")
    without = run(*told)
    assert without.returncode == 0
    assert "RIM  not known: what the host gives its realms" in without.stdout
    whole = ("--realm", "breakpoints=6,watchpoints=4", "--device-tree", tree)
    done = run(*told, *whole)
    assert "not known" not in done.stdout
    digest = done.stdout.split()[1]
    assert len(digest) == 128
    assert run(*told, *whole, "--compare", digest).returncode == 0
    message = json.loads(run(*told, *whole, "--references", "rvps").stdout)
    values = json.loads(base64.b64decode(message["payload"]))
    spelled = base64.b64encode(bytes.fromhex(digest)).decode()
    assert values == {"cca.realm.cca-realm-initial-measurement": [spelled]}


def test_tables_from_a_qemu_are_for_a_guest_whose_platform_measures_them(
    tmp_path: Path, firmware: Path
) -> None:
    args = tmp_path / "guest.args"
    args.write_text(
        "qemu-system-x86_64 -M q35,confidential-guest-support=s"
        " -object sev-snp-guest,id=s,cbitpos=51,reduced-phys-bits=1"
        f" -accel kvm -cpu EPYC-v4 -m 1G -bios {firmware}\n"
    )
    for words, said in (
        (("--type", "tdx", "--firmware", firmware, "--acpi-from", "qemu"), "for a whole guest"),
        ((args, "--acpi-from", "qemu"), "not measured by AMD SEV-SNP"),
        ((args, "--acpi-from", "qemu", "--acpi", tmp_path), "both given"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
