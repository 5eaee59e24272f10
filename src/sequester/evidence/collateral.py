"""What evidence is held against besides the policy: certificates, revocation lists and the vendors' tables.

Documents that were handed in are recognised by their content; others are looked up by the vendor's own address, in a
folder, a cache or the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Lookup = Callable[[str], bytes | None]
"""Vendor's address of a document → its bytes, None where it cannot be had. Never raises for a missing document."""


_BUNDLE = b'"tcb_info_issuer_chain"'
"""What stands at the beginning of the bundle that dcap-qvl and others keep."""


def nowhere(_address: str) -> None:
    """Have nothing: the lookup for what must be answered from the documents at hand."""
    return


def is_collateral(document: bytes) -> bool:
    """Tell whether a document is what evidence is held against, or the index of a folder of such, by its look."""
    from sequester.evidence.fetching.saved import SCHEMA
    from sequester.evidence.papers import looks_so as is_paper
    from sequester.evidence.tdx.tables import looks_so as is_table

    return (
        is_paper(document)
        or is_table(document)
        or any(mark in document[: 1 << 16] for mark in (f'"{SCHEMA}"'.encode(), _BUNDLE))
    )


@dataclass(frozen=True, slots=True)
class Collateral:
    """What is at hand. `documents` are the bytes of whole files (PEM, DER, JSON), in any order.

    `enclosed` are documents that came with the evidence itself, in its wrapping. `event_logs` came so too, or were
    given beside it, to be replayed against its registers.
    """

    documents: tuple[bytes, ...] = ()
    lookup: Lookup = nowhere
    event_logs: tuple[bytes, ...] = ()
    enclosed: tuple[bytes, ...] = ()

    @property
    def everything(self) -> tuple[bytes, ...]:
        """All documents, those that came with the evidence first."""
        return (*self.enclosed, *self.documents) if self.enclosed else self.documents

    def with_enclosed(self, documents: tuple[bytes, ...], event_logs: tuple[bytes, ...]) -> Collateral:
        """Return this with what came with one piece of evidence; the same object where that is nothing."""
        if not documents and not event_logs:
            return self
        return Collateral(self.documents, self.lookup, (*event_logs, *self.event_logs), documents)
