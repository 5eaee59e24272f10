"""What evidence is wrapped in when people pass it around: one module each, found by looking into this folder.

A module of this package has `NAME` (``configfs-tsm`` ...), `recognises(data) -> bool`, cheap and never raising, and
`unwrap(data, where) -> Wrapped`, strict, raising InputError (``evidence.*``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sequester.evidence.appraisal import Check


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What was in a wrapping: the bytes of the evidence, or of the next wrapping, and what came with them.

    `checks` are those that the wrapping itself can make, of what ties its other parts to the evidence. `nonce` is the
    verifier's where it is not in the evidence, but in what a key signed that the evidence binds (Azure's vTPM).
    """

    data: bytes
    documents: tuple[bytes, ...] = ()
    event_logs: tuple[bytes, ...] = ()
    checks: tuple[Check, ...] = ()
    nonce: bytes | None = None


class Wrapping(Protocol):
    """A module of this package."""

    NAME: str

    def recognises(self, data: bytes) -> bool:
        """Tell cheaply whether bytes are wrapped so; never raises."""

    def unwrap(self, data: bytes, where: str) -> Wrapped:
        """Return what is inside. Raises InputError (``evidence.*``) naming what is wrong with the wrapping."""
