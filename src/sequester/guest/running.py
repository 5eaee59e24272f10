"""What only a running guest tells: what its drivers negotiated, what its QEMU has open, what the kernel does to it.

`sequester.audit` gathers it, the rules SQ95x judge it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sequester.guest.part import Part


@dataclass(frozen=True, slots=True)
class Negotiation:
    """One virtio device: the key of its part, and whether the guest's driver took access-platform.

    `accepted` is None where this QEMU cannot be asked. `driven` is true once a driver is known to have set the device
    up (DRIVER_OK).
    """

    key: int
    accepted: bool | None
    driven: bool


@dataclass(frozen=True, slots=True)
class Merging:
    """What the host's kernel says of KSM in the QEMU process: whether it may merge its memory, and pages merged now.

    `mergeable` is None where the kernel does not tell.
    """

    mergeable: bool | None
    pages: int


@dataclass(frozen=True, slots=True)
class SevState:
    """`query-sev`: whether QEMU runs the guest with SEV, the launch's state, and the policy (of SEV, not of SNP)."""

    enabled: bool
    state: str
    policy: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A guest that runs.

    `status` is QEMU's run state. `wanted` names the platform that was asked for, '' where nobody asked for one.
    `blockers` are the reasons why QEMU would not migrate the guest, None where it does not tell; `migration` is the
    state of the last migration, '' where there was none, and `capabilities` those switched on. `merging` and
    `listening` (addresses of TCP sockets that are no monitor, console or display) come from the host's kernel and are
    None and empty where it was not asked. `plugged` are keys of devices that came after the start. With a plan at
    hand (`planned`), `strangers` are keys of devices that it does not have, and `missing` the parts of it that are not
    there.
    """

    status: str
    wanted: str = ""
    negotiations: tuple[Negotiation, ...] = ()
    blockers: tuple[str, ...] | None = None
    migration: str = ""
    capabilities: frozenset[str] = frozenset()
    says_mergeable: bool = False
    """Whether QEMU's own answers (`query-memdev`, the machine's mem-merge) have KSM on."""
    merging: Merging | None = None
    sev: SevState | None = None
    gdb: str = ""
    """Where the gdb stub can be reached, '' where there is none."""
    listening: tuple[str, ...] = ()
    plugged: frozenset[int] = frozenset()
    planned: bool = False
    strangers: frozenset[int] = frozenset()
    missing: tuple[Part, ...] = ()

    @property
    def started(self) -> bool:
        """Tell whether the guest's first instruction has run, as far as the state tells."""
        return self.status not in ("prelaunch", "preconfig", "inmigrate")
