"""ATTESTATION_REPORT of SEV-SNP, versions 2 to 5, and the table of certificates that may follow it.

Layout, little-endian, 1184 bytes (SNP firmware ABI 1.58, 7.3, table 23; signatures 10.7)::

    0x000 version, guest SVN, 32 bits   0x050 report data, 64 bytes        0x188 CPUID family, model, stepping (v3)
    0x008 policy, 64 bits               0x090 measurement, 48 bytes        0x1a0 chip ID, 64 bytes
    0x010 family ID, image ID, 16 each  0x0c0 host data, 32 bytes          0x1e0 committed TCB
    0x030 VMPL, signature algorithm     0x0e0 ID key digest, 48 bytes      0x1e8 build, minor, major, current and
    0x038 current TCB, 64 bits          0x110 author key digest, 48 bytes        committed, 32 bits each
    0x040 platform info, 64 bits        0x140 report ID, and the agent's   0x1f0 launch TCB
    0x048 flags: author key, masked,    0x180 reported TCB                 0x1f8 mitigations at launch, current (v5)
          bits 2-4 the signing key                                         0x2a0 R and S, 72 bytes each; zeros

The table (GHCB specification 56421, 4.1.8.1): entries of GUID, offset from the table, length, 32 bits each; the entry
of zeros is the last.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from sequester.errors import InputError
from sequester.evidence.snp.products import TURIN, product_of

SIZE = 0x4A0
SIGNED = 0x2A0
"""Bytes that the signature is over."""
VERSIONS = (2, 3, 4, 5)
VCEK, VLEK, UNSIGNED = 0, 1, 7
"""Signing keys; `UNSIGNED` where the host had the chip's key masked."""
ECDSA_P384_SHA384 = 1

_BODY = struct.Struct("<IIQ16s16sIIQQII64s48s32s48s48s32s32sQBBB21s64sQ4s4sQQQ152s72s72s368s")
GUIDS = {
    "63da758d-e664-4564-adc5-f4b93be8accd": "VCEK",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "VLEK",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ASK or ASVK",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ARK",
}
"""What entries of a certificate table are (GHCB 56421, table 8)."""
TABLE_STARTS = tuple(bytes.fromhex(guid.replace("-", "")) for guid in GUIDS)
_ENTRY = struct.Struct("<16sII")
_MOST_CERTIFICATES = 32
_LARGEST_CERTIFICATE = 64 << 10
POLICY_BITS = (1 << 26) - 1
POLICY_ONE = 1 << 17
PLATFORM_BITS = 0xBF
"""Bits of PLATFORM_INFO that have a meaning: 0 to 5 and 7."""
_FLAG_BITS = 0x1F
_ZEROS_18B, _ZEROS_208, _ZEROS_330 = bytes(21), bytes(152), bytes(368)


class Report(NamedTuple):
    """A report's fields in its order; TCB versions as 64 bits, firmware versions as 4 bytes (build, minor, major, 0).

    What came in a later version is zero in an earlier one. `reserved_18b` and `reserved_208` are zeros.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: int
    platform_info: int
    flags: int
    reserved_4c: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_agent: bytes
    reported_tcb: int
    family: int
    model: int
    stepping: int
    reserved_18b: bytes
    chip_id: bytes
    committed_tcb: int
    current_version: bytes
    committed_version: bytes
    launch_tcb: int
    launch_mitigations: int
    current_mitigations: int
    reserved_208: bytes
    r: bytes
    s: bytes
    reserved_330: bytes

    @property
    def signing_key(self) -> int:
        """`VCEK`, `VLEK` or `UNSIGNED`."""
        return self.flags >> 2 & 7

    @property
    def author_key_enabled(self) -> bool:
        """Whether the launch was with an author key."""
        return bool(self.flags & 1)

    @property
    def product(self) -> str:
        """The product line as the report tells it: Turin's chip IDs are short; '' where it does not tell."""
        if self.version > 2:
            return product_of(self.family, self.model)
        return TURIN if any(self.chip_id[:8]) and not any(self.chip_id[8:]) else ""


class Evidence(NamedTuple):
    """A report as bytes and as fields, and the certificates that followed it as (GUID, bytes)."""

    data: bytes
    report: Report
    certificates: tuple[tuple[str, bytes], ...] = ()


def parse(data: bytes, where: str) -> Evidence:
    """Read a report, with a table of certificates or without. Raises InputError naming the field and offset."""
    if len(data) < SIZE:
        raise _fault(where, f"a report has {SIZE} bytes, not {len(data)}", "length")
    report = Report._make(_BODY.unpack_from(data))
    if report.version not in VERSIONS:
        raise _fault(where, f"version {report.version} is not known", "VERSION, offset 0x0")
    _check(report, where)
    if len(data) == SIZE:
        return Evidence(data, report)
    return Evidence(data, report, parse_table(data[SIZE:], where))


def _check(report: Report, where: str) -> None:
    """Refuse what must be zero and is not, and numbers that have no meaning."""
    if (
        report.reserved_4c
        or report.reserved_18b != _ZEROS_18B
        or report.reserved_208 != _ZEROS_208
        or report.reserved_330 != _ZEROS_330
        or (report.version < 3 and (report.family or report.model or report.stepping))
        or report.current_version[3]
        or report.committed_version[3]
        or (report.version < 5 and (report.launch_mitigations or report.current_mitigations))
    ):
        raise _fault(where, "a reserved field is not zero", _unzeroed(report))
    if report.flags & ~_FLAG_BITS:
        raise _fault(where, f"0x{report.flags:x} has bits that are reserved", "flags, offset 0x48")
    if report.signing_key not in (VCEK, VLEK, UNSIGNED):
        raise _fault(where, f"signing key {report.signing_key} is not known", "SIGNING_KEY, offset 0x48")
    if report.policy & ~POLICY_BITS or not report.policy & POLICY_ONE:
        raise _fault(where, f"0x{report.policy:x} has bits that are reserved", "POLICY, offset 0x8")
    if report.platform_info & ~PLATFORM_BITS:
        raise _fault(
            where, f"0x{report.platform_info:x} has bits that are reserved", "PLATFORM_INFO, offset 0x40"
        )
    if report.vmpl > 3 and report.vmpl != 0xFFFFFFFF:
        raise _fault(where, f"there is no VMPL {report.vmpl}", "VMPL, offset 0x30")


def _unzeroed(report: Report) -> str:
    """Return the first reserved field that is not zero."""
    old = report.version < 3
    candidates = (
        (report.reserved_4c, 0x4C),
        (old and (report.family or report.model or report.stepping), 0x188),
        (any(report.reserved_18b), 0x18B),
        (report.current_version[3], 0x1EB),
        (report.committed_version[3], 0x1EF),
        (report.version < 5 and (report.launch_mitigations or report.current_mitigations), 0x1F8),
        (any(report.reserved_208), 0x208),
        (any(report.reserved_330), 0x330),
    )
    return next(f"reserved, offset 0x{offset:x}" for value, offset in candidates if value)


def looks_so(data: bytes) -> bool:
    """Tell whether bytes are a report, or one with a table behind it. One flipped bit does not hide a report."""
    if len(data) < SIZE:
        return False
    version, algorithm = int.from_bytes(data[:4], "little"), int.from_bytes(data[0x34:0x38], "little")
    if len(data) == SIZE or data.startswith(TABLE_STARTS, SIZE):
        return version in VERSIONS or algorithm == ECDSA_P384_SHA384
    return version in VERSIONS and algorithm == ECDSA_P384_SHA384


def parse_table(table: bytes, where: str) -> tuple[tuple[str, bytes], ...]:
    """Read a table of certificates: (GUID, bytes), in its order. Raises InputError for one that is broken."""
    found: list[tuple[str, bytes]] = []
    for number in range(_MOST_CERTIFICATES + 1):
        at = number * _ENTRY.size
        if len(table) < at + _ENTRY.size:
            raise _fault(where, "the certificate table does not end", f"certificates, offset 0x{SIZE + at:x}")
        guid, offset, length = _ENTRY.unpack_from(table, at)
        if not any(guid) and not offset and not length:
            return tuple(found)
        if length > _LARGEST_CERTIFICATE or offset + length > len(table) or offset < _ENTRY.size:
            place = f"certificates, offset 0x{SIZE + at:x}"
            raise _fault(where, f"{length} bytes at {offset} are not in the table", place)
        found.append((guid_text(guid), table[offset : offset + length]))
    raise _fault(where, f"more than {_MOST_CERTIFICATES} certificates", "certificates")


def guid_text(guid: bytes) -> str:
    """Return a GUID in text; the GHCB writes all its fields big-endian."""
    text = guid.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _fault(where: str, what: str, field: str) -> InputError:
    return InputError(what, code="evidence.snp", where=f"{where}: {field}" if where else field)
