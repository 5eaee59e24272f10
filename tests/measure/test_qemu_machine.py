"""A guest's machine without what its host brings: what stays, what is stood in for, what cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sequester
from sequester.errors import GuestError, HostError, InputError
from sequester.measure.qemu_machine import bare_argv
from sequester.measure.qemu_tables import read_tables

TDX = "-object tdx-guest,id=t -cpu host -accel kvm"


def bare(words: str, machine: str = "q35") -> str:
    argv = ["qemu", "-M", f"{machine},confidential-guest-support=t,kernel-irqchip=split", *TDX.split()]
    plan = sequester.plan(sequester.from_argv([*argv, *words.split()]))
    return " ".join(bare_argv(plan.spoken("argv")[0]))


def test_the_machine_stays_without_its_protection_and_as_tdx_makes_it() -> None:
    made = bare("-m 4G -smp 2,maxcpus=4 -device pcie-root-port,id=p,chassis=1 -nodefaults", "q35,hpet=off")
    for part in ("hpet=off", "smm=off", "pic=off", "-m 4G", "-smp 2,maxcpus=4", "-nodefaults"):
        assert part in made
    assert "-device pcie-root-port,id=p,chassis=1" in made
    assert "-cpu max,phys-bits=52" in made
    for part in ("tdx", "confidential", "irqchip", "kvm", "host"):
        assert part not in made


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        (
            "-netdev tap,id=n,ifname=tap0,script=/bin/sh -device virtio-net-pci,netdev=n",
            "-netdev hubport,id=n,hubid=",
        ),
        (
            "-drive file=/etc/shadow,if=none,id=d -device virtio-blk-pci,drive=d",
            "-drive if=none,id=d,driver=null-co",
        ),
        (
            "-blockdev driver=file,node-name=f,filename=/etc/shadow -device virtio-blk-pci,drive=f",
            '{"driver":"null-co","node-name":"f"}',
        ),
        ("-chardev file,id=c,path=/etc/shadow -device isa-serial,chardev=c", "-chardev null,id=c"),
        ("-serial file:/etc/shadow", "-serial null"),
        ("-object memory-backend-file,id=m,size=1G,mem-path=/etc", "memory-backend-ram,id=m,size=1G"),
    ],
)
def test_what_a_device_needs_of_the_host_is_stood_in_for(given: str, instead: str) -> None:
    made = bare(given)
    assert instead in made
    for path in ("/etc", "/bin", "tap"):
        assert path not in made


@pytest.mark.parametrize(
    "given",
    [
        "-device vfio-pci,host=01:00.0",
        "-device vhost-vsock-pci,guest-cid=3",
        "-device usb-host,vendorid=1",
        "-virtfs local,path=/etc,mount_tag=t,security_model=none",
        "-object secret,id=s,file=/etc/shadow",
        "-tpmdev emulator,id=t0,chardev=c",
    ],
)
def test_what_is_the_hosts_own_is_named_and_refused(given: str) -> None:
    with pytest.raises(InputError, match="cannot be stood in for"):
        bare(given)


def fake(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "qemu"
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{code}\n")
    path.chmod(0o755)
    return [str(path)]


GREETING = b'{"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 2}}}}'


@pytest.mark.parametrize(
    ("monitor", "answers", "said"),
    [
        (b"no JSON", "", "does not speak JSON"),
        (b"[]", "", "does not speak JSON"),
        (b'{"QMP": {"version": 7}}', "", "does not greet"),
        (GREETING + b'\n{"error": 1}', "", "refuses 'qmp_capabilities'"),
        (GREETING + b'\n{"return": 1}', "FAIL no\n", "qtest answers FAIL no"),
        (GREETING + b'\n{"return": 1}', "OK\nOK\nOK\nOK zz\n", "does not answer in numbers"),
        (GREETING + b'\n{"return": 1}', "OK\nOK\nOK\nOK 0x00000002\n", "gives nothing by DMA"),
        (
            GREETING + b'\n{"return": 1}',
            "OK\nOK\nOK\nOK 0x00000000\nOK 0xffffffff\n",
            "claims 4294967295 files",
        ),
        (b'{"event": ' + b"1" * 100, "", "in time"),
        (b"", "", "in time"),
    ],
)
def test_a_qemu_that_hangs_or_talks_nonsense_is_an_error_in_time(
    tmp_path: Path, monitor: bytes, answers: str, said: str
) -> None:
    end = b"" if said == "in time" else b"\n"
    code = (
        f"os.write(int(sys.argv[-3].split('fd=')[1]), {monitor + end!r})\n"
        f"sys.stdout.write({answers!r}); sys.stdout.flush(); time.sleep(60)"
    )
    with pytest.raises(GuestError, match=said):
        read_tables(fake(tmp_path, code), patience=1.5)


def test_a_qemu_that_ends_says_its_last_words(tmp_path: Path) -> None:
    code = "sys.stderr.write('machine type is unknown\\n'); sys.exit(1)"
    with pytest.raises(GuestError, match="machine type is unknown"):
        read_tables(fake(tmp_path, code))


def test_a_qemu_that_cannot_be_run_is_the_hosts_fault(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be run"):
        read_tables([str(tmp_path / "none")])
