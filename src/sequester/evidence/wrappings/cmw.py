"""A conceptual message wrapper in CBOR: media type or content format, and what it is of (draft-ietf-rats-msg-wrap).

A record is an array of text or number, a byte string, and for some a number that tells evidence from endorsements. Its
form in JSON is read by `sequester.evidence.wrappings.json_object`.
"""

from __future__ import annotations

from sequester.errors import InputError
from sequester.evidence.wrappings import Wrapped

NAME = "cmw"
_ARRAYS = (0x82, 0x83)
_EVIDENCE = 4
"""The bit of the third part that says evidence (draft, 3.1)."""


def recognises(data: bytes) -> bool:
    """Tell whether bytes may be a record: an array of two or three, whose first is a number or text."""
    return len(data) > 2 and data[0] in _ARRAYS and (data[1] >> 5) in (0, 3)


def unwrap(data: bytes, where: str) -> Wrapped:
    """Return what is in it. Raises InputError for what is no record, or one of something else than evidence."""
    from sequester.evidence.cca.cbor import CborError, decode

    try:
        told = decode(data)
    except CborError as error:
        raise _fault(f"this is no record in CBOR: {error}", where) from None
    if not isinstance(told, list) or not isinstance(told[1], bytes) or not told[1]:
        raise _fault("this record has no message in it", where)
    kind = told[2] if len(told) == 3 else _EVIDENCE
    if isinstance(kind, bool) or not isinstance(kind, int) or not kind & _EVIDENCE:
        raise _fault("this record is of something else than evidence", where)
    return Wrapped(told[1])


def _fault(what: str, where: str) -> InputError:
    return InputError(what, code="evidence.wrapping", where=where)
