"""Every field of a SEV-SNP report with its meaning, and what it says in the short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sequester.errors import InputError
from sequester.evidence.field import Field
from sequester.evidence.snp.demands import GUEST_BITS, PLATFORM_BITS
from sequester.evidence.snp.endorsement import endorsement
from sequester.evidence.snp.products import spelled, tcb
from sequester.evidence.snp.report import GUIDS, SIZE, VLEK, Evidence, Report

_KEYS = {0: "VCEK, the chip's", 1: "VLEK, the cloud provider's", 7: "none: the report is not signed"}


def claims(evidence: Evidence) -> Mapping[str, Any]:
    """Return what a report says, fit for JSON: digests in hex, TCB versions by component."""
    report = evidence.report
    product = _product(evidence)
    return {
        "version": report.version,
        "product": report.product or product or None,
        "guest-svn": report.guest_svn,
        "policy": {"value": report.policy, "abi": _abi(report), **_on(report.policy, GUEST_BITS)},
        "platform-info": _on(report.platform_info, PLATFORM_BITS),
        "vmpl": report.vmpl,
        "signing-key": {0: "vcek", 1: "vlek"}.get(report.signing_key),
        "family-id": report.family_id.hex(),
        "image-id": report.image_id.hex(),
        "report-data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host-data": report.host_data.hex(),
        "id-key-digest": report.id_key_digest.hex(),
        "author-key-digest": report.author_key_digest.hex() if report.author_key_enabled else None,
        "report-id": report.report_id.hex(),
        "chip-id": report.chip_id.hex(),
        "reported-tcb": dict(tcb(report.reported_tcb, product)),
        "committed-tcb": dict(tcb(report.committed_tcb, product)),
        "current-tcb": dict(tcb(report.current_tcb, product)),
        "launch-tcb": dict(tcb(report.launch_tcb, product)),
        "firmware": _firmware(report.current_version),
        "committed-firmware": _firmware(report.committed_version),
    }


def fields(evidence: Evidence) -> Iterator[Field]:
    """Yield every field in order; the raw bytes of all, put together, are the evidence."""
    report, product = evidence.report, _product(evidence)
    offset = 0
    for name, value in report._asdict().items():
        size = _size(name, value)
        raw = evidence.data[offset : offset + size]
        told = value.hex() if isinstance(value, bytes) else value
        meaning = _MEANINGS[name](report, product) if name in _MEANINGS else ""
        yield Field(name.replace("_", "-"), offset, raw, told, meaning)
        offset += size
    yield from _certificates(evidence)


def _certificates(evidence: Evidence) -> Iterator[Field]:
    """Yield the table whole, and behind it nothing that has bytes of its own: the certificates lie within it."""
    if len(evidence.data) == SIZE:
        return
    said = "; ".join(f"{GUIDS.get(guid, guid)}: {_about(data)}" for guid, data in evidence.certificates)
    told = [{"guid": guid, "certificate": data.hex()} for guid, data in evidence.certificates]
    yield Field("certificates", SIZE, evidence.data[SIZE:], told, said)


def _about(data: bytes) -> str:
    try:
        key = endorsement(data)
    except InputError:
        return f"{len(data)} bytes"
    versions = ", ".join(f"{name} {value}" for name, value in key.tcb.items())
    return f"{key.product} {key.provider or key.chip_id[:8].hex() + '…'}, {versions}"


def _product(evidence: Evidence) -> str:
    """Return the product line that the report or its certificates tell, by which TCB versions are read."""
    if evidence.report.product:
        return evidence.report.product
    for _, data in evidence.certificates:
        try:
            return endorsement(data).line
        except InputError:
            continue
    return ""


def _size(name: str, value: int | bytes) -> int:
    if isinstance(value, bytes):
        return len(value)
    if name in ("family", "model", "stepping"):
        return 1
    wide = name in ("policy", "platform_info") or name.endswith(("_tcb", "_mitigations"))
    return 8 if wide else 4


def _on(value: int, bits: Mapping[str, int]) -> dict[str, bool]:
    return {name: value >> bit & 1 == 1 for name, bit in bits.items()}


def _said(value: int, bits: Mapping[str, int]) -> str:
    return ", ".join(name for name, bit in bits.items() if value >> bit & 1) or "no bits"


def _abi(report: Report) -> str:
    return f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}"


def _firmware(version: bytes) -> str:
    return f"{version[2]}.{version[1]}.{version[0]}"


def _flags(report: Report) -> str:
    said = ["with an author key" if report.author_key_enabled else "no author key"]
    if report.flags & 2:
        said.append("the chip's key is masked")
    return ", ".join([*said, f"signed by {_KEYS[report.signing_key]}"])


def _chip(report: Report) -> str:
    if any(report.chip_id):
        return "8 bytes are the chip's" if not any(report.chip_id[8:]) else ""
    return "masked, or the key is the provider's" if report.signing_key == VLEK else "masked by the host"


def _zero(name: str) -> Callable[[Report, str], str]:
    return lambda report, _product: "" if any(getattr(report, name)) else "none"


_MEANINGS: Mapping[str, Callable[[Report, str], str]] = {
    "policy": lambda report, _: f"ABI {_abi(report)} or later; {_said(report.policy, GUEST_BITS)}",
    "family_id": _zero("family_id"),
    "image_id": _zero("image_id"),
    "vmpl": lambda report, _: "the host asked" if report.vmpl > 3 else "the level that asked",
    "signature_algorithm": lambda report, _: (
        "ECDSA P-384 with SHA-384" if report.signature_algorithm == 1 else "?"
    ),
    "current_tcb": lambda report, product: spelled(report.current_tcb, product),
    "platform_info": lambda report, _: _said(report.platform_info, PLATFORM_BITS),
    "flags": lambda report, _: _flags(report),
    "report_data": lambda *_: "what the guest put in: a verifier's nonce",
    "measurement": lambda *_: "the launch digest: see `sequester measure`",
    "host_data": _zero("host_data"),
    "id_key_digest": _zero("id_key_digest"),
    "author_key_digest": _zero("author_key_digest"),
    "report_id_agent": lambda report, _: (
        "" if report.report_id_agent != b"\xff" * 32 else "no migration agent"
    ),
    "reported_tcb": lambda report, product: spelled(report.reported_tcb, product),
    "family": lambda report, _: report.product if report.version > 2 else "reserved in this version",
    "chip_id": lambda report, _: _chip(report),
    "committed_tcb": lambda report, product: spelled(report.committed_tcb, product),
    "current_version": lambda report, _: _firmware(report.current_version),
    "committed_version": lambda report, _: _firmware(report.committed_version),
    "launch_tcb": lambda report, product: spelled(report.launch_tcb, product),
    "launch_mitigations": lambda report, _: "" if report.version > 4 else "reserved in this version",
    "current_mitigations": lambda report, _: "" if report.version > 4 else "reserved in this version",
    "r": lambda *_: "of the signature, little-endian",
    "s": lambda *_: "of the signature, little-endian",
}
