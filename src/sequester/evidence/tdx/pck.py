"""What a PCK certificate says of its platform, in the SGX extension.

DER (Intel SGX PCK Certificate and CRL Profile Specification 1.5, 1.3.5): a sequence of sequences of OID and value,
under 1.2.840.113741.1.13.1: .1 PPID, .2 TCB (.1 to .16 component SVNs, .17 PCESVN, .18 CPUSVN), .3 PCE ID, .4 FMSPC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

OID = "1.2.840.113741.1.13.1"
_PREFIX = bytes.fromhex("2a864886f84d010d01")
_COMPONENTS = 16
_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06
_LARGEST = 2048


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform's numbers: SVNs of its 16 components, that of the PCE, and what it is (FMSPC, 6 bytes; PCE ID, 2)."""

    components: tuple[int, ...]
    pcesvn: int
    fmspc: bytes
    pce_id: bytes


def platform(certificate: Certificate) -> Platform:
    """Read a PCK certificate. Raises ValueError saying what is wrong with its extension."""
    from cryptography.x509 import ExtensionNotFound, ObjectIdentifier, UnrecognizedExtension

    try:
        value = certificate.extensions.get_extension_for_oid(ObjectIdentifier(OID)).value
    except ExtensionNotFound:
        raise ValueError("it has no SGX extension: this is no PCK certificate") from None
    assert isinstance(value, UnrecognizedExtension)
    if len(value.value) > _LARGEST:
        raise ValueError("its SGX extension is too large")
    pairs = dict(_pairs(_one(value.value, _SEQUENCE)))
    tcb = dict(_pairs(_contents(pairs, b"\x02", _SEQUENCE)))
    numbers = [
        int.from_bytes(_contents(tcb, b"\x02" + bytes((number,)), _INTEGER), "big")
        for number in range(1, _COMPONENTS + 2)
    ]
    if any(number > 0xFFFF for number in numbers):
        raise ValueError("an SVN in its SGX extension has more than 16 bits")
    fmspc, pce_id = (_contents(pairs, number, _OCTETS) for number in (b"\x04", b"\x03"))
    if (len(fmspc), len(pce_id)) != (6, 2):
        raise ValueError("FMSPC and PCE ID have 6 and 2 bytes")
    return Platform(tuple(numbers[:_COMPONENTS]), numbers[_COMPONENTS], fmspc, pce_id)


def _contents(pairs: dict[bytes, tuple[int, bytes]], name: bytes, tag: int) -> bytes:
    found, value = pairs.get(name, (0, b""))
    if found != tag or (tag == _INTEGER and (not value or value[0] & 0x80)):
        raise ValueError(f"its SGX extension has no right value .{'.'.join(map(str, name))}")
    return value


def _pairs(data: bytes) -> Iterator[tuple[bytes, tuple[int, bytes]]]:
    """Yield (OID behind the prefix, (tag, value)) of a sequence's contents. ValueError for one that is there twice."""
    seen = set()
    while data:
        inner, data = _take(data, _SEQUENCE)
        oid, rest = _take(inner, _OID)
        if not oid.startswith(_PREFIX) or oid in seen or not rest:
            raise ValueError("its SGX extension is malformed")
        seen.add(oid)
        tag = rest[0]
        value, behind = _take(rest, tag)
        if behind:
            raise ValueError("its SGX extension is malformed")
        yield oid[len(_PREFIX) :], (tag, value)


def _one(data: bytes, tag: int) -> bytes:
    value, rest = _take(data, tag)
    if rest:
        raise ValueError("something follows its SGX extension")
    return value


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the contents of the first DER value, and what follows it. ValueError where there is no such value."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("its SGX extension is malformed")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[2 : 2 + count], "big")
        start = 2 + count
        if not 0 < count <= 2 or length < 0x80 or (count == 2 and length < 0x100):
            raise ValueError("its SGX extension is malformed")
    if start + length > len(data):
        raise ValueError("its SGX extension ends too early")
    return data[start : start + length], data[start + length :]
