"""Evidence as text: hex, base64 or base64url, on one line or many."""

from __future__ import annotations

import re
from base64 import b64decode

from sequester.errors import InputError
from sequester.evidence.wrappings import Wrapped

NAME = "text"
_HEX = re.compile(rb"\A\s*(?:0[xX])?(?:[0-9a-fA-F]{2}\s*){16,}\Z")
_BASE64 = re.compile(rb"\A\s*[A-Za-z0-9+/_\-\s]{32,}={0,2}\s*\Z")
_SHOWN = 1 << 12


def recognises(data: bytes) -> bool:
    """Tell whether bytes are such text, by their beginning."""
    head = data[:_SHOWN]
    if len(data) > _SHOWN:
        head = head.rstrip(b"=")
    return _HEX.match(head) is not None or _BASE64.match(head) is not None


def unwrap(data: bytes, where: str) -> Wrapped:
    """Return the bytes. Raises InputError for text that is neither to its end."""
    plain = b"".join(data.split())
    if len(plain) % 2 == 0 and re.fullmatch(rb"(?:0[xX])?[0-9a-fA-F]*", plain):
        digits = plain[2:] if plain[:2] in (b"0x", b"0X") else plain
        return Wrapped(bytes.fromhex(digits.decode()))
    return Wrapped(of_base64(plain.decode("ascii", "replace"), where))


def of_base64(text: str, where: str) -> bytes:
    """Return the bytes of base64 or base64url, with or without its padding. Raises InputError for anything else."""
    plain = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise InputError("this is no base64", code="evidence.wrapping", where=where) from None
