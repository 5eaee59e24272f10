"""Everything at hand that a quote may be held against, sorted once for many quotes: certificates, lists, tables, logs.

Besides Intel's own documents the bundle is understood that dcap-qvl and others keep: JSON with ``tcb_info``,
``tcb_info_signature``, ``qe_identity``, issuer chains in PEM and revocation lists in hex.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sequester.evidence.event_log import log
from sequester.evidence.papers import papers
from sequester.evidence.tdx.tables import LARGEST, QeIdentity, TableError, TcbInfo, looks_so, read, read_inner

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

    from sequester.evidence.collateral import Lookup

_BUNDLE = ("tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature")
_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_LISTS = ("root_ca_crl", "pck_crl")


@dataclass(slots=True)
class Shelf:
    """What was found, and what was no good. `kept` holds what was found out with it, so that it goes when it goes."""

    certificates: list[Certificate] = field(default_factory=list)
    lists: list[CertificateRevocationList] = field(default_factory=list)
    tcb: list[TcbInfo] = field(default_factory=list)
    identities: list[QeIdentity] = field(default_factory=list)
    logs: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    kept: dict[tuple[object, ...], tuple[Lookup, Any]] = field(default_factory=dict)

    def add(self, document: bytes) -> None:
        """Sort one document in; what is none of these is passed over."""
        if looks_so(document):
            self._table(document)
        elif log.looks_so(document):
            self.logs.append(document)
        elif document[:1] in (b"{", b" ", b"\n") and b'"tcb_info' in document[: 1 << 16]:
            self._bundle(document)
        else:
            found, faults = papers((document,))
            self.certificates += found.certificates
            self.lists += found.lists
            self.faults += faults

    def _table(self, document: bytes) -> None:
        try:
            self._keep(read(document))
        except TableError as error:
            self.faults.append(f"a table of Intel's cannot be read: {error}")

    def _keep(self, table: TcbInfo | QeIdentity) -> None:
        if isinstance(table, TcbInfo):
            self.tcb.append(table)
        else:
            self.identities.append(table)

    def _bundle(self, document: bytes) -> None:
        try:
            told = json.loads(document) if len(document) <= LARGEST else {}
            texts = {name: told[name] for name in (*_BUNDLE, *_CHAINS, *_LISTS) if name in told}
            tcb, tcb_signature, identity, identity_signature = (texts[name] for name in _BUNDLE)
            self._keep(read_inner(tcb.encode(), bytes.fromhex(tcb_signature), True))
            self._keep(read_inner(identity.encode(), bytes.fromhex(identity_signature), False))
            for name in _CHAINS:
                self.add(texts.get(name, "").encode())
            for name in _LISTS:
                self.add(bytes.fromhex(texts.get(name, "")))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            self.faults.append(f"a bundle of collateral cannot be read: {str(error)[:80]}")


def sort(documents: tuple[bytes, ...]) -> Shelf:
    """Sort documents."""
    shelf = Shelf()
    for document in documents:
        shelf.add(document)
    return shelf


class _Shelves:
    """The last few shelves: documents are the same for many quotes, and mostly the same objects, which is soon seen."""

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[bytes, ...], Lookup, Shelf]] = []

    def of(self, documents: tuple[bytes, ...], lookup: Lookup) -> Shelf:
        """Return documents sorted, with what was looked up in the same place since."""
        for known, place, shelf in self._kept:
            if place == lookup and known == documents:
                return shelf
        made = sort(documents)
        self._kept = [(documents, lookup, made), *self._kept[:3]]
        return made


shelf_of = _Shelves().of
