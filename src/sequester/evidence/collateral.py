"""What evidence is held against besides the policy: certificates, revocation lists and the vendors' tables.

Documents that were handed in are recognised by their content; others are looked up by the vendor's own address, in a
folder, a cache or the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Lookup = Callable[[str], bytes | None]
"""Vendor's address of a document → its bytes, None where it cannot be had. Never raises for a missing document."""


def nowhere(_address: str) -> None:
    """Have nothing: the lookup for what must be answered from the documents at hand."""
    return


@dataclass(frozen=True, slots=True)
class Collateral:
    """What is at hand. `documents` are the bytes of whole files (PEM, DER, JSON), in any order."""

    documents: tuple[bytes, ...] = ()
    lookup: Lookup = nowhere
