"""What a verifier asks of evidence. The defaults are safe: no policy still refuses what nobody should accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Policy:
    """A verifier's policy.

    `measurements` has the acceptable values by register (``measurement``, ``mrtd``, ``rtmr0`` ...), any one of which
    will do; a register that is not in it is not asked about. `report_data` is what the evidence must carry, padded
    with zeros to the field's size. `tcb_statuses` are those of Intel's that will do, `advisories` those accepted by
    name. `minimum_tcb` has least security versions by component. `revocation` false accepts evidence
    whose revocation nobody can tell; `platforms` holds what only one platform has, by its name and the key in the
    policy's table.
    """

    debug: bool = False
    simulated: bool = False
    migration: bool = False
    revocation: bool = True
    measurements: Mapping[str, tuple[bytes, ...]] = field(default_factory=lambda: NONE)
    report_data: bytes | None = None
    tcb_statuses: tuple[str, ...] = ("UpToDate",)
    advisories: tuple[str, ...] = ()
    minimum_tcb: Mapping[str, int] = field(default_factory=lambda: NONE)
    platforms: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: NONE)

    def of(self, platform: str) -> Mapping[str, Any]:
        """Return what the policy asks of one platform alone."""
        return self.platforms.get(platform, NONE)
