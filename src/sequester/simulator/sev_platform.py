"""The certificates of a simulated EPYC processor as the SEV firmware has them: PDH, PEK, OCA, CEK, ASK and ARK."""

from __future__ import annotations

from hashlib import sha512
from typing import TYPE_CHECKING

from sequester.owner.sev_certificate import AmdCertificate, SevCertificate, Usage
from sequester.owner.sev_chain import SIMULATED, Authority, SevChain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.simulator.identity import Identity

API = (1, 55)
BUILD = 21
"""Firmware version and build that is played."""
_ASK = b"SIMULATED ASK   "
_P384 = "secp384r1"


def chain(identity: Identity) -> SevChain:
    """Return the platform's chain, made anew from its keys."""
    ark, ask = identity.rsa_key("sev-ark"), identity.rsa_key("sev-ask")
    oca, cek, pek = (identity.curve_key(f"sev-{name}", _P384) for name in ("oca", "cek", "pek"))
    return SevChain(
        _certificate(Usage.PDH, diffie_hellman(identity)).signed(Usage.PEK, pek),
        _certificate(Usage.PEK, pek).signed(Usage.OCA, oca).signed(Usage.CEK, cek),
        _certificate(Usage.OCA, oca).signed(Usage.OCA, oca),
        _certificate(Usage.CEK, cek).signed(Usage.ASK, ask),
        Authority(
            "",
            AmdCertificate.of(Usage.ASK, ask, _ASK, ark, SIMULATED),
            AmdCertificate.of(Usage.ARK, ark, SIMULATED, ark, SIMULATED),
        ),
    )


def diffie_hellman(identity: Identity) -> EllipticCurvePrivateKey:
    """Return the platform's Diffie-Hellman key (PDH)."""
    return identity.curve_key("sev-pdh", _P384)


def endorsement(identity: Identity) -> EllipticCurvePrivateKey:
    """Return the key that signs attestation reports (PEK)."""
    return identity.curve_key("sev-pek", _P384)


def chip_id(identity: Identity) -> bytes:
    """Return the 64 bytes of GET_ID."""
    cek = _certificate(Usage.CEK, identity.curve_key("sev-cek", _P384))
    return sha512(b"SIMULATED chip" + cek.key).digest()


def _certificate(usage: Usage, key: EllipticCurvePrivateKey) -> SevCertificate:
    return SevCertificate.of(usage, key.public_key(), API)
