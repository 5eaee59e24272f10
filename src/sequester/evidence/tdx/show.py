"""Every field of a TDX quote with its meaning, and what it says in the short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sequester.evidence.field import Field
from sequester.evidence.tdx import bits
from sequester.evidence.tdx.quote import ENCLAVE, Quote
from sequester.evidence.tdx.signing import endorser

_HEADER = (
    ("version", 2, ""),
    ("attestation-key-type", 2, "ECDSA on P-256"),
    ("tee-type", 4, "TDX"),
    ("header-reserved", 4, ""),
    ("qe-vendor", 16, "Intel's quoting enclave"),
    ("user-data", 20, "the quoting enclave's own: its platform, in the first 16 bytes"),
)
_HEADER_5 = (("body-type", 2, ""), ("body-size", 4, ""))
_BODIES = {2: "TD 1.0", 3: "TD 1.5", 4: "TD 1.5, extended"}
_MEANINGS = {
    "mrseam": "the TDX module",
    "mrsignerseam": "who signed the TDX module; zeros: Intel",
    "mrtd": "what was in the guest before it started: see `sequester measure`",
    "mrconfigid": "the owner's configuration",
    "mrowner": "the owner",
    "mrownerconfig": "the owner's configuration",
    "rtmr0": "firmware and its configuration",
    "rtmr1": "what the firmware started",
    "rtmr2": "what the boot loader or kernel started",
    "rtmr3": "the guest's own",
    "reportdata": "what the guest put in: a verifier's nonce",
    "tee_tcb_svn_2": "security versions now; TEE_TCB_SVN are those at the launch",
    "mrservicetd": "service TDs that are bound to the guest; zeros: none",
    "devinfo": "devices that were assigned to the guest",
    "initservtdhash": "service TDs that were bound to the guest at its launch",
    "curservtdhash": "service TDs that are bound to the guest now",
    "initteetcbsvn": "security versions at the launch, on whichever host",
}


def claims(quote: Quote) -> Mapping[str, Any]:
    """Return what a quote says, fit for JSON: registers in hex."""
    platform = endorser(quote.chain).platform
    told: dict[str, Any] = {
        "version": quote.version,
        "tdx-module": quote.body["tee_tcb_svn"][1],
        "attributes": {"value": quote.attributes, "set": list(bits.on(quote.attributes))},
    }
    told |= {name: value.hex() for name, value in quote.body.items() if name != "tdattributes"}
    if platform is not None:
        told["platform"] = {
            "fmspc": platform.fmspc.hex(),
            "pce-id": platform.pce_id.hex(),
            "components": list(platform.components),
            "pcesvn": platform.pcesvn,
        }
    return told


def fields(quote: Quote) -> Iterator[Field]:
    """Yield every field in order; the raw bytes of all, put together, are the quote."""
    yield from _header(quote)
    for name, value in quote.body.items():
        yield Field(name, quote.offsets[name], value, value.hex(), _meaning(quote, name))
    at = len(quote.signed)
    for name, size, meaning in (
        ("signature-data-length", 4, ""),
        ("signature", 64, "R and S by the attestation key"),
        ("attestation-key", 64, "X and Y on P-256"),
        ("certification-data", 6, "type 6: the quoting enclave's report"),
    ):
        raw = quote.data[at : at + size]
        yield Field(name, at, raw, raw.hex(), meaning)
        at += size
    for name, size in ENCLAVE.items():
        raw = quote.data[at : at + size]
        yield Field(f"enclave-{name}", at, raw, raw.hex())
        at += size
    rest = (
        ("enclave-signature", 64, "R and S by the platform's key (PCK)"),
        ("authentication-data-length", 2, ""),
        ("authentication-data", len(quote.authentication), ""),
        ("pck-certification-data", 6, "type 5: certificates in PEM"),
        ("pck-certificates", len(quote.chain), _platform(quote)),
        ("trailing", quote.trailing, "no part of the quote, and signed by nobody"),
    )
    for name, size, meaning in rest:
        if size:
            raw = quote.data[at : at + size]
            told: Any = raw.decode("latin-1") if name == "pck-certificates" else raw.hex()
            yield Field(name, at, raw, told, meaning)
            at += size


def _header(quote: Quote) -> Iterator[Field]:
    at = 0
    for name, size, meaning in _HEADER if quote.version == 4 else (*_HEADER, *_HEADER_5):
        raw = quote.data[at : at + size]
        value: Any = raw.hex() if size > 4 else int.from_bytes(raw, "little")
        if name == "body-type":
            meaning = _BODIES[value]
        yield Field(name, at, raw, value, meaning)
        at += size


def _meaning(quote: Quote, name: str) -> str:
    if name == "tdattributes":
        return ", ".join(bits.on(quote.attributes)) or "no bits"
    if name == "tee_tcb_svn":
        svns = quote.body[name]
        return f"TDX module {svns[1]}, SVN {svns[0]}; microcode {svns[2]}"
    if name in _MEANINGS and not any(quote.body[name]) and name != "mrsignerseam":
        return f"{_MEANINGS[name]}: none"
    return _MEANINGS.get(name, "")


def _platform(quote: Quote) -> str:
    platform = endorser(quote.chain).platform
    return f"FMSPC {platform.fmspc.hex()}, PCESVN {platform.pcesvn}" if platform is not None else ""
