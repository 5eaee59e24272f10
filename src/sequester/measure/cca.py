"""What an Arm CCA realm will be measured as: RIM, from QEMU's memory map and what its loader puts there.

No released QEMU starts realms. Order and places are those of the proposed patches ("arm: Run Arm CCA VMs with KVM",
RFC v3) as Veraison's cca-realm-measurements describes them (docs/realm-vm.md, "QEMU virt v9.1"): all memory from
0x40000000 on, then what is loaded in order of address, then the first processor, the only one that can run. Firmware
is at 0 and the device tree at 0x40000000; without firmware the kernel begins at 0x40000000, the initrd follows at 128
MiB or half of the memory, the device tree at the next 2 MiB.

What does not follow from a guest, and has to be told: how many breakpoints and such its host gives realms, and the
device tree, which QEMU makes for the guest and its host.
"""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.files import LARGEST_IMAGE, in_parts, read_image
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.realm import GRANULE, RealmParameters, Rim, blocks
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RIM, RPV = "RIM", "RPV"
RAM = 0x40000000
LARGEST_MEMORY = 255 << 30
"""Above it QEMU moves its upper PCI windows, and the realm's addresses have more bits."""
IPA_BITS = 41
"""40 bits for QEMU's memory map, and one for what is shared."""
_INITRD_AT = 128 << 20
_TREE_ALIGNMENT = 2 << 20
_FDT_MAGIC = b"\xd0\x0d\xfe\xed"
_IMAGE_MAGIC = b"ARM\x64"

_PLATFORM = (
    "the platform token and the host's monitor (RMM) are the host's: check them against their makers' values"
)
_RUNTIME = "REM0 to REM3 are zero at the start, and the guest's own after it"
_PROPOSED = "no released QEMU starts realms: this is the order of the proposed patches (RFC v3)"


@record
class Loaded:
    """What the loader puts into a realm's memory: a name for people, its address, and its file or bytes."""

    what: str
    address: int
    path: str = ""
    data: bytes = b""

    def granules(self) -> Iterator[bytes]:
        """Yield it 4096 bytes at a time, the last may be shorter; its address is a multiple of that."""
        if self.path:
            yield from in_parts(self.path, GRANULE)
            return
        for offset in range(0, len(self.data), GRANULE):
            yield self.data[offset : offset + GRANULE]


@record
class CcaLaunch:
    """A realm: its parameters, memory in bytes, what is loaded, and where its first processor starts with what in x0.

    `unknown` says why the measurement cannot be known, '' where it can.
    """

    parameters: RealmParameters | None
    memory: int
    loaded: tuple[Loaded, ...]
    entry: int = 0
    argument: int = 0
    personalization: bytes = bytes(64)
    unknown: str = ""
    notes: tuple[str, ...] = ()

    def measure(self) -> Measurement:
        """Return RIM, or why it cannot be known, and the personalization value."""
        value = None
        if not self.unknown:
            *_, last = self.contributions()
            value = last.running
        notes = (*self.notes, _PROPOSED, _PLATFORM, _RUNTIME)
        registers = (Register(RIM, value, self.unknown), Register(RPV, self.personalization))
        return Measurement("cca", registers, notes)

    def contributions(self) -> Iterator[Contribution]:
        """Yield the realm's parameters, its memory, what is loaded, and its processor; nothing where unknown."""
        if self.unknown or self.parameters is None:
            return
        rim = Rim(self.parameters)
        yield Contribution("realm parameters", "parameters", rim.value, register=RIM)
        for base, top in blocks(RAM, RAM + self.memory, self.parameters.ipa_bits):
            rim.init_ripas(base, top)
            yield Contribution("memory", "ripas", rim.value, b"", base, top - base, RIM)
        for each in sorted(self.loaded, key=lambda loaded: loaded.address):
            address = each.address
            for granule in each.granules():
                rim.create_data(address, granule)
                address += GRANULE
            yield Contribution(each.what, "data", rim.value, b"", each.address, address - each.address, RIM)
        rim.create_rec(self.entry, (self.argument,))
        yield Contribution("processor 0", "rec", rim.value, register=RIM)


@record
class Places:
    """What is loaded without firmware, and where: kernel, initrd if any, and where the device tree goes."""

    loaded: tuple[Loaded, ...]
    entry: int
    tree: int


def place(kernel: str, initrd: str, initrd_size: int, memory: int) -> Places:
    """Return where QEMU puts a kernel and an initrd. Raises InputError for what is no arm64 Image."""
    offset, size, length = _image(kernel)
    entry = RAM + offset
    loaded = [Loaded(f"kernel {kernel}", entry, kernel)]
    start = max(RAM + min(memory // 2, _INITRD_AT), entry + max(size, length))
    start = _up(start, GRANULE)
    if initrd:
        loaded.append(Loaded(f"initrd {initrd}", start, initrd))
    return Places(tuple(loaded), entry, _up(start + initrd_size, _TREE_ALIGNMENT))


def read_tree(path: str) -> bytes:
    """Read a flattened device tree. Raises InputError for a file that is none."""
    data = read_image(path, LARGEST_IMAGE)
    if not data.startswith(_FDT_MAGIC) or not 40 <= int.from_bytes(data[4:8], "big") <= len(data):
        raise InputError("this is no flattened device tree", code="measure.device-tree", where=path)
    return data


def _image(path: str) -> tuple[int, int, int]:
    """Return an Image's text offset, size in memory and length (Linux Documentation/arch/arm64/booting.rst)."""
    length, head = 0, b""
    for part in in_parts(path, 1 << 18):
        head = head or part[:64]
        length += len(part)
    if len(head) < 64 or head[56:60] != _IMAGE_MAGIC:
        raise InputError(
            "this is no arm64 kernel Image as it is run",
            code="measure.kernel",
            where=path,
            remedy="unpack it: a compressed one, or an EFI one with the kernel in it, is loaded unpacked",
        )
    offset, size = int.from_bytes(head[8:16], "little"), int.from_bytes(head[16:24], "little")
    if offset % GRANULE or offset > _TREE_ALIGNMENT or size > LARGEST_MEMORY:
        raise InputError(
            f"this Image would be loaded {offset:#x} into a range of {size:#x} bytes",
            code="measure.kernel",
            where=path,
        )
    return offset, size, length


def _up(value: int, to: int) -> int:
    return -(-value // to) * to
