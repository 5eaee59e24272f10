"""Realms: RIM beside a second reading of the specification, and what is said where it cannot be known."""

from __future__ import annotations

import hashlib
import random
import struct
from itertools import pairwise
from pathlib import Path

import pytest

from sequester.errors import InputError
from sequester.formats.sources import from_argv
from sequester.measure.methods import cca
from sequester.measure.pieces import Pieces
from sequester.measure.realm import RealmParameters, Rim, blocks
from sequester.measure.tables import Matrix
from sequester.measuring import contributions, measure, pieces_of_guest
from sequester.platforms.registry import named
from sequester.record import replaced

RAM = 0x40000000
MIB = 1 << 20
REALM = "breakpoints=6,watchpoints=4,pmu=on,pmu-counters=5,sve=512"


class Monitor:
    """The specification's own steps (DEN0137 1.0, B4.3), each structure laid out field by field at its offset."""

    def __init__(self, algorithm: str, ipa_bits: int, fields: dict[int, int]) -> None:
        self.algorithm, self.ipa_bits = algorithm, ipa_bits
        page = bytearray(4096)
        for offset, value in fields.items():
            page[offset : offset + 8] = value.to_bytes(8, "little")
        self.rim = self.hash(page)

    def hash(self, data: bytes) -> bytes:
        return hashlib.new(self.algorithm, data).digest()

    def extend(self, kind: int, *fields: bytes) -> None:
        descriptor = bytearray(256)
        descriptor[0] = kind
        descriptor[8:10] = (256).to_bytes(2, "little")
        descriptor[16 : 16 + len(self.rim)] = self.rim
        rest = b"".join(fields)
        descriptor[80 : 80 + len(rest)] = rest
        self.rim = self.hash(descriptor)

    def memory(self, base: int, size: int) -> None:
        """Go through the tables from the top: an entry that is wholly inside is one, others are gone down into."""
        top_level = {41: 1, 48: 0}[self.ipa_bits]

        def walk(level: int, start: int, count: int) -> None:
            span = 4096 << 9 * (3 - level)
            for entry in range(start, start + span * count, span):
                if entry >= base + size or entry + span <= base:
                    continue
                if base <= entry and entry + span <= base + size:
                    self.extend(2, entry.to_bytes(8, "little"), (entry + span).to_bytes(8, "little"))
                else:
                    walk(level + 1, entry, 512)

        walk(top_level, 0, 1 << self.ipa_bits - 12 - 9 * (3 - top_level))

    def load(self, address: int, data: bytes) -> None:
        for offset in range(0, len(data), 4096):
            page = data[offset : offset + 4096].ljust(4096, b"\0")
            self.extend(0, struct.pack("<QQ", address + offset, 1), self.hash(page))

    def processor(self, pc: int, x0: int) -> None:
        page = bytearray(4096)
        page[0] = 1
        page[0x200:0x208] = pc.to_bytes(8, "little")
        page[0x300:0x308] = x0.to_bytes(8, "little")
        self.extend(1, self.hash(page))


def monitor(algorithm: str = "sha512") -> Monitor:
    return Monitor(
        algorithm, 41, {0: 2 | 4, 8: 41, 0x10: 3, 0x18: 5, 0x20: 3, 0x28: 5, 0x30: algorithm == "sha512"}
    )


def image(size: int, span: int = 0, offset: int = 0) -> bytes:
    head = b"\0" * 8 + struct.pack("<QQ", offset, span) + bytes(32) + b"ARM\x64" + bytes(4)
    return head + random.Random(size).randbytes(size - len(head))


def tree(size: int = 9000) -> bytes:
    return b"\xd0\x0d\xfe\xed" + size.to_bytes(4, "big") + random.Random(2).randbytes(size - 8)


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    for name, data in (
        ("Image", image(70_000, span=90_000)),
        ("initrd", b"i" * 5000),
        ("tree", tree()),
        ("firmware", b"f" * 10_000),
    ):
        (tmp_path / name).write_bytes(data)
    return Pieces(
        "cca",
        kernel=str(tmp_path / "Image"),
        initrd=str(tmp_path / "initrd"),
        memory=(1 << 30) + 2 * MIB + 4096,
        realm=REALM,
        device_tree=str(tmp_path / "tree"),
    )


def rim(of: Pieces) -> bytes | None:
    return measure(of).registers[0].value


@pytest.mark.parametrize(
    ("algorithm", "known"),
    [
        ("sha256", "6739dfb22b75ee1268d08dfa8369f501bc0b066243553f069f560d1fa1172973"),
        (
            "sha512",
            "799e434048fb57eb9d4f0e2a2b98158720377252deab2bdfcd69b5a8f82237f4"
            "34bd6bb1c75bf160a2d49382f733b3439a3ff769e4ea5dd9a6f72239d44bbbab",
        ),
    ],
)
def test_a_realm_begins_as_veraisons_tool_has_it(algorithm: str, known: str) -> None:
    """Its own test vector: cca-realm-measurements, src/realm_config.rs, test_rim."""
    assert Rim(RealmParameters(48, 2, 2, algorithm=algorithm)).value.hex() == known


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_kernel_is_measured_as_the_specification_says(pieces: Pieces, algorithm: str) -> None:
    by_hand = monitor(algorithm)
    assert pieces.memory is not None
    by_hand.memory(RAM, pieces.memory)
    by_hand.load(RAM, image(70_000, span=90_000))
    by_hand.load(RAM + 128 * MIB, b"i" * 5000)
    by_hand.load(RAM + 130 * MIB, tree())
    by_hand.processor(RAM, RAM + 130 * MIB)
    assert rim(replaced(pieces, properties={"measurement-algorithm": algorithm})) == by_hand.rim


def test_firmware_is_at_zero_and_the_kernel_is_its_own_matter(pieces: Pieces, tmp_path: Path) -> None:
    by_hand = monitor()
    assert pieces.memory is not None
    by_hand.memory(RAM, pieces.memory)
    by_hand.load(0, b"f" * 10_000)
    by_hand.load(RAM, tree())
    by_hand.processor(0, 0)
    with_firmware = replaced(pieces, firmware=str(tmp_path / "firmware"))
    assert rim(with_firmware) == rim(replaced(with_firmware, kernel="", initrd="")) == by_hand.rim


def test_an_initrd_follows_a_large_kernel_in_little_memory(pieces: Pieces, tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(image(4096, span=40 * MIB + 1))
    steps = {
        step.what.split()[0]: step.address
        for step in contributions(replaced(pieces, memory=64 * MIB))
        if step.kind == "data"
    }
    assert steps == {"kernel": RAM, "initrd": RAM + 40 * MIB + 4096, "device": RAM + 42 * MIB}


def test_the_last_step_has_the_measurement(pieces: Pieces) -> None:
    steps = list(contributions(pieces))
    assert steps[-1].running == rim(pieces)
    assert [step.kind for step in steps] == ["parameters", *["ripas"] * 3, *["data"] * 3, "rec"]


def test_every_part_changes_the_measurement(pieces: Pieces, tmp_path: Path) -> None:
    seen = {rim(pieces)}
    for name in ("Image", "initrd", "tree"):
        path = tmp_path / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        seen.add(rim(pieces))
        path.write_bytes(good)
    for realm in ("breakpoints=7,", "watchpoints=7,", "pmu=off,", "pmu-counters=1,", "sve=128,", "lpa2=on,"):
        seen.add(rim(replaced(pieces, realm=f"{REALM},{realm}")))
    seen.add(rim(replaced(pieces, memory=1 << 30)))
    assert len(seen) == 11
    assert None not in seen


@pytest.mark.parametrize("bits", [41, 48])
def test_memory_is_covered_once_and_in_order(bits: int) -> None:
    chance = random.Random(bits)
    for _ in range(100):
        base, size = (chance.randrange(1, 1 << 20) * 4096 for _ in range(2))
        by_hand = Monitor("sha256", bits, {})
        grown = Rim(RealmParameters(bits, 2, 2, algorithm="sha256"))
        by_hand.rim = grown.value
        by_hand.memory(base, size)
        grown.init_ripas(base, base + size)
        assert grown.value == by_hand.rim
        ranges = list(blocks(base, base + size, bits))
        assert ranges[0][0] == base
        assert ranges[-1][1] == base + size
        assert all(one[1] == other[0] for one, other in pairwise(ranges))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"realm": ""}, "what the host gives its realms"),
        ({"realm": "breakpoints=6"}, "what the host gives its realms"),
        ({"memory": None}, "memory is not known"),
        ({"memory": 256 << 30}, "up to 255 GiB"),
        ({"device_tree": ""}, "device tree"),
        ({"properties": {"measurement-log": True}}, "measurement log"),
    ],
)
def test_what_cannot_be_known_is_said_and_not_guessed(
    pieces: Pieces, changes: dict[str, object], said: str
) -> None:
    changed = replaced(pieces, **changes)
    register = measure(changed).registers[0]
    assert register.value is None
    assert said in register.unknown
    assert not list(contributions(changed))
    with pytest.raises(InputError, match="not known"):
        cca.find(bytes(64), changed, ())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kernel": "", "initrd": ""}, "neither firmware nor a kernel"),
        ({"memory": 64 * MIB, "device_tree": "large"}, "do not fit"),
        ({"device_tree": "initrd"}, "no flattened device tree"),
        ({"kernel": "initrd"}, "no arm64 kernel"),
        ({"kernel": "odd"}, "would be loaded"),
        ({"initrd": "absent"}, "cannot be read"),
        ({"realm": "breakpoints=1,watchpoints=4"}, "cannot have 1 breakpoints"),
        ({"realm": "breakpoints=6,watchpoints=4,sve=100"}, "no multiple of 128"),
        ({"realm": "breakpoints=six"}, "says nothing of a realm"),
        ({"properties": {"measurement-algorithm": "md5"}}, "sha256 or sha512"),
    ],
)
def test_pieces_that_are_wrong_are_refused_by_name(
    pieces: Pieces, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    (tmp_path / "odd").write_bytes(image(4096, offset=5))
    (tmp_path / "large").write_bytes(tree()[:8] + bytes(40 * MIB))
    files = ("kernel", "initrd", "device_tree")
    placed = {
        name: str(tmp_path / str(value)) if name in files and value else value
        for name, value in changes.items()
    }
    with pytest.raises(InputError, match=said):
        measure(replaced(pieces, **placed))


def test_a_seen_value_is_explained(pieces: Pieces, tmp_path: Path) -> None:
    def differences(of: Pieces, *others: str) -> tuple[str, ...] | None:
        digest = rim(of)
        assert digest is not None
        given = replaced(of, firmware=pieces.firmware, initrd=pieces.initrd, properties={})
        found = cca.find(digest, given, others)
        return found.differences if found else None

    short = {"measurement-algorithm": "sha256"}
    assert differences(pieces) == ()
    assert differences(replaced(pieces, initrd="")) == ("no initrd",)
    assert differences(replaced(pieces, properties=short)) == ("measurement-algorithm=sha256",)
    assert differences(replaced(pieces, memory=1 << 30)) == ()
    assert cca.find(bytes(32), pieces, ()) is None
    other, own = tmp_path / "other", tmp_path / "firmware"
    other.write_bytes(b"g")
    with_other = rim(replaced(pieces, firmware=str(other)))
    assert with_other is not None
    found = cca.find(with_other, replaced(pieces, firmware=str(own)), (str(other),))
    assert found is not None
    assert found.differences == (f"firmware {other}",)


def test_a_guest_brings_its_memory_its_files_and_its_personalization() -> None:
    value = "QUJD" * 21 + "QQ=="
    argv = (
        "qemu-system-aarch64 -M virt,confidential-guest-support=r0 -m 2G -cpu host -kernel Image -initrd i.img"
        f" -object rme-guest,id=r0,measurement-algorithm=sha256,personalization-value={value}"
    )
    made = pieces_of_guest(from_argv(argv.split()))
    assert (made.platform, made.memory, made.kernel) == ("cca", 2 << 30, "Image")
    registers = measure(made).registers
    assert registers[0].value is None
    assert registers[1].value == b"ABC" * 21 + b"A"


def test_references_are_what_is_known(pieces: Pieces) -> None:
    assert [each.value for each in cca.references(Matrix(pieces))] == [rim(pieces)]
    assert not list(cca.references(Matrix(replaced(pieces, realm=""))))
    assert named("cca").measurement == cca.__name__
