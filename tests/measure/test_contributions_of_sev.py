"""The contributions of a SEV launch: in order, complete, and ending in the digest."""

from __future__ import annotations

import hashlib

from ovmf_images import HASHES, SECTIONS, image

from sequester.measure import snp_pages
from sequester.measure.boot import Boot
from sequester.measure.ovmf import FOUR_GIB, read_ovmf
from sequester.measure.sev import SevLaunch
from sequester.measure.sev_snp import SnpLaunch
from sequester.measure.svsm import SvsmLaunch

OVMF = read_ovmf(image(), "OVMF.fd")
BOOT = Boot(hashlib.sha256(b"kernel").digest(), hashlib.sha256(b"initrd").digest(), b"quiet")
SVSM = read_ovmf(image(SECTIONS[:-1], svsm=0x40), "svsm.bin", OVMF.address - 0x84000)


def test_they_end_in_the_digest_that_the_launch_is_measured_as() -> None:
    for launch in (
        SevLaunch(OVMF),
        SevLaunch(OVMF, boot=BOOT),
        SevLaunch(OVMF, es=True, vcpus=3, signature=0x800F12, boot=BOOT),
        SnpLaunch(OVMF, 3, 0x800F12),
        SnpLaunch(OVMF, 3, 0x800F12, boot=BOOT),
        SnpLaunch(OVMF, 1, monitor="ec2", boot=BOOT),
        SnpLaunch(OVMF, 2, monitor="gce"),
        SnpLaunch(OVMF, 2, seed=bytes(range(48))),
        SvsmLaunch(OVMF, SVSM, 2, 0x800F12),
    ):
        assert list(launch.contributions())[-1].running == launch.measure().digest


def test_an_snp_launch_has_its_image_sections_and_processors_in_order() -> None:
    steps = [(step.kind, step.address, step.size) for step in SnpLaunch(OVMF, 3, boot=BOOT).contributions()]
    kinds = {1: "zero", 2: "secrets", 3: "cpuid", 4: "zero", 0x10: "normal"}
    sections = [(kinds[type_], base, size) for base, size, type_ in SECTIONS]
    hashes = [("hash", None, 0)] * 3
    vmsas = [("vmsa", snp_pages.VMSA_ADDRESS, 0x1000)] * 3
    assert steps == [
        ("normal", FOUR_GIB - 0x4000, 0x4000),
        *sections[:-1],
        *hashes,
        sections[-1],
        *vmsas,
    ]


def test_on_ec2_the_cpuid_page_comes_after_everything_but_the_processors() -> None:
    kinds = [step.kind for step in SnpLaunch(OVMF, monitor="ec2").contributions()]
    assert kinds[-2:] == ["cpuid", "vmsa"]
    assert kinds.count("cpuid") == 1


def test_on_gce_the_boot_loader_s_memory_is_not_measured() -> None:
    kinds = [step.kind for step in SnpLaunch(OVMF, monitor="gce").contributions()]
    assert kinds.count("unmeasured") == 3
    assert kinds.count("zero") == 2


def test_the_hashes_are_those_of_the_files_and_of_the_command_line_with_its_zero_byte() -> None:
    for launch in (SevLaunch(OVMF, boot=BOOT), SnpLaunch(OVMF, boot=BOOT)):
        hashes = {step.what: step.contents for step in launch.contributions() if step.kind == "hash"}
        assert hashes == {
            "SHA-256 of the command line": hashlib.sha256(b"quiet\0").digest(),
            "SHA-256 of the initrd": hashlib.sha256(b"initrd").digest(),
            "SHA-256 of the kernel": hashlib.sha256(b"kernel").digest(),
        }


def test_a_missing_initrd_is_named_as_missing() -> None:
    whats = [step.what for step in SevLaunch(OVMF, boot=Boot(bytes(32))).contributions()]
    assert "SHA-256 of the initrd (none)" in whats


def test_the_table_of_hashes_is_where_the_firmware_wants_it() -> None:
    (table,) = (step for step in SevLaunch(OVMF, boot=BOOT).contributions() if step.kind == "hashes")
    assert (table.address, table.size) == (HASHES[0], 176)
