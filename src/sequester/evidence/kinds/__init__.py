"""The kinds of evidence: one module each, found by looking into this folder.

A module tells whether bytes are of its kind, reads them strictly, shows every field, and answers the criteria.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sequester.evidence.appraisal import Check
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key

if TYPE_CHECKING:
    from sequester.platforms.limitation import HostTrustLimitation


class Field(Protocol):
    """One field as `show` prints it; `offset` in bytes, `raw` bytes, `value` fit for JSON, `meaning` in words."""

    name: str
    offset: int
    raw: bytes
    value: Any
    meaning: str


class Kind(Protocol):
    """A module of this package. `NAME` as in ``snp-report``, `PLATFORM` our name of the platform.

    `REGISTERS` are those that `Policy.measurements` may name, with the name that `measuring.measure` has for each, ''
    where it does not know it. `TCB_COMPONENTS` are those that `Policy.minimum_tcb` may name, `POLICY_KEYS` the keys
    of the platform's own table in a policy.
    """

    NAME: str
    PLATFORM: str
    TITLE: str
    REGISTERS: Mapping[str, str]
    TCB_COMPONENTS: tuple[str, ...]
    POLICY_KEYS: Mapping[str, Key]

    def recognises(self, data: bytes) -> bool:
        """Tell cheaply whether bytes are of this kind; never raises."""

    def parse(self, data: bytes, where: str) -> Any:
        """Read evidence strictly and totally. Raises InputError (``evidence.*``) naming the field and offset."""

    def claims(self, evidence: Any) -> Mapping[str, Any]:
        """Return what the evidence says, fit for JSON."""

    def fields(self, evidence: Any) -> Iterator[Field]:
        """Yield every field, without loss, in order."""

    def appraise(
        self, evidence: Any, collateral: Collateral, policy: Policy, now: datetime
    ) -> Iterator[Check]:
        """Answer every criterion that this kind can be asked; never raises for what the evidence holds."""

    def demands(self, limitation: HostTrustLimitation) -> Mapping[str, Any]:
        """Return what a plan's limitation asks of evidence, as values of `POLICY_KEYS`."""


def is_of(kind: Kind, platform: str) -> bool:
    """Tell whether a kind is evidence of a platform, or of a variant that it names in ``VARIANTS``."""
    return platform == kind.PLATFORM or platform in getattr(kind, "VARIANTS", ())
