"""One guest on many hosts: its measurement for every firmware, processor model and number of vCPUs, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sequester.measure.pieces import Pieces
from sequester.measure.prefixes import Prefixes
from sequester.record import record, replaced


@record
class Processor:
    """A processor model: what it is called, and CPUID 1 EAX."""

    name: str
    signature: int


@record
class Matrix:
    """The launches that are acceptable: `pieces` with each of these firmware images, processors and numbers of vCPUs.

    An empty sequence leaves what `pieces` says.
    """

    pieces: Pieces
    firmwares: Sequence[str] = ()
    processors: Sequence[Processor] = ()
    vcpus: Sequence[int] = ()

    @property
    def size(self) -> int:
        """How many launches these are at most."""
        return max(len(self.firmwares), 1) * max(len(self.processors), 1) * max(len(self.vcpus), 1)

    def by_firmware(self) -> Iterator[Pieces]:
        """Yield the pieces with each firmware image."""
        for firmware in self.firmwares or (self.pieces.firmware,):
            yield replaced(self.pieces, firmware=firmware)


@record
class Reference:
    """A measurement that is acceptable, and the launch that has it.

    `processor` is '' and `vcpus` None where the measurement does not depend on them.
    """

    register: str
    value: bytes
    firmware: str
    processor: str = ""
    vcpus: int | None = None


def filled(pieces: Pieces, matrix: Matrix) -> Pieces:
    """Return pieces with a number of vCPUs and a signature, which a matrix gives where they do not."""
    vcpus = matrix.vcpus[0] if matrix.vcpus else pieces.vcpus
    signature = matrix.processors[0].signature if matrix.processors else pieces.signature
    return replaced(pieces, vcpus=vcpus, signature=signature)


def with_processors(
    matrix: Matrix, launch: Any, prefixes: Prefixes[Any], register: str
) -> Iterator[Reference]:
    """Yield a launch's references for each processor and number of vCPUs of a matrix, in that order.

    `launch` has the firmware that is meant; what its launches begin with alike is hashed once.
    """
    counts = sorted(set(matrix.vcpus)) or [launch.vcpus]
    wanted = frozenset(counts)
    for processor in matrix.processors or (Processor("", launch.signature),):
        changed = replaced(launch, signature=processor.signature, vcpus=counts[-1])
        for number, digest in prefixes.digests(changed, counts[-1]):
            if number in wanted:
                yield Reference(register, digest, launch.firmware.name, processor.name, number)
