"""Arm CCA attestation tokens, read strictly.

CBOR with tag 399: the platform's token under 44234 and the realm's under 44241, each a COSE_Sign1 in bytes (Arm Realm
Management Monitor specification 1.0, DEN0137, A7.2; draft-ffm-rats-cca-token). Realm: 10 challenge, 44235
personalization, 44236 its hash, 44237 public key, 44238 RIM, 44239 REM0 to REM3, 44240 hash over the key. Platform: 10
hash of the realm's key, 256 instance, 2395 lifecycle, 2396 implementation, 2399 software, 2400 verification service,
2401 configuration, 2402 its hash. 265 names the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sequester.errors import InputError
from sequester.evidence.cca.cbor import CborError, Tagged, decode

TAG = 399
HEAD = b"\xd9\x01\x8f"
_SIGN1 = 18
_ALGORITHM, _CRITICAL = 1, 2
PLATFORM, REALM = 44234, 44241
LARGEST = 1 << 18
_DIGESTS = (32, 48, 64)
LIFECYCLES = {
    0x00: "unknown",
    0x10: "assembly and test",
    0x20: "platform provisioning",
    0x30: "secured",
    0x40: "debug of non-CCA platform firmware",
    0x50: "recoverable debug of the CCA platform",
    0x60: "decommissioned",
}
"""Security lifecycle, the upper byte (draft-ffm-rats-cca-token, 4.5.2)."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One COSE_Sign1: its claims, what was signed (the Sig_structure), the signature and the algorithm's number."""

    claims: Mapping[int, Any]
    signed: bytes
    signature: bytes
    algorithm: Any
    raw: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A token: both parts, what is in the realm's, and all bytes."""

    platform: Signed
    realm: Signed
    data: bytes

    @property
    def challenge(self) -> bytes:
        """The guest's own 64 bytes."""
        value: bytes = self.realm.claims[10]
        return value

    @property
    def measurements(self) -> Mapping[str, bytes]:
        """RIM and REM0 to REM3."""
        claims = self.realm.claims
        return {"rim": claims[44238], **{f"rem{number}": value for number, value in enumerate(claims[44239])}}

    @property
    def components(self) -> list[Mapping[int, Any]]:
        """The platform's software: 1 type, 2 measurement, 4 version, 5 signer, 6 hash."""
        found: list[Mapping[int, Any]] = self.platform.claims[2399]
        return found


def parse(data: bytes, where: str) -> Token:
    """Read a token. Raises InputError naming what is wrong."""

    def fault(what: str) -> InputError:
        return InputError(
            what, code="evidence.form", where=where, remedy="get the token anew, whole and unchanged"
        )

    if len(data) > LARGEST:
        raise fault(f"{len(data)} bytes are too many for a token")
    try:
        told = decode(data)
        if not isinstance(told, Tagged) or told.tag != TAG or not isinstance(told.value, dict):
            raise CborError(f"it is no map with tag {TAG}")
        parts = {name: _signed(told.value.get(name), name) for name in (PLATFORM, REALM)}
        if len(told.value) != len(parts):
            raise CborError("there is more in it than a platform's and a realm's token")
        _check(parts[REALM].claims, _REALM_CLAIMS, "realm")
        _check(parts[PLATFORM].claims, _PLATFORM_CLAIMS, "platform")
    except CborError as error:
        raise fault(str(error)) from None
    return Token(parts[PLATFORM], parts[REALM], data)


def _signed(raw: Any, name: int) -> Signed:
    if not isinstance(raw, bytes):
        raise CborError(f"there is no token under {name}")
    told = decode(raw)
    if isinstance(told, Tagged) and told.tag == _SIGN1:
        told = told.value
    if not isinstance(told, list) or len(told) != 4:
        raise CborError(f"what is under {name} is no COSE_Sign1")
    protected, unprotected, payload, signature = told
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise CborError(f"what is under {name} is no COSE_Sign1")
    head, claims = decode(protected), decode(payload)
    if not isinstance(head, dict) or not isinstance(unprotected, dict) or not isinstance(claims, dict):
        raise CborError(f"header or claims under {name} are no map")
    if _CRITICAL in head:
        raise CborError(f"a critical header under {name} is not understood")
    parts = b"".join(_bytes(part) for part in (protected, b"", payload))
    signed = b"\x84\x6aSignature1" + parts
    return Signed(claims, signed, signature, head.get(_ALGORITHM), raw)


def _bytes(data: bytes) -> bytes:
    """Return a byte string in CBOR's shortest form."""
    size = len(data)
    for limit, code, width in ((24, None, 0), (1 << 8, 0x58, 1), (1 << 16, 0x59, 2), (1 << 32, 0x5A, 4)):
        if size < limit:
            head = bytes((0x40 | size,)) if code is None else bytes((code,)) + size.to_bytes(width, "big")
            return head + data
    raise CborError("too long")


def _digest(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) in _DIGESTS


def _is(kind: type) -> Any:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _of(size: int) -> Any:
    return lambda value: isinstance(value, bytes) and len(value) == size


def _components(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and _digest(each.get(2)) and isinstance(each.get(5), bytes) for each in value
    )


_REALM_CLAIMS: Mapping[int, Any] = {
    10: _of(64),
    44235: _of(64),
    44236: _is(str),
    44237: _is(bytes),
    44238: _digest,
    44239: lambda value: isinstance(value, list) and len(value) == 4 and all(map(_digest, value)),
    44240: _is(str),
}
_PLATFORM_CLAIMS: Mapping[int, Any] = {
    10: _digest,
    256: _of(33),
    265: _is(str),
    2395: _is(int),
    2396: _of(32),
    2399: _components,
    2401: _is(bytes),
    2402: _is(str),
}


def _check(claims: Mapping[Any, Any], wanted: Mapping[int, Any], name: str) -> None:
    for number, good in wanted.items():
        if not good(claims.get(number)):
            raise CborError(f"the {name}'s claim {number} is missing or wrong")
