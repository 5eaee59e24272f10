"""The kinds of evidence: one module each, found by looking into this folder.

A module tells whether bytes are of its kind, reads them strictly, shows every field, and answers the criteria.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from sequester.evidence.appraisal import Check
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy


class Field(Protocol):
    """One field as `show` prints it; `offset` in bytes, `raw` bytes, `value` fit for JSON, `meaning` in words."""

    name: str
    offset: int
    raw: bytes
    value: Any
    meaning: str


class Kind(Protocol):
    """A module of this package. `NAME` as in ``snp-report``, `PLATFORM` our name of the platform."""

    NAME: str
    PLATFORM: str
    TITLE: str

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
