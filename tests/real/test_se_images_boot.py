"""Secure Execution images in real QEMUs: IBM's loader starts, and what the ultravisor would open boots Linux."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from real_qemu import RealQemu

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "measure"))

from se_parts import ibms_loader

from sequester.errors import HostError
from sequester.measure.se_boot_code import read_boot_code
from sequester.measure.se_build import Secrets
from sequester.measure.se_image import SeImage
from sequester.measure.se_write import Parts, write_image
from sequester.run.image import ensure_image
from sequester.simulator.ultravisor import open_header, unpack

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "sequester"
HOST = ec.derive_private_key(0xB0A710AD, ec.SECP521R1())
MARK = "sequester.mark=carried"


@pytest.fixture(scope="module")
def image() -> bytes:
    """An image of Debian's kernel and our small guest's initrd."""
    try:
        guest = ensure_image("s390x", CACHE, print)
    except HostError as error:
        pytest.skip(f"no guest image: {error}")
    file = io.BytesIO()
    append = f"{guest.command_line()} ignore_loglevel {MARK}".encode()
    parts = Parts(str(guest.kernel), str(guest.initrd), append)
    write_image(file, parts, read_boot_code(str(ibms_loader())), [HOST.public_key()], Secrets.random())
    return file.getvalue()


def booted(qemu: RealQemu, path: Path) -> str:
    console = ["-chardev", "stdio,id=c0", "-device", "sclpconsole,chardev=c0"]
    done = qemu.run(
        [
            *("-machine", "s390-ccw-virtio", "-cpu", "max", "-accel", "tcg", "-m", "768", "-nodefaults"),
            *("-display", "none", "-no-reboot", *console, "-kernel", str(path)),
        ],
        timeout=300,
    )
    return done.stdout + done.stderr


@pytest.mark.real_qemu(arch="s390x")
def test_ibms_loader_starts_and_finds_that_this_machine_opens_no_images(
    qemu: RealQemu, image: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "closed.img"
    path.write_bytes(image)
    assert "Secure unpack facility is not available" in booted(qemu, path)


@pytest.mark.real_qemu(arch="s390x", version="11.1")
def test_what_the_ultravisor_would_open_boots_linux_with_its_initrd_and_command_line(
    qemu: RealQemu, image: bytes, tmp_path: Path
) -> None:
    """The pages are opened with the host's key as the ultravisor does it, and started where the header says."""
    closed = SeImage(io.BytesIO(image), "closed.img")
    memory = bytearray(image)
    for component, data in unpack(closed, HOST):
        memory[component.address : component.address + component.length] = data
    start = open_header(*closed.raw_header(), HOST)
    memory[4:8] = struct.pack(">I", 1 << 31 | start.address)
    path = tmp_path / "opened.img"
    path.write_bytes(memory)
    said = booted(qemu, path)
    assert MARK in said
    assert "sequester-guest: ready" in said
