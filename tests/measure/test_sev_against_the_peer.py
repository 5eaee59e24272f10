"""Our SEV, SEV-ES and SEV-SNP digests beside those of virtee's sev-snp-measure, on thousands of launches."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ovmf_images import Section, image

from sequester.measure import processor, vmsa
from sequester.measure.boot import read_boot
from sequester.measure.ovmf import FOUR_GIB, read_ovmf
from sequester.measure.sev import SevLaunch
from sequester.measure.sev_snp import SnpLaunch, image_digest
from sequester.measure.svsm import SvsmLaunch

pytest.importorskip("sevsnpmeasure", reason="sev-snp-measure, the peer, is not installed (extra `dev`)")

from sevsnpmeasure import guest as peer
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType

LAUNCHES = 3000
PEER_MONITORS = {vmsa.QEMU: VMMType.QEMU, vmsa.EC2: VMMType.ec2, vmsa.GCE: VMMType.gce}
CMDLINES = ("", " ", "console=ttyS0 loglevel=7", "root=/dev/vda1 ro quiet", "a" * 3000, "ünïcode=✓")


def sections(chance: random.Random) -> tuple[Section, ...]:
    """Metadata with a section of each needed type and any number of others, none over another."""
    kinds = [2, 3, 0x10, *(chance.choice((1, 4)) for _ in range(chance.randrange(6)))]
    chance.shuffle(kinds)
    made, base = [], 0x800000
    for kind in kinds:
        size = 0x1000 if kind in (2, 3, 0x10) else 0x1000 * chance.randrange(9)
        made.append((base, size, kind))
        base += size + 0x1000 * chance.randrange(3)
    return tuple(made)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, suffixes: tuple[Path, ...]) -> tuple[Path, ...]:
    """The third-party suffixes, and images made here of several sizes and contents."""
    folder = tmp_path_factory.mktemp("images")
    chance = random.Random(1)
    made = []
    for number in range(24):
        path = folder / f"ovmf{number}.fd"
        hashes = (0x810000 + 16 * chance.randrange(0xF0), 0x400)
        fill = chance.choice((b"", b"\0", chance.randbytes(64), chance.randbytes(5000)))
        size = 0x1000 * chance.randrange(1, 40)
        path.write_bytes(image(sections(chance), hashes, chance.randrange(1, 1 << 32), 0x1234, fill, size))
        made.append(path)
    return (*suffixes, *made)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Kernels and initrds of several sizes, one empty and one larger than what is read at once."""
    folder = tmp_path_factory.mktemp("files")
    chance = random.Random(2)
    made = []
    for number, size in enumerate((0, 1, 511, 4096, 70_000, (1 << 18) + 5)):
        path = folder / f"file{number}"
        path.write_bytes(chance.randbytes(size))
        made.append(path)
    return tuple(made)


def signature(chance: random.Random) -> int:
    if chance.random() < 0.5:
        return CPU_SIGS[chance.choice(sorted(CPU_SIGS))]
    return chance.getrandbits(32)


def test_every_processor_model_of_the_peer_has_the_same_signature_here() -> None:
    assert {name: processor.parse(name) for name in CPU_SIGS} == CPU_SIGS


def test_random_launches_of_all_three_kinds_have_the_digest_that_the_peer_gives(
    images: tuple[Path, ...], files: tuple[Path, ...]
) -> None:
    chance = random.Random(3)
    kinds = dict.fromkeys(("sev", "sev-es", "sev-snp"), 0)
    for _ in range(LAUNCHES):
        path = chance.choice(images)
        ovmf = read_ovmf(path.read_bytes(), str(path))
        vcpus, cpu = chance.choice((1, 1, 2, 3, 4, 8, 17, 64)), signature(chance)
        features = chance.choice((1, 0x21, chance.getrandbits(16), chance.getrandbits(64)))
        monitor = chance.choice(vmsa.MONITORS)
        takes_kernel = "X64_suffix" not in path.name
        kernel = str(chance.choice(files)) if takes_kernel and chance.random() < 0.6 else ""
        initrd = str(chance.choice(files)) if kernel and chance.random() < 0.7 else ""
        append = chance.choice(CMDLINES) if kernel else ""
        boot = read_boot(kernel, initrd, append)
        kind = chance.choice(sorted(kinds))
        kinds[kind] += 1
        told = (vcpus, cpu, str(path), kernel, initrd, append)
        if kind == "sev-snp":
            mine = SnpLaunch(ovmf, vcpus, cpu, features, monitor, boot).measure()
            theirs = peer.calc_launch_digest(
                SevMode.SEV_SNP, *told, features, vmm_type=PEER_MONITORS[monitor]
            )
        elif kind == "sev-es":
            mine = SevLaunch(ovmf, True, vcpus, cpu, 0, monitor, True, boot).measure()
            theirs = peer.calc_launch_digest(SevMode.SEV_ES, *told, 0, vmm_type=PEER_MONITORS[monitor])
        else:
            mine = SevLaunch(ovmf, boot=boot).measure()
            theirs = peer.calc_launch_digest(SevMode.SEV, *told, 0)
        assert mine.digest.hex() == theirs.hex(), (kind, told, monitor, hex(features))
    assert min(kinds.values()) > LAUNCHES // 5


def test_launches_under_an_svsm_have_the_digest_that_the_peer_gives(images: tuple[Path, ...]) -> None:
    chance = random.Random(4)
    made = [path for path in images if path.parent != images[0].parent]
    for _ in range(300):
        firmware, svsm = chance.choice(images), chance.choice(made)
        vcpus, cpu, variables = chance.randrange(1, 9), signature(chance), 0x1000 * chance.randrange(200)
        ovmf = read_ovmf(firmware.read_bytes())
        below = read_ovmf(svsm.read_bytes(), end=ovmf.address - variables)
        theirs = peer.calc_launch_digest(
            SevMode.SEV_SNP_SVSM,
            *(vcpus, cpu, str(firmware), "", "", "", 1),
            svsm_file=str(svsm),
            ovmf_vars_size=variables,
        )
        assert SvsmLaunch(ovmf, below, vcpus, cpu).measure().digest.hex() == theirs.hex()


def test_a_firmware_digest_stands_in_for_the_image_as_it_does_for_the_peer(
    suffixes: tuple[Path, ...],
) -> None:
    for path in suffixes:
        ovmf = read_ovmf(path.read_bytes())
        assert image_digest(ovmf).hex() == peer.calc_snp_ovmf_hash(str(path)).hex()
        seed = bytes(range(48))
        theirs = peer.calc_launch_digest(
            SevMode.SEV_SNP, 3, 0x800F12, str(path), "", "", "", 1, snp_ovmf_hash_str=seed.hex()
        )
        assert SnpLaunch(ovmf, 3, 0x800F12, seed=seed).measure().digest.hex() == theirs.hex()


def test_real_firmware_has_the_digests_that_the_peer_gives(
    ovmfs: tuple[Path, ...], files: tuple[Path, ...]
) -> None:
    chance = random.Random(5)
    measured = 0
    for path in ovmfs:
        ovmf = read_ovmf(path.read_bytes(), str(path))
        if ovmf.table is None or ovmf.table.sev_metadata is None:
            continue
        assert ovmf.end == FOUR_GIB
        hashes = ovmf.table.hashes
        kernel = str(files[3]) if hashes is not None and hashes.base else ""
        boot = read_boot(kernel, "", "quiet" if kernel else "")
        for monitor, theirs_is in PEER_MONITORS.items():
            told = (chance.randrange(1, 65), signature(chance), str(path), kernel, "", "quiet")
            mine = SnpLaunch(ovmf, told[0], told[1], 1, monitor, boot).measure()
            theirs = peer.calc_launch_digest(SevMode.SEV_SNP, *told, 1, vmm_type=theirs_is)
            assert mine.digest.hex() == theirs.hex(), path
            mine = SevLaunch(ovmf, True, told[0], told[1], 0, monitor, True, boot).measure()
            theirs = peer.calc_launch_digest(SevMode.SEV_ES, *told, 0, vmm_type=theirs_is)
            assert mine.digest.hex() == theirs.hex(), path
            measured += 1
    assert measured, "none of the real images has SEV metadata"
