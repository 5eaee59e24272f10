"""How each platform is measured: from the pieces of a launch to the launch, and from a digest to the mistake.

A platform names its module here in `HostTrustLimitation.measurement`; a platform from elsewhere names its own.
"""

from __future__ import annotations

import sys

from sequester.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    from sequester.measure.measurement import Launch
    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference
else:
    Protocol = object


class Method(Protocol):
    """A module that measures a platform. `TRUSTEE_NAMES` are Trustee's names of its registers."""

    TRUSTEE_NAMES: Mapping[str, str]

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
    own = _named_alike(platform)
    if own is not None:
        return own
    from importlib import import_module

    from sequester.platforms.registry import named

    found = named(platform)
    if not found.measurement:
        raise InputError(
            f"{found.title} has no measurement that could be worked out beforehand",
            code="measure.platform",
            why=f"its evidence: {found.evidence}",
        )
    named_there: Method = import_module(found.measurement)
    return named_there


def _named_alike(platform: str) -> Method | None:
    """Return the module here that is called as the platform is, without loading all platforms to ask for it."""
    if not platform.replace("-", "").isalnum():
        return None
    name = f"{__name__}.{platform.replace('-', '_')}"
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith(__name__):
            return None
        raise
    own: Method = sys.modules[name]
    return own


def check_length(digest: bytes, size: int, what: str) -> None:
    """Raise InputError for a digest that no launch of this kind can have."""
    if len(digest) != size:
        raise InputError(
            f"a launch digest of {what} has {size} bytes, and this one {len(digest)}",
            code="measure.digest",
            remedy="32 bytes are SEV's or SEV-ES's, 48 bytes SEV-SNP's or TDX's",
        )
