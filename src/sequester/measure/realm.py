"""The initial measurement of an Arm CCA realm (RIM), as the realm management monitor works it out.

The specification (DEN0137 1.0: RMI_REALM_CREATE, RMI_RTT_INIT_RIPAS, RMI_DATA_CREATE and RMI_REC_CREATE, each under
"initialization" or "extension of RIM") hashes whole structures, little-endian, of which what is not named is zero::

    realm parameters, 4096 bytes       REC parameters, 4096 bytes         measurement descriptor, 256 bytes
    0x00 flags: LPA2, SVE, PMU         0x000 flags: 1, runnable           0x00 type: 0 data, 1 REC, 2 RIPAS
    0x08 bits of addresses             0x200 pc                           0x08 its size
    0x10 SVE vector length             0x300 x0 to x7                     0x10 RIM before, padded to 64 bytes
    0x18 breakpoints - 1               64 bits each                       0x50 data: address, flags (1: measured), then
    0x20 watchpoints - 1                                                       digest of its 4096 bytes, of 64 bytes;
    0x28 PMU counters                                                          REC: digest of its parameters;
    0x30 hash: 0 SHA-256, 1 SHA-512                                            RIPAS: base and top
"""

from __future__ import annotations

import hashlib
import struct

from sequester.errors import InputError
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GRANULE = 4096
ALGORITHMS = ("sha256", "sha512")
"""In the order of their numbers."""

_PARAMETERS = struct.Struct("<QB7xB7xB7xB7xB7xB")
_REC = struct.Struct("<Q504xQ248x8Q")
_DESCRIPTOR = struct.Struct("<B7xQ64s")
_DESCRIPTOR_SIZE = 0x100
_DATA, _RECORD, _RIPAS = range(3)
_LPA2, _SVE, _PMU = 1, 2, 4
_RUNNABLE = 1
_BITS_PER_LEVEL = 9
_CONCATENATED = 4
"""Bits of an address that up to 16 tables side by side at the first level resolve."""


@record
class RealmParameters:
    """What a realm is made with: bits of its addresses, half of which are shared, and what its processors have.

    `sve` is the longest vector in bits, 0 for none.
    """

    ipa_bits: int
    breakpoints: int
    watchpoints: int
    pmu_counters: int = 0
    pmu: bool = False
    sve: int = 0
    lpa2: bool = False
    algorithm: str = "sha512"

    def __post_init__(self) -> None:
        ranges = (
            ("bits of addresses", self.ipa_bits, 32, 52),
            ("breakpoints", self.breakpoints, 2, 64),
            ("watchpoints", self.watchpoints, 2, 64),
            ("PMU counters", self.pmu_counters, 0, 31),
            ("bits of a vector", self.sve, 0, 2048),
        )
        for what, value, least, most in ranges:
            if not least <= value <= most:
                raise InputError(
                    f"a realm cannot have {value} {what}",
                    code="measure.realm",
                    remedy=f"{least} to {most}",
                )
        if self.sve % 128:
            raise InputError(
                f"a vector of {self.sve} bits is no multiple of 128", code="measure.realm", remedy="sve=256"
            )
        if self.algorithm not in ALGORITHMS:
            raise InputError(
                f"a realm is measured with {' or '.join(ALGORITHMS)}, not '{self.algorithm[:40]}'",
                code="measure.realm",
            )

    def pack(self) -> bytes:
        """Return the parameters as they are hashed."""
        flags = (_LPA2 if self.lpa2 else 0) | (_SVE if self.sve else 0) | (_PMU if self.pmu else 0)
        packed = _PARAMETERS.pack(
            flags,
            self.ipa_bits,
            max(self.sve // 128 - 1, 0),
            self.breakpoints - 1,
            self.watchpoints - 1,
            self.pmu_counters,
            ALGORITHMS.index(self.algorithm),
        )
        return packed.ljust(GRANULE, b"\0")


class Rim:
    """A realm's initial measurement while it grows: `value` is what it is now."""

    def __init__(self, parameters: RealmParameters) -> None:
        self._new = getattr(hashlib, parameters.algorithm)
        self._ipa_bits = parameters.ipa_bits
        self.value: bytes = self._new(parameters.pack()).digest()

    def init_ripas(self, base: int, top: int) -> None:
        """Extend it with memory that the realm has from `base` to `top`, both multiples of 4096 bytes."""
        for start, end in blocks(base, top, self._ipa_bits):
            self._extend(_RIPAS, struct.pack("<QQ", start, end))

    def create_data(self, address: int, granule: bytes, measured: bool = True) -> None:
        """Extend it with a granule of at most 4096 bytes, zeros after it, at an address."""
        digest = self._new(granule.ljust(GRANULE, b"\0")).digest() if measured else b""
        self._extend(_DATA, struct.pack("<QQ64s", address, measured, digest))

    def create_rec(self, pc: int, registers: tuple[int, ...] = (), runnable: bool = True) -> None:
        """Extend it with a processor that starts at `pc` with these values in x0 and on."""
        gprs = (*registers, *(0,) * (8 - len(registers)))
        packed = _REC.pack(_RUNNABLE if runnable else 0, pc, *gprs).ljust(GRANULE, b"\0")
        self._extend(_RECORD, struct.pack("<64s", self._new(packed).digest()))

    def _extend(self, kind: int, rest: bytes) -> None:
        descriptor = _DESCRIPTOR.pack(kind, _DESCRIPTOR_SIZE, self.value) + rest
        self.value = self._new(descriptor.ljust(_DESCRIPTOR_SIZE, b"\0")).digest()


def blocks(base: int, top: int, ipa_bits: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges, each one entry of the realm's translation tables, in which memory is initialized.

    The monitor measures entry by entry, so the host's tables matter: they are taken to be as large as they can be,
    and the first level to be of up to 16 tables side by side, as KVM's are.
    """
    table_bits = ipa_bits - 12
    levels = -(-table_bits // _BITS_PER_LEVEL)
    if table_bits - _BITS_PER_LEVEL * (levels - 1) <= _CONCATENATED:
        levels -= 1
    sizes = [GRANULE << _BITS_PER_LEVEL * level for level in reversed(range(levels))]
    while base < top:
        size = next(size for size in sizes if base % size == 0 and base + size <= top)
        yield base, base + size
        base += size
