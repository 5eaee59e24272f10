"""The case before the rules: a guest, its limitation, and what is known of its QEMU and host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sequester.guest.guest import Guest

if TYPE_CHECKING:
    from sequester.guest.running import Running
    from sequester.host.facts import HostFacts, QemuFacts
    from sequester.platforms.limitation import HostTrustLimitation

Version = tuple[int, ...]

ASSUMED_QEMU: Version = (7, 2)
"""What is assumed of a QEMU that nobody named: no older release is still maintained by a distribution."""


@dataclass(frozen=True, slots=True, eq=False)
class Firmware:
    """What a firmware image says of itself.

    `path` is the file; `size` in bytes. `features` are what its own metadata bears out: ``sev-secret``,
    ``sev-hashes`` (kernel hash table), ``sev-es`` (reset block), ``sev-snp`` (SEV metadata), ``tdx`` (TDX
    metadata). `error` says why it could not be read.
    """

    path: str
    size: int = 0
    features: frozenset[str] = frozenset()
    error: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """What a rule may look at.

    `limitation` is the platform's object for this guest, None where the guest has no limitation or names one
    that is not known (rules on that look at `guest.limitation`). `qemu` is the binary that will run it, when
    known; `host` the host's facts; `firmware` the firmware images that could be read, by path; `absent` the
    files that were looked for on the machine that will run the guest and are not there. `engaged` is false
    when the machine property itself will not be given (a simulation): QEMU then supplies no defaults. `running` is
    what a running guest told beside its configuration, None for one that is only planned.
    """

    guest: Guest
    limitation: HostTrustLimitation | None = None
    qemu: QemuFacts | None = None
    host: HostFacts | None = None
    firmware: Mapping[str, Firmware] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    engaged: bool = True
    running: Running | None = None

    @property
    def qemu_version(self) -> Version:
        """The QEMU release: as probed, else that of a versioned machine type, at least `ASSUMED_QEMU`."""
        if self.qemu is not None and self.qemu.version:
            return self.qemu.version
        return max(machine_version(self.guest.machine.type), ASSUMED_QEMU)

    @property
    def qemu_known(self) -> bool:
        """Tell whether the QEMU release was read from a binary rather than inferred."""
        return self.qemu is not None and bool(self.qemu.version)


def dotted(version: Version) -> str:
    """Return a release as people write it: major and minor."""
    return ".".join(str(number) for number in version[:2])


def machine_version(machine: str) -> Version:
    """Return the release in a versioned machine type (``pc-q35-8.2`` → (8, 2)), or ()."""
    tail = machine.split("+")[0].rpartition("-")[2]
    numbers = tail.split(".")
    if len(numbers) >= 2 and all(number.isdigit() and len(number) < 4 for number in numbers):
        return tuple(int(number) for number in numbers)
    return ()
