"""The collector on trees that are honest, odd or hostile, and on the machine that the tests run on."""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hosts import as_nobody, facts, tree

from sequester.host import collect as collector
from sequester.host.collect import Tree, collect, launch_security
from sequester.host.facts import HostFacts
from sequester.host.requirement import State, evaluate
from sequester.platforms.registry import platforms

SOURCE = Path(collector.__file__)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC 7713 64-Core Processor
flags\t\t: fpu svm sme sev sev_es sev_snp

processor\t: 1
vendor_id\t: AuthenticAMD
"""
S390 = """vendor_id       : IBM/S390
# processors    : 2
bogomips per cpu: 24038.00
features\t: esan3 zarch stfle msa
facilities      : 0 1 2 3 4 6 7 158 161
processor 0: version = FF,  identification = 123456,  machine = 8561
"""
POWER = """processor\t: 0
cpu\t\t: POWER9, altivec supported
revision\t: 2.3 (pvr 004e 1203)

timebase\t: 512000000
platform\t: PowerNV
model\t\t: 9006-22P
machine\t\t: PowerNV 9006-22P
firmware\t: OPAL
"""
MILAN = {
    "/proc/cpuinfo": X86,
    "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=UUID=1 luks.key=secret quiet iommu=pt kvm_amd.sev=1 password=hunter2\n",
    "/proc/sys/kernel/osrelease": "6.12.48+deb13-amd64\n",
    "/sys/module/kvm_amd/parameters/sev": "Y\n",
    "/sys/module/kvm_amd/parameters/sev_es": "1\n",
    "/sys/module/kvm_amd/parameters/sev_snp": "N\n",
    "/sys/fs/cgroup/misc.capacity": "sev 410\nsev_es 99\n",
    "/sys/fs/cgroup/system.slice/misc.current": "sev 1\nsev_es 2\n",
    "/sys/fs/cgroup/machine.slice/misc.current": "sev 0\nsev_es 3\n",
    "/sys/kernel/iommu_groups/0/type": "DMA\n",
    "/boot/config-6.12.48+deb13-amd64": "# a comment\nCONFIG_KVM=m\nCONFIG_KVM_AMD_SEV=y\nCONFIG_SECRET=x\n",
    "/var/log/dmesg": "[    0.000000] Linux version 6.12 (builder@somewhere)\n"
    "[    0.1] SEV-SNP: Memory for the RMP table has not been reserved by BIOS\n"
    "[    0.2] usb 1-1: SerialNumber: 4711\n",
}

ALL = {platform.name: platform.host_requirements() for platform in platforms()}


def of(root: Path) -> HostFacts:
    return facts(collect(root=str(root), qemus=[]))


def test_it_parses_as_python_3_6() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 6))


def test_it_imports_nothing_but_the_standard_library() -> None:
    nodes = list(ast.walk(ast.parse(SOURCE.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("python", ["python3.6", "python3.9", "/usr/bin/python3", sys.executable])
def test_it_runs_alone_from_standard_input(python: str, tmp_path: Path) -> None:
    found = shutil.which(python)
    if found is None:
        pytest.skip(f"no {python} here")
    if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} does not run here")
    with SOURCE.open() as script:
        done = subprocess.run(
            [found, "-I", "-W", "error", "-", "--no-qemu"],
            stdin=script,
            capture_output=True,
            cwd=tmp_path,
            check=True,
            timeout=30,
        )
    assert done.stderr == b""
    assert HostFacts.parse(done.stdout, "alone").arch == platform.machine()


def test_a_reader_that_stops_reading_gets_no_traceback() -> None:
    command = f"{sys.executable} {SOURCE} --no-qemu | head -c 10"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=30)
    assert done.stderr == b""


def test_a_tree_becomes_facts(tmp_path: Path) -> None:
    host = of(tree(tmp_path, MILAN))
    assert host.arch == "x86_64"
    assert host.kernel_version == (6, 12)
    assert (host.cpu_vendor, host.cpu_family, host.cpu_model) == ("AuthenticAMD", 25, 1)
    assert host.has_flag("sev_snp")
    assert [host.module_parameter("kvm_amd", name).on for name in ("sev", "sev_es", "sev_snp")] == [
        True,
        True,
        False,
    ]
    assert host.ids("sev_es") == (99, 5)
    assert host.directories["/sys/kernel/iommu_groups"] == 1
    assert host.config == {"CONFIG_KVM": "m", "CONFIG_KVM_AMD_SEV": "y"}
    assert host.log.complete


def test_a_tree_is_judged_like_a_machine(tmp_path: Path) -> None:
    outcomes = {one.requirement.name: one for one in evaluate(ALL["sev-snp"], of(tree(tmp_path, MILAN)))}
    assert outcomes["rmp"].state is State.FAILED
    assert outcomes["iommu"].state is State.FAILED
    assert outcomes["cpu-sev"].state is State.PASSED


def test_nothing_of_this_machine_gets_into_the_record_of_another_root(tmp_path: Path) -> None:
    record = collect(root=str(tmp_path), qemus=[])
    host = facts(record)
    assert host.cpuid_leaves == {}
    assert host.kvm_api is None
    assert host.cpu_vendor == host.kernel == host.arch == ""
    assert host.firmware == ()


def test_arguments_that_may_be_secrets_are_counted_and_not_kept(tmp_path: Path) -> None:
    record = collect(root=str(tree(tmp_path, MILAN)), qemus=[])
    assert record["cmdline"] == {"arguments": ["iommu=pt", "kvm_amd.sev=1"], "dropped": 5}
    said = json.dumps(record)
    for secret in ("hunter2", "luks", "4711", "somewhere", "CONFIG_SECRET"):
        assert secret not in said


def test_a_real_z15_s_ultravisor_tree_is_read(tmp_path: Path) -> None:
    source = SHARED / "s390" / "sys-firmware-uv"
    if not source.is_dir():
        pytest.skip("no ../shared/data/s390 here")
    files: dict[str, str | bytes] = {"/proc/cpuinfo": S390, "/proc/cmdline": "prot_virt=1 root=/dev/dasda1"}
    for path in source.iterdir():
        folder = "/sys/firmware/uv/" if path.name.startswith("prot_virt") else "/sys/firmware/uv/query/"
        files[folder + path.name] = path.read_bytes()
    host = of(tree(tmp_path, files))
    assert host.arch == "s390x"
    assert host.file("/sys/firmware/uv/prot_virt_host").on is True
    assert host.file("/sys/firmware/uv/query/max_guests").number == 8388607
    outcomes = {one.requirement.name: one.state for one in evaluate(ALL["s390-pv"], host)}
    for name in ("arch", "facility", "kernel", "prot-virt-argument", "prot-virt-host"):
        assert outcomes[name] is State.PASSED, name


def test_a_power9_is_named_after_all_its_processors(tmp_path: Path) -> None:
    processors = "".join(f"processor\t: {number}\ncpu\t\t: POWER9\n\n" for number in range(2000))
    files: dict[str, str | bytes] = {
        "/proc/cpuinfo": processors + POWER,
        "/proc/device-tree/ibm,ultravisor/compatible": b"ibm,ultravisor\0ibm,uv-firmware\0",
    }
    host = of(tree(tmp_path, files))
    assert host.arch == "ppc64"
    assert host.cpuinfo["machine"] == "PowerNV 9006-22P"
    assert host.file("/proc/device-tree/ibm,ultravisor/compatible").text == "ibm,ultravisor\nibm,uv-firmware"
    outcomes = {one.requirement.name: one.state for one in evaluate(ALL["pef"], host)}
    assert outcomes["cpu"] is outcomes["ultravisor"] is State.PASSED


PARAMETER = "/sys/module/kvm_amd/parameters/sev"


def lie(root: Path, how: str) -> None:
    """Put something at the place of a module parameter."""
    path = tree(root, {"/sys/module/kvm_amd/parameters/nested": "1"}) / PARAMETER.lstrip("/")
    if how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path)
    elif how == "dangling":
        path.symlink_to(root / "nowhere")
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "socket":
        place = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{place}/sev")
        os.close(place)
    elif how == "binary":
        path.write_bytes(bytes(range(256)) * 8)
    elif how == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 33)
    elif how == "huge text":
        path.write_bytes(b"Y" * (4 << 20))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fifo", "not a file but a fifo"),
        ("directory", "not a file but a directory"),
        ("loop", "ELOOP"),
        ("dangling", "ENOENT"),
        ("device", "not a file but a character device"),
        ("socket", "not a file but a socket"),
    ],
)
def test_what_is_no_file_is_an_error_text_and_never_opened(tmp_path: Path, how: str, said: str) -> None:
    lie(tmp_path, how)
    host = of(tmp_path)
    assert host.file(PARAMETER).error == said
    assert host.module_parameter("kvm_amd", "sev").on is None


@pytest.mark.parametrize("how", ["binary", "huge", "huge text"])
def test_content_that_is_nonsense_is_cut_and_judged_unknown(tmp_path: Path, how: str) -> None:
    lie(tmp_path, how)
    host = of(tmp_path)
    assert len(host.file(PARAMETER).text or "") <= 64 << 10
    for outcome in evaluate(ALL["sev"], host):
        assert outcome.read.isprintable()
        assert len(outcome.read) < 1000
    assert (
        next(one for one in evaluate(ALL["sev"], host) if one.requirement.name == "kvm-sev").state
        is State.UNKNOWN
    )


def test_unreadable_files_are_recorded_with_the_reason(tmp_path: Path) -> None:
    root = tree(tmp_path, MILAN)
    for folder in [*root.rglob("*/"), *root.parents]:
        if str(folder).startswith(("/tmp/", str(root))) and folder.is_dir():
            folder.chmod(0o755)
    (root / PARAMETER.lstrip("/")).chmod(0o000)
    (root / "sys/fs/cgroup").chmod(0o000)
    try:
        host = facts(as_nobody(lambda: collect(root=str(root), qemus=[])))
    finally:
        (root / "sys/fs/cgroup").chmod(0o755)
    assert host.file(PARAMETER).error == "EACCES"
    assert host.file("/sys/fs/cgroup/misc.capacity").error == "EACCES"
    outcome = next(one for one in evaluate(ALL["sev"], host) if one.requirement.name == "kvm-sev")
    assert outcome.state is State.UNKNOWN
    assert outcome.remedy == "probe as root"


def test_folders_with_very_many_entries_are_cut(tmp_path: Path) -> None:
    many: dict[str, str | bytes] = {f"/sys/firmware/uv/query/{number:05}": "1" for number in range(600)}
    many |= {f"/sys/fs/cgroup/{number}.slice/misc.current": "sev 1" for number in range(600)}
    host = of(tree(tmp_path, many))
    assert len([path for path in host.files if path.startswith("/sys/firmware/uv/query/")]) == 256


def test_descriptors_of_firmware_are_read_whatever_is_in_them(tmp_path: Path) -> None:
    folder = "/usr/share/qemu/firmware/"
    good = {
        "mapping": {"device": "memory", "filename": "/usr/share/ovmf/OVMF.amdsev.fd"},
        "features": ["amd-sev-snp", 7, None],
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}, "odd"],
    }
    flash = {"mapping": {"device": "flash", "mode": "stateless", "executable": {"filename": "/nowhere.fd"}}}
    files: dict[str, str | bytes] = {
        folder + "10-good.json": json.dumps(good),
        folder + "20-flash.json": json.dumps(flash),
        folder + "30-masked.json": json.dumps(good),
        "/etc/qemu/firmware/30-masked.json": "",
        folder + "40-junk.json": b"\xff\xfe{",
        folder + "50-deep.json": "[" * 60000,
        folder + "60-list.json": "[]",
        folder + "70-odd.json": json.dumps(
            {"mapping": {"filename": ["x"], "executable": 3}, "targets": {}, "features": "x"}
        ),
        folder + "80-nul.json": json.dumps({"mapping": {"filename": "/usr/\0/x"}}),
        folder + "90-not-one.txt": "x",
        "/usr/share/ovmf/OVMF.amdsev.fd": b"image",
    }
    images = {
        image.descriptor.rpartition("/")[2]: image
        for image in of(tree(tmp_path, files)).firmware
        if image.error == ""
    }
    assert images["10-good.json"].usable
    assert images["10-good.json"].features == {"amd-sev-snp"}
    assert images["20-flash.json"].filename == "/nowhere.fd"
    assert not images["20-flash.json"].usable
    assert images["30-masked.json"].masked_by == "/etc/qemu/firmware/30-masked.json"
    assert not images["70-odd.json"].usable
    assert not images["80-nul.json"].usable
    assert set(images) == {"10-good.json", "20-flash.json", "30-masked.json", "70-odd.json", "80-nul.json"}


@pytest.mark.parametrize(
    ("name", "sectypes", "features"),
    [
        ("domcapabilities_sevsnp.xml", ["sev", "sev-snp"], {"sev": True}),
        ("domcapabilities_nosev.xml", [], {"sev": False}),
        ("kvm-s390x-domcaps.xml", [], {"sev": False, "s390-pv": True}),
        ("kvm-x86_64-domcaps-amd-sev.xml", [], {"sev": True}),
        ("kvm-ppc64le-domcaps.xml", [], {"sev": False, "sgx": False}),
    ],
)
def test_launch_security_is_found_in_real_domain_capabilities(
    name: str, sectypes: list[str], features: dict[str, bool]
) -> None:
    path = SHARED / "domcaps" / name
    if not path.exists():
        pytest.skip("no ../shared/data/domcaps here")
    assert launch_security(path.read_text()) == {"sectypes": sectypes, "features": features}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sleep", "60"], "no answer within 0.2 s"),
        (["yes"], "more than 1000 bytes of output"),
        (["sequester-no-such-command"], "ENOENT"),
        (["sh", "-c", "sleep 60 & exec sleep 60"], "no answer within 0.2 s"),
    ],
)
def test_a_helper_program_that_misbehaves_is_ended(command: list[str], said: str) -> None:
    assert collector.run(command, 0.2, 1000) == said


def test_the_security_processor_s_answers_have_the_size_that_linux_gives_them() -> None:
    for (layout, names), size in ((collector.SEV_STATUS, 12), (collector.SNP_STATUS, 32)):
        assert struct.calcsize(layout) == size
        assert len(struct.unpack(layout, bytes(size))) == len(names)


@pytest.mark.parametrize("device", ["kvm", "sev"])
def test_a_device_that_is_another_one_is_an_error_text(tmp_path: Path, device: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / device).symlink_to("/dev/null")
    host = facts(collect(root=str(tmp_path), qemus=[]))
    assert "ENOTTY" in {"kvm": host.kvm_error, "sev": host.sev_platform.error}[device]


def test_this_machine_can_be_collected_by_anybody() -> None:
    mine = facts(collect(qemus=[]))
    others = facts(as_nobody(lambda: collect(qemus=[])))
    assert mine.arch == others.arch != ""
    assert mine.kernel == others.kernel == os.uname().release
    assert mine.flags == others.flags
    for platform_name, chain in ALL.items():
        assert len(evaluate(chain, others)) == len(chain), platform_name


def test_cpuid_is_the_same_whether_read_or_executed() -> None:
    executed = collector.executed_cpuid()
    if isinstance(executed, str):
        pytest.skip(f"CPUID cannot be executed here: {executed}")
    if not os.access("/dev/cpu/0/cpuid", os.R_OK):
        pytest.skip("/dev/cpu/0/cpuid is not readable here")
    read = collector.cpuid(Tree(), "x86_64")["leaves"]
    asked = collector.leaves(executed)
    assert isinstance(read, dict)
    assert {leaf: read[leaf] for leaf in ("0x0", "0x80000000")} == {
        leaf: asked[leaf] for leaf in ("0x0", "0x80000000")
    }
    assert set(read) == set(asked)


def test_executed_cpuid_names_a_vendor_that_the_kernel_names_too() -> None:
    executed = collector.executed_cpuid()
    if isinstance(executed, str):
        pytest.skip(f"CPUID cannot be executed here: {executed}")
    _, ebx, ecx, edx = executed(0)
    vendor = b"".join(register.to_bytes(4, "little") for register in (ebx, edx, ecx)).decode()
    assert facts(collect(qemus=[])).cpu_vendor == vendor
