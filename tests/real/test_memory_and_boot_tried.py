"""What the rules on memory, boot, processor and security say that QEMU does, a real QEMU does."""

import shlex
import socket
import subprocess
import time

import pytest

from sequester.findings import Case
from sequester.formats.argv_read import read_argv_text
from sequester.host.emulator import QemuFacts
from sequester.host.firmware import inspect
from sequester.platforms.registry import named, resolve
from sequester.rules.boot import RULES as BOOT
from sequester.rules.engine import apply, check
from sequester.rules.memory import RULES as MEMORY
from sequester.rules.processor import RULES as PROCESSOR

MIB = 1 << 20
SEV_ES = (
    "-nodefaults -display none -S -machine q35,confidential-guest-support=s0 -accel tcg "
    "-object sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1,policy=5"
)
WANTS_HARDWARE = "accelerator does not support confidential guest"
NO_TABLE = "SEV information block/Firmware GUID Table block not found in pflash rom"
NO_HASHES = "SEV: kernel specified but guest firmware has no hashes table GUID"


def case_of(qemu, line, **more):
    document = read_argv_text(f"qemu-system-{qemu.arch} {line}".encode(), "tried")
    facts = QemuFacts(str(qemu.path), qemu.release, arch=qemu.arch)
    limitation = more.pop("limitation", None) or resolve(document.guest)
    return document, Case(document.guest, limitation, facts, **more)


def mended(qemu, line, rules, **more):
    document, case = case_of(qemu, line, **more)
    _, applied = apply(case, rules)
    return shlex.split(document.edited([change for done in applied for change in done.changes]).text)[1:]


def codes(qemu, line, rules, **more):
    _, case = case_of(qemu, line, **more)
    return {finding.code for finding in check(case, rules)}


def memory_flags(qemu, words, size):
    """The kernel's flags of the mappings of this size in a QEMU that is stopped before its first instruction."""
    running = subprocess.Popen(
        [qemu.path, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(100):
            with open(f"/proc/{running.pid}/smaps", encoding="ascii", errors="replace") as smaps:
                flags = flags_in(smaps, size)
            if flags:
                return flags
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        raise AssertionError(f"no mapping of {size} bytes")
    finally:
        running.kill()
        running.communicate()


def flags_in(smaps, size):
    found, fits = [], False
    for line in smaps:
        if line.startswith("Size:"):
            fits = int(line.split()[1]) * 1024 == size
        elif line.startswith("VmFlags:") and fits:
            found.append(set(line.split()[1:]))
    return found


# SQ201, SQ202, SQ209: without the protection object, as with it QEMU ends before its memory can be looked at

PLAIN = "-nodefaults -display none -S -machine q35 -accel tcg -m 200"
GIVEN = "-object memory-backend-ram,id=r,size=200M,merge=on,dump=on -machine memory-backend=r"


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize("more", ["", GIVEN])
def test_memory_is_mergeable_and_dumped_until_the_rules_say_otherwise(qemu, more):
    line = f"{PLAIN} {more}"
    before = memory_flags(qemu, shlex.split(line), 200 * MIB)
    if not any("mg" in flags for flags in before):
        pytest.skip("this kernel has no KSM")
    assert not any("dd" in flags for flags in before)
    after = memory_flags(
        qemu, mended(qemu, line, MEMORY, limitation=named("sev")(), engaged=False), 200 * MIB
    )
    assert not any("mg" in flags for flags in after)
    assert all("dd" in flags for flags in after)


# SQ401, SQ402, SQ403, SQ404, SQ408


@pytest.mark.real_qemu(arch="x86_64")
def test_firmware_without_the_platforms_table_ends_qemu(qemu, tmp_path):
    if qemu.release < (10, 0):
        pytest.skip("7.2 looks for the table under KVM alone")
    odd = tmp_path / "odd.fd"
    odd.write_bytes(bytes(256 << 10))
    for firmware, code in (("", "SQ401"), (f" -bios {odd}", "SQ403")):
        line = SEV_ES + firmware
        assert NO_TABLE in qemu.run(shlex.split(line)).stderr
        assert code in codes(qemu, line, BOOT, firmware={str(odd): inspect(str(odd))})


@pytest.mark.real_qemu(arch="x86_64")
def test_a_rom_of_an_odd_size_is_not_loaded(qemu, tmp_path):
    half = tmp_path / "half.fd"
    half.write_bytes(bytes(100_000))
    line = f"{SEV_ES} -bios {half}"
    assert "could not load PC BIOS" in qemu.run(shlex.split(line)).stderr
    assert "SQ404" in codes(qemu, line, BOOT, firmware={str(half): inspect(str(half))})


@pytest.mark.real_qemu(arch="x86_64")
def test_kernel_hashes_need_a_table_in_the_firmware(qemu, tmp_path):
    if qemu.release < (10, 0):
        pytest.skip("7.2 looks for the table under KVM alone")
    kernel, rom = tmp_path / "kernel", tmp_path / "rom.fd"
    header = bytearray(1 << 16)
    header[0x1F1] = 4  # setup sectors
    header[0x1FE:0x200] = b"\x55\xaa"
    header[0x202:0x208] = b"HdrS\x0f\x02"
    header[0x211] = 1  # loaded high
    kernel.write_bytes(bytes(header))
    rom.write_bytes(bytes(256 << 10))
    line = SEV_ES.replace("policy=5", "policy=1,kernel-hashes=on") + f" -bios {rom} -kernel {kernel}"
    assert NO_HASHES in qemu.run(shlex.split(line)).stderr
    assert "SQ408" in codes(qemu, line, BOOT, firmware={str(rom): inspect(str(rom))})


@pytest.mark.real_qemu(arch="x86_64")
def test_flash_goes_before_a_rom_without_a_word(qemu, tmp_path):
    for name in ("rom", "flash"):
        (tmp_path / name).write_bytes(bytes(256 << 10))
    tree = {"execute": "human-monitor-command", "arguments": {"command-line": "info mtree -f"}}
    both = ["-machine", "q35", "-bios", str(tmp_path / "rom")]
    both += ["-drive", f"if=pflash,format=raw,readonly=on,file={tmp_path / 'flash'}"]
    (mapped,) = qemu.ask(both, tree)
    assert "system.flash0" in mapped
    assert "pc.bios" not in mapped


@pytest.mark.real_qemu(arch="x86_64")
def test_what_the_rules_make_of_a_guest_starts_up_to_the_missing_hardware(qemu):
    if qemu.release < (10, 0):
        pytest.skip("7.2 aborts without a word on the accelerator")
    line = SEV_ES.replace("policy=5", "policy=1").replace("q35,", "q35,smm=on,mem-merge=on,")
    line += " -m 64 -object memory-backend-ram,id=r,size=64M,merge=on,dump=on -machine memory-backend=r"
    assert WANTS_HARDWARE in qemu.run(mended(qemu, line, (*MEMORY, *PROCESSOR))).stderr


# SQ502, SQ507, SQ508


@pytest.mark.real_qemu(arch="s390x")
def test_no_named_model_has_unpack_by_default(qemu):
    models = [
        entry["name"]
        for entry in qemu.ask(["-machine", "s390-ccw-virtio", "-S"], {"execute": "query-cpu-definitions"})[0]
    ]
    models = [name for name in models if name not in ("max", "host", "qemu")]
    expand = [
        {"execute": "query-cpu-model-expansion", "arguments": {"type": "full", "model": {"name": name}}}
        for name in models
    ]
    expanded = qemu.ask(["-machine", "s390-ccw-virtio", "-S"], *expand)
    assert {answer["model"]["props"]["unpack"] for answer in expanded} == {False}


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize(
    ("line", "said", "code"),
    [
        ("-cpu z14,unpack=on", "Feature 'unpack' is not available for CPU model 'z14'", None),
        (
            "-cpu gen15a-base,unpack=on -only-migratable",
            "The unpack facility is not compatible with the --only-migratable option",
            "SQ508",
        ),
        ("-cpu max -smp 249", "The max CPUs supported by machine", None),
    ],
)
def test_s390_refuses_what_the_rules_call_wrong(qemu, line, said, code):
    text = f"-machine s390-ccw-virtio -nodefaults -display none -S {line}"
    assert said in qemu.run(shlex.split(text)).stderr
    if code:
        assert code in codes(qemu, text, PROCESSOR)
    limited = text.replace("virtio ", "virtio,confidential-guest-support=p -object s390-pv-guest,id=p ", 1)
    assert codes(qemu, limited, PROCESSOR) & {"SQ502", "SQ507"} or "gen15a" in line


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", ["z900", "zEC12.2", "z13s", "z14.2-base", "z14ZR1"])
def test_every_model_before_z15_is_too_old_for_unpack(qemu, model):
    answer = qemu.run(
        ["-machine", "s390-ccw-virtio", "-nodefaults", "-display", "none", "-cpu", f"{model},unpack=on"]
    )
    assert "it was introduced with later models" in answer.stderr


# SQ805, SQ806, SQ807


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.real_qemu(arch="x86_64")
def test_an_empty_host_is_every_address(qemu):
    port = free_port()
    words = ["-machine", "none", "-chardev", f"socket,id=c,host=,port={port},server=on,wait=off"]
    (devices,) = qemu.ask(words, {"execute": "query-chardev"})
    (where,) = [device["filename"] for device in devices if device["label"] == "c"]
    assert "0.0.0.0" in where or "::" in where


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(("host", "address"), [("", {"0.0.0.0", "::"}), ("127.0.0.1", {"127.0.0.1"})])
def test_vnc_without_a_host_is_on_every_address(qemu, host, address):
    port = free_port()
    if port < 5900:
        pytest.skip("no port for VNC")
    (servers,) = qemu.ask(
        ["-machine", "none", "-vnc", f"{host}:{port - 5900}"], {"execute": "query-vnc-servers"}
    )
    assert {entry["host"] for server in servers for entry in server["server"]} <= address


@pytest.mark.real_qemu(arch="x86_64")
def test_vnc_takes_no_password_on_the_command_line(qemu):
    answer = qemu.run(["-machine", "none", "-display", "none", "-vnc", "127.0.0.1:99,password=hunter2"])
    assert "Parameter 'password' expects 'on' or 'off'" in answer.stderr
