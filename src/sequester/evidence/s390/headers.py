"""The guests that a Secure Execution measurement may be of: their image headers, from documents or the policy.

The measurement is over a header's digests and tag, and says itself not which: only a header that is known can be
found in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import islice, product

from sequester.errors import InputError
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy

REGISTERS = ("pld", "ald", "tld", "tag")
"""In the order in which they are measured."""
_SIZES = (64, 64, 64, 16)
_MOST = 4096
_MAGIC = b"IBMSecEx"


@dataclass(frozen=True, slots=True)
class Known:
    """A guest: `values` by register, and whether who verifies named it himself."""

    values: Mapping[str, bytes]
    named: bool

    @property
    def measured(self) -> bytes:
        """What of it is measured."""
        return b"".join(self.values[name] for name in REGISTERS)


def known(collateral: Collateral, policy: Policy) -> Iterator[Known]:
    """Yield the guests of a policy, of the documents that were given, and of those that came with the evidence."""
    lists = [policy.measurements.get(name, ()) for name in REGISTERS]
    for values in islice(product(*lists), _MOST):
        if tuple(map(len, values)) == _SIZES:
            yield Known(dict(zip(REGISTERS, values, strict=True)), True)
    for documents, named in ((collateral.documents, True), (collateral.enclosed, False)):
        for header in _headers(documents):
            yield Known(header, named)


@lru_cache(maxsize=4)
def _headers(documents: tuple[bytes, ...]) -> tuple[Mapping[str, bytes], ...]:
    return tuple(filter(None, map(of_document, documents)))


def of_document(document: bytes) -> Mapping[str, bytes] | None:
    """Return the registers of a header or of an image, None for what is neither."""
    if not document.startswith(_MAGIC) and _MAGIC not in document:
        return None
    from sequester.measure.se_image import SeImage, read_header

    try:
        if document.startswith(_MAGIC):
            header = read_header(document)
        else:
            header = SeImage(BytesIO(document), "image").header()
    except InputError:
        return None
    return {"pld": header.pld, "ald": header.ald, "tld": header.tld, "tag": header.tag}
