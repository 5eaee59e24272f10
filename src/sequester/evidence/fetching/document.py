"""A vendor's document under its address, and until when it may be used without asking again.

A chip's certificate is for the chip and TCB that its address names; its own dates are judged where it is used.
Intel's tables, and all revocation lists, say themselves when the next one comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from sequester.errors import InputError
from sequester.evidence.tdx.pcs import ISSUER_CHAIN

LARGEST = 8 << 20
"""Bytes of one document."""
FOR_EVER = datetime.max.replace(tzinfo=UTC)
_OTHERWISE = timedelta(days=1)
_CHIP = re.compile(r"/vcek/v1/[^/]+/([0-9a-f]+)")
_TABLES = ("/tcb", "/qe/identity")
_LISTS = ("/crl", "/pckcrl", "CA.der")


@dataclass(frozen=True, slots=True)
class Document:
    """What was at an address, when it was fetched, and until when it may be used."""

    address: str
    data: bytes
    fetched: datetime
    until: datetime


class UnfitError(ValueError):
    """A document that is not what should be at its address; the text says why."""


def made(address: str, data: bytes, now: datetime) -> Document:
    """Return a document that was fetched now. Raises UnfitError for what cannot be what the address is of."""
    return Document(address, data, now, _until(address, data, now))


def _until(address: str, data: bytes, now: datetime) -> datetime:
    if len(data) > LARGEST:
        raise UnfitError(f"it has more than {LARGEST >> 20} MiB")
    path = urlsplit(address).path
    if address.endswith(ISSUER_CHAIN):
        _certificates(data)
    elif path.endswith(_LISTS):
        return _next_list(data, now)
    elif path.endswith(_TABLES):
        return _next_table(data)
    elif chip := _CHIP.fullmatch(path):
        _chip_certificate(data, chip[1])
        return FOR_EVER
    else:
        _certificates(data)
    return now + _OTHERWISE


def _chip_certificate(data: bytes, chip: str) -> None:
    from sequester.evidence.snp.endorsement import endorsement

    try:
        found = endorsement(data).chip_id.hex()
    except InputError as error:
        raise UnfitError(f"no certificate of a chip can be read ({error.why or error.what})") from None
    if found != chip:  # it would be kept for ever
        raise UnfitError(f"it is the certificate of chip {found[:16]}…")


def _certificates(data: bytes) -> None:
    from sequester.evidence.papers import read

    try:
        found = read(data).certificates
    except InputError as error:
        raise UnfitError(f"no certificate can be read ({error.why or error.what})") from None
    if not found:
        raise UnfitError("there is no certificate in it")


def _next_list(data: bytes, now: datetime) -> datetime:
    from sequester.evidence.papers import read

    try:
        found = read(data).lists
    except InputError as error:
        raise UnfitError(f"no revocation list can be read ({error.why or error.what})") from None
    if not found:
        raise UnfitError("there is no revocation list in it")
    return min(each.next_update_utc or now + _OTHERWISE for each in found)


def _next_table(data: bytes) -> datetime:
    from sequester.evidence.tdx.tables import TableError, read

    try:
        return read(data).until
    except TableError as error:
        raise UnfitError(f"no table of Intel's can be read ({error})") from None
