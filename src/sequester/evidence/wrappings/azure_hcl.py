"""Azure's report of its paravisor: a hardware report, and the data that the report's own REPORT_DATA is the hash of.

Layout, little-endian (Azure, "Confidential VM guest attestation", vTPM index 0x01400001)::

    0x000 "HCLA", version, size, request type, status, 32 bits each; 12 bytes
    0x020 the hardware's report, 1184 bytes: SEV-SNP's, or a TDREPORT in its first 1024
    0x4c0 size, version, report type: 2 (SEV-SNP) or 4 (TDX), hash: 1 SHA-256, 2 SHA-384, 3 SHA-512, length of the
          data, 32 bits each; data

A TDREPORT is for its own host alone: what is held against the data is the quote that the host made of it.
"""

from __future__ import annotations

import hashlib
import struct

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed
from sequester.evidence.wrappings import Wrapped

NAME = "azure-hcl"
REPORT_AT, REPORT_SIZE = 0x20, 1184
_TAIL = struct.Struct("<IIIII")
SNP, TDX = 2, 4
"""Report types."""
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
_DATA_AT = 0x50
"""Of REPORT_DATA in a SEV-SNP report."""


def recognises(data: bytes) -> bool:
    """Tell whether bytes are such a report."""
    return data.startswith(b"HCLA")


def unwrap(data: bytes, where: str) -> Wrapped:
    """Return the SEV-SNP report, and whether the data behind it is what the report names."""
    runtime, name = runtime_data(data, SNP, where)
    report = data[REPORT_AT : REPORT_AT + REPORT_SIZE]
    return Wrapped(report, checks=(_bound(report[_DATA_AT : _DATA_AT + 64], runtime, name, "offset 0x50"),))


def bound_by_quote(quote: bytes, runtime: bytes, name: str) -> Check:
    """Tell whether the data behind a report is what a TDX quote names; `name` is the hash over it."""
    from sequester.evidence.tdx.quote import parse

    try:
        told = parse(quote, "td_quote").report_data
    except InputError as error:
        return failed(
            criteria.GUEST_DATA, f"the quote cannot be read: {error.what}", "one that names the data"
        )
    return _bound(told, runtime, name, "of the quote")


def runtime_data(data: bytes, kind: int, where: str) -> tuple[bytes, str]:
    """Return the data behind a report of a type, and the hash over it. Raises InputError for what is malformed."""

    def fault(what: str) -> InputError:
        return InputError(what, code="evidence.wrapping", where=where)

    end = REPORT_AT + REPORT_SIZE + _TAIL.size
    if len(data) < end:
        raise fault(f"Azure's report has at least {end} bytes, and {len(data)} are here")
    _, _, found, algorithm, length = _TAIL.unpack_from(data, REPORT_AT + REPORT_SIZE)
    if found == TDX != kind:
        raise fault(
            "it holds a TDREPORT, which only its own host can check: give the quote with it (td_quote)"
        )
    if found != kind:
        raise fault(f"it holds a report of type {found}, not of {kind}")
    if algorithm not in _HASHES or end + length > len(data):
        raise fault("its runtime data is malformed")
    return data[end : end + length], _HASHES[algorithm]


def _bound(found: bytes, runtime: bytes, name: str, where: str) -> Check:
    digest = hashlib.new(name, runtime).digest().ljust(64, b"\0")
    if found != digest:
        return failed(
            criteria.GUEST_DATA,
            f"the report names other runtime data: {found.hex()}",
            digest.hex(),
            f"REPORT_DATA, {where}",
        )
    return passed(criteria.GUEST_DATA, "the runtime data, with the vTPM's keys, is what the report names")
