"""Every likely mistake, alone and with others, is found from the digest it gives, and named."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from ovmf_images import SECTIONS, image

from sequester.measure import processor
from sequester.measure.boot import Boot
from sequester.measure.kernel_hashes import NOTHING
from sequester.measure.ovmf import read_ovmf
from sequester.measure.prefixes import SevPrefixes, SnpPrefixes, SvsmPrefixes
from sequester.measure.search import MOST_VCPUS, Match, search
from sequester.measure.sev import SevLaunch
from sequester.measure.sev_guesses import sev_guesses, snp_guesses, svsm_guesses
from sequester.measure.sev_snp import SnpLaunch
from sequester.measure.svsm import SvsmLaunch
from sequester.record import replaced

OVMF = read_ovmf(image(), "OVMF.fd")
OTHER = read_ovmf(image(fill=b"other"), "other.fd")
NO_SNP = read_ovmf(bytes(0x4000), "SeaBIOS")
BOOT = Boot(hashlib.sha256(b"kernel").digest(), hashlib.sha256(b"initrd").digest(), b"console=ttyS0")
EPYC = 0x800F12
SNP = SnpLaunch(OVMF, 4, EPYC, boot=BOOT)
ES = SevLaunch(OVMF, True, 4, EPYC, boot=BOOT)


def find_snp(digest: bytes, launch: SnpLaunch = SNP, boot: Boot | None = BOOT) -> Match | None:
    return search(digest, launch, snp_guesses(launch, boot, (NO_SNP, OTHER)), SnpPrefixes())


def find_sev(digest: bytes, launch: SevLaunch = ES, boot: Boot | None = BOOT) -> Match | None:
    return search(digest, launch, sev_guesses(launch, boot, (OTHER,)), SevPrefixes())


def test_the_given_launch_itself_differs_in_nothing() -> None:
    for found in (find_snp(SNP.measure().digest), find_sev(ES.measure().digest)):
        assert found is not None
        assert found.differences == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"vcpus": 1}, "1 vCPU instead of 4"),
        ({"vcpus": MOST_VCPUS}, "512 vCPUs instead of 4"),
        ({"signature": processor.parse("EPYC-Milan")}, "vCPU type EPYC-Milan"),
        ({"signature": 0xB00F21}, "host on Turin C1"),
        ({"features": 0x21}, "guest features 0x21 (debug swap"),
        ({"monitor": "gce"}, "as on gce instead of qemu"),
        ({"firmware": OTHER}, "firmware other.fd instead of OVMF.fd"),
        ({"fpu": False}, "without the FPU state"),
        ({"boot": None}, "kernel hashes off instead of on"),
        ({"boot": replaced(BOOT, initrd=NOTHING)}, "no initrd"),
        ({"boot": replaced(BOOT, cmdline=b"")}, "no command line"),
        ({"boot": replaced(BOOT, cmdline=b"console=ttyS0\n")}, "a newline more"),
        ({"boot": replaced(BOOT, cmdline=b"console=ttyS0\0")}, "a zero byte more"),
        ({"boot": replaced(BOOT, cmdline=b"'console=ttyS0'")}, "quotes around"),
        ({"boot": replaced(BOOT, ending=b"")}, "without the zero byte"),
    ],
)
def test_one_mistake_is_named_alone(fields: dict[str, Any], said: str) -> None:
    found = find_snp(replaced(SNP, **fields).measure().digest)
    assert found is not None
    assert len(found.differences) == 1
    assert said in found.differences[0]
    assert {name: getattr(found.launch, name) for name in fields} == fields


def test_whatever_ends_the_command_line_too_much_is_found_to_be_less() -> None:
    for ending, name in ((b" ", "a space"), (b"\n", "a newline")):
        launch = replaced(SNP, boot=replaced(BOOT, cmdline=BOOT.cmdline + ending))
        found = find_snp(SNP.measure().digest, launch)
        assert found is not None
        assert found.differences == (f"{name} less at the end of the command line",)


def test_hashes_that_were_on_are_found_with_the_kernel_at_hand() -> None:
    launch = replaced(SNP, boot=None)
    found = find_snp(SNP.measure().digest, launch)
    assert found is not None
    assert found.differences == ("kernel hashes on instead of off",)
    assert find_snp(SNP.measure().digest, launch, boot=None) is None


def some_mistakes(chance: random.Random) -> Iterator[dict[str, Any]]:
    kinds: list[dict[str, Any]] = [
        {"signature": processor.parse("EPYC-Genoa")},
        {"features": 0x21},
        {"firmware": OTHER},
        {"fpu": False},
        {"boot": None},
    ]
    for _ in range(5):
        chosen = chance.sample(kinds, 2)
        yield {**chosen[0], **chosen[1], "vcpus": chance.randrange(1, 33)}


def test_two_mistakes_with_another_number_of_processors_are_found_together() -> None:
    for fields in some_mistakes(random.Random(1)):
        found = find_snp(replaced(SNP, **fields).measure().digest)
        assert found is not None
        assert {name: getattr(found.launch, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"es": False}, "SEV instead of SEV-ES"),
        ({"fpu": False}, "legacy-vm-type=on"),
        ({"vcpus": 5}, "5 vCPUs instead of 4"),
        ({"boot": None}, "kernel hashes off"),
        ({"firmware": OTHER}, "other.fd"),
        ({"features": 0x20}, "debug swap"),
    ],
)
def test_mistakes_about_sev_es_are_named(fields: dict[str, Any], said: str) -> None:
    found = find_sev(replaced(ES, **fields).measure().digest)
    assert found is not None
    assert len(found.differences) == 1
    assert said in found.differences[0]


def test_sev_that_was_sev_es_is_found() -> None:
    found = find_sev(ES.measure().digest, replaced(ES, es=False))
    assert found is not None
    assert found.differences == ("SEV-ES instead of SEV",)


def test_plain_sev_does_not_count_processors() -> None:
    launch = SevLaunch(OVMF, vcpus=4)
    found = find_sev(SevLaunch(OVMF).measure().digest, launch)
    assert found is not None
    assert found.differences == ()


def test_under_an_svsm_number_and_type_of_processors_are_found() -> None:
    below = read_ovmf(image(SECTIONS[:-1], svsm=0x40), "svsm.bin", OVMF.address - 0x84000)
    launch = SvsmLaunch(OVMF, below, 2, EPYC)
    seen = replaced(launch, vcpus=7, signature=processor.parse("EPYC-Milan")).measure().digest
    found = search(seen, launch, svsm_guesses(launch), SvsmPrefixes())
    assert found is not None
    assert found.launch.vcpus == 7
    assert "EPYC-Milan" in found.differences[1]


def test_a_digest_of_something_else_is_not_found() -> None:
    assert find_snp(bytes(48), replaced(SNP, boot=None), None) is None
