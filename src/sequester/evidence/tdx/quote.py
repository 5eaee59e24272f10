"""TDX quotes of versions 4 and 5, read strictly and totally.

Layouts, little-endian (Intel TDX DCAP Quoting Library API 1.7, appendix 3; Intel TDX Module 1.5 ABI, TDREPORT)::

    header   version 16, key type 16: 2 (ECDSA on P-256), TEE type 32: 0x81, 32 reserved bits, QE vendor 16 bytes, user
             data 20 bytes; in version 5 then body type 16 (2: TD 1.0, 3: TD 1.5, 4: TD 1.5 extended), its length 32
    body     the fields of `BODY`, 584 bytes; TD 1.5 has TEE_TCB_SVN_2 and MRSERVICETD behind them, the extended one
             what `BODY_15_EXTENDED` names behind those (Intel SGX DCAP, QuoteStructures.h)
    then     length 32 of: R and S; X and Y of the attestation key, 32 bytes each, big-endian; type 16: 6, length 32:
             the enclave's report, 384 bytes, R and S by the PCK, length 16 and authentication data, type 16: 5, length
             32, PEM of the PCK's certificates

Bytes may follow that nobody signed and nothing looks at: buffers of a fixed size are handed on whole.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from sequester.errors import InputError

HEADER = 48
MAGIC_TEE = 0x81
QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
BODY: Mapping[str, int] = {
    "tee_tcb_svn": 16,
    "mrseam": 48,
    "mrsignerseam": 48,
    "seamattributes": 8,
    "tdattributes": 8,
    "xfam": 8,
    "mrtd": 48,
    "mrconfigid": 48,
    "mrowner": 48,
    "mrownerconfig": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "reportdata": 64,
}
"""Fields of a TD report's body in order, with their sizes in bytes."""
BODY_15: Mapping[str, int] = {**BODY, "tee_tcb_svn_2": 16, "mrservicetd": 48}
BODY_15_EXTENDED: Mapping[str, int] = {
    **BODY_15,
    "vmid": 1,
    "tdid": 32,
    "devinfo": 48,
    "initservtdhash": 48,
    "initservtdattributes": 8,
    "initcpusvn": 16,
    "initteetcbsvn": 16,
    "initteefmspc": 12,
    "curservtdhash": 48,
    "curservtdattributes": 8,
}
"""What a TD 1.5 with a migration or other service TD also says: who was bound to it at its launch, and is now."""
ENCLAVE: Mapping[str, int] = {
    "cpusvn": 16,
    "miscselect": 4,
    "reserved1": 28,
    "attributes": 16,
    "mrenclave": 32,
    "reserved2": 32,
    "mrsigner": 32,
    "reserved3": 96,
    "isvprodid": 2,
    "isvsvn": 2,
    "reserved4": 60,
    "reportdata": 64,
}
"""Fields of the quoting enclave's report (Intel SDM 3D, table 38-21)."""
ENCLAVE_SIZE = 384
_BODIES = {2: BODY, 3: BODY_15, 4: BODY_15_EXTENDED}
_LARGEST_CHAIN = 64 << 10
_MOST_AUTHENTICATION = 1 << 12
_MOST_TRAILING = 1 << 14
_ECDSA_P256, _ENCLAVE_DATA, _PEM_CHAIN = 2, 6, 5


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote. `body` and `enclave` have the raw bytes of their fields, `offsets` where each body field begins.

    `signed` is what the attestation key signed; signatures are R and S, keys X and Y, 64 bytes big-endian. `chain` is
    the PEM of the PCK's certificates. `data` is all of it, `trailing` how many bytes follow that are no part of it.
    """

    version: int
    body: Mapping[str, bytes]
    offsets: Mapping[str, int]
    signed: bytes
    signature: bytes
    key: bytes
    enclave: Mapping[str, bytes]
    enclave_raw: bytes
    enclave_signature: bytes
    authentication: bytes
    chain: bytes
    data: bytes
    trailing: int

    @property
    def attributes(self) -> int:
        """TDATTRIBUTES as a number."""
        return int.from_bytes(self.body["tdattributes"], "little")

    @property
    def report_data(self) -> bytes:
        """The guest's own 64 bytes."""
        return self.body["reportdata"]

    def where(self, field: str) -> str:
        """Say where a field of the body is."""
        return f"{field.upper()}, offset {self.offsets[field]:#x}"


class _Reader:
    """Reads a quote from front to back; what is not there or not as it must be is one error that says where."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self.at = 0

    def take(self, size: int, what: str) -> bytes:
        """Return the next bytes."""
        found = self._data[self.at : self.at + size]
        if len(found) < size:
            raise self.fault(f"it ends within {what}, which has {size} bytes")
        self.at += size
        return found

    def number(self, size: int, what: str) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(size, what), "little")

    def expect(self, size: int, value: int, what: str) -> None:
        """Read a number that has only one right value."""
        at, found = self.at, self.number(size, what)
        if found != value:
            raise self.fault(f"{what} is {found:#x}, not {value:#x}", at)

    def fields(self, layout: Mapping[str, int], what: str) -> dict[str, bytes]:
        """Read named fields."""
        return {name: self.take(size, f"{what}'s {name}") for name, size in layout.items()}

    def fault(self, what: str, at: int | None = None) -> InputError:
        """Return the error for something at an offset, the present one if not said."""
        return InputError(
            what,
            code="evidence.form",
            where=f"{self._where}: offset {self.at if at is None else at:#x}",
            remedy="get the quote anew, whole and unchanged",
        )


def looks_so(data: bytes) -> bool:
    """Tell whether bytes may be a quote, even with a flipped bit: by its vendor, or by version and TEE type."""
    if len(data) < HEADER + sum(BODY.values()):
        return False
    version, key_type, tee = struct.unpack_from("<HHI", data)
    vendor = data[12:28] == QE_VENDOR
    return vendor or (version in (4, 5) and key_type == _ECDSA_P256 and tee == MAGIC_TEE)


def parse(data: bytes, where: str) -> Quote:
    """Read a quote. Raises InputError naming the field and offset."""
    read = _Reader(data, where)
    version = read.number(2, "the version")
    if version == 3:
        raise read.fault("this is a quote of an SGX enclave (version 3), not of a TDX guest", 0)
    if version not in (4, 5):
        raise read.fault(f"quotes have version 4 or 5, not {version}", 0)
    read.expect(2, _ECDSA_P256, "the attestation key's type")
    read.expect(4, MAGIC_TEE, "the TEE type")
    read.take(4, "the header")
    at, vendor = read.at, read.take(16, "the quoting enclave's vendor")
    if vendor != QE_VENDOR:
        raise read.fault("the quoting enclave's vendor is not Intel", at)
    read.take(20, "the header")
    layout = BODY
    if version == 5:
        at, kind = read.at, read.number(2, "the body's type")
        if kind not in _BODIES:
            raise read.fault(f"body type {kind} is no TD report's", at)
        layout = _BODIES[kind]
        read.expect(4, sum(layout.values()), "the body's length")
    offsets, offset = {}, read.at
    for name, size in layout.items():
        offsets[name] = offset
        offset += size
    body = read.fields(layout, "the body")
    signed = data[: read.at]
    length = read.number(4, "the signature data's length")
    end = read.at + length
    if end > len(data):
        raise read.fault(f"the signature data has {length} bytes, and {len(data) - read.at} are here")
    signature, key = read.take(64, "the signature"), read.take(64, "the attestation key")
    read.expect(2, _ENCLAVE_DATA, "the certification data's type")
    read.expect(4, end - read.at - 4, "the certification data's length")
    enclave_raw = read.take(ENCLAVE_SIZE, "the enclave's report")
    inner = _Reader(enclave_raw, where)
    enclave = inner.fields(ENCLAVE, "the enclave's report")
    enclave_signature = read.take(64, "the enclave report's signature")
    size = read.number(2, "the authentication data's length")
    if size > _MOST_AUTHENTICATION:
        raise read.fault(f"{size} bytes of authentication data are too many")
    authentication = read.take(size, "the authentication data")
    read.expect(2, _PEM_CHAIN, "the type of the PCK's certification data")
    read.expect(4, end - read.at - 4, "the length of the PCK's certificates")
    if end - read.at > _LARGEST_CHAIN:
        raise read.fault("the PCK's certificates are too large")
    chain = read.take(end - read.at, "the PCK's certificates")
    if len(data) - end > _MOST_TRAILING:
        raise read.fault(f"{len(data) - end} bytes follow the quote", end)
    return Quote(
        version,
        body,
        offsets,
        signed,
        signature,
        key,
        enclave,
        enclave_raw,
        enclave_signature,
        authentication,
        chain,
        data,
        len(data) - end,
    )
