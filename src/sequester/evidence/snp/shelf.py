"""Everything at hand that may be a signing key's certificate or lead to AMD's root, sorted once for many reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.evidence.certificates import papers
from sequester.evidence.roots import amd
from sequester.evidence.snp.endorsement import VLEK, Endorsement, endorsement, is_one
from sequester.evidence.snp.report import TABLE_STARTS, parse_table

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

    from sequester.evidence.certificates import Verdict
    from sequester.evidence.collateral import Lookup

_SMALL = 32 << 10


@dataclass(slots=True)
class Shelf:
    """What was found: signing keys by chip ID (b"" for a VLEK), authorities, revocation lists, and what was no good.

    `verdicts` are those over chains that were found out with it, so that they go when it goes.
    """

    keys: dict[bytes, list[Endorsement]] = field(default_factory=dict)
    authorities: list[Certificate] = field(default_factory=list)
    lists: list[CertificateRevocationList] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    verdicts: dict[tuple[object, ...], tuple[Lookup, Verdict]] = field(default_factory=dict)

    def of(self, name: str, chip: bytes) -> list[Endorsement]:
        """Return the keys of a name that may be a chip's (64 bytes): all of them where the chip is not named.

        A Turin's certificate names 8 bytes. Providers' keys are of no chip.
        """
        if name == VLEK:
            return self.keys.get(b"", [])
        if not any(chip):
            return [key for key in self.every_key() if key.name == name]
        short = [] if any(chip[8:]) else self.keys.get(chip[:8], [])
        return [*self.keys.get(chip, []), *short]

    def every_key(self) -> list[Endorsement]:
        """Return all signing keys."""
        return [each for keys in self.keys.values() for each in keys]


def sort(documents: tuple[bytes, ...]) -> Shelf:
    """Sort documents: certificates and lists in PEM or DER, and certificate tables as the kernel gives them."""
    from cryptography.hazmat.primitives.serialization import Encoding

    shelf = Shelf()
    found, faults = papers(inside for document in documents for inside in _inside(document))
    shelf.faults += faults
    shelf.lists += found.lists
    for certificate in found.certificates:
        if not is_one(certificate):
            shelf.authorities.append(certificate)
            continue
        try:
            key = endorsement(certificate.public_bytes(Encoding.DER))
        except InputError as error:
            shelf.faults.append(f"{error.what} ({error.why})")
            continue
        shelf.keys.setdefault(key.chip_id, []).append(key)
    return shelf


class _Shelves:
    """The last few shelves: documents are the same objects for many reports, and told apart as such."""

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[bytes, ...], Shelf]] = []

    def of(self, documents: tuple[bytes, ...]) -> Shelf:
        """Return documents sorted."""
        for known, shelf in self._kept:
            if known is documents:
                return shelf
        made = sort(documents)
        self._kept = [(documents, made), *self._kept[:3]]
        return made


shelf_of = _Shelves().of


def shelf_of_enclosed(documents: tuple[bytes, ...]) -> Shelf:
    """Return what came with one piece of evidence, sorted; a chip's reports all come with the same."""
    return _small(documents) if sum(map(len, documents)) <= _SMALL else sort(documents)


@lru_cache(maxsize=1024)
def _small(documents: tuple[bytes, ...]) -> Shelf:
    return sort(documents)


def shipped() -> Shelf:
    """Return the certificates that come with this package."""
    return shelf_of(amd.certificates())


def _inside(document: bytes) -> list[bytes]:
    if not document.startswith(TABLE_STARTS):
        return [document]
    try:
        return [data for _, data in parse_table(document, "certificate table")]
    except InputError:
        return []
