"""How each platform is measured: from the pieces of a launch to the launch, and from a digest to the mistake.

A platform names its module here in `HostTrustLimitation.measurement`; a platform from elsewhere names its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from sequester.errors import InputError

if TYPE_CHECKING:
    from sequester.measure.measurement import Launch
    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference


class Method(Protocol):
    """A module that measures a platform."""

    def launch(self, pieces: Pieces) -> Launch:
        """Read the files and return the launch. Raises InputError where a piece is missing or wrong."""

    def find(self, digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
        """Return the launch nearest to these pieces that has this digest, or None.

        `others` are paths of other firmware images. Raises InputError where no launch of the platform can have it.
        """

    def references(self, matrix: Matrix) -> Iterator[Reference]:
        """Yield the measurement of every launch of a matrix. Raises InputError as `launch` does."""


def method(platform: str) -> Method:
    """Return the module that measures a platform. Raises InputError where none does, or nothing is called so."""
    from sequester.platforms.registry import named

    found = named(platform)
    if not found.measurement:
        raise InputError(
            f"{found.title} has no measurement that could be worked out beforehand",
            code="measure.platform",
            why=f"its evidence: {found.evidence}",
        )
    return cast(Method, import_module(found.measurement))


def check_length(digest: bytes, size: int, what: str) -> None:
    """Raise InputError for a digest that no launch of this kind can have."""
    if len(digest) != size:
        raise InputError(
            f"a launch digest of {what} has {size} bytes, and this one {len(digest)}",
            code="measure.digest",
            remedy="32 bytes are SEV's or SEV-ES's, 48 bytes SEV-SNP's or TDX's",
        )
