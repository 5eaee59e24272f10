"""Appraisals as an EAT Attestation Result, for systems that take one: claims in JSON, or signed as a JWT.

Sources: draft-ietf-rats-ear, 3 (claims); draft-ietf-rats-ar4si, 2.3 (trustworthiness vector and its values);
RFC 7515, 7518 3.4 (ES256, ES384).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester import __version__
from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Appraisal, Criterion, Outcome
from sequester.report.appraisal_json import told_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PROFILE = "tag:ietf.org,2026:rats/ear#04"
_AFFIRMING, _APPROVED_BOOT, _WARNING, _CONTRAINDICATED, _UNTRUSTED, _CRYPTO_FAILED = 2, 3, 32, 96, 97, 99
"""AR4SI: affirming 2 to 31, warning 32 to 95, contraindicated from 96; 99 for every claim if cryptography failed."""

_IDENTITY = (
    criteria.CHAIN,
    criteria.VALIDITY,
    criteria.BINDING,
    criteria.QUOTING,
    criteria.REVOCATION,
    criteria.FRESHNESS,
    criteria.REPORT_DATA,
)
_HARDWARE = (criteria.TCB, criteria.ADVISORIES, criteria.PLATFORM_INFO)
_CONFIGURATION = (
    criteria.DEBUG,
    criteria.MIGRATION,
    criteria.GUEST_POLICY,
    criteria.IDENTITY_KEYS,
    criteria.PRIVILEGE,
    criteria.GUEST_DATA,
)
_EXECUTABLES = (criteria.MEASUREMENT, criteria.EVENT_LOG)


def claims(appraisals: Sequence[Appraisal], now: datetime) -> dict[str, Any]:
    """Return the claims set: one submodule for each piece of evidence, labelled with its name."""
    return {
        "eat_profile": PROFILE,
        "iat": int(now.timestamp()),
        "ear_verifier_id": {"developer": "sequester", "build": f"sequester {__version__}"},
        "submods": _submods(appraisals),
    }


def report(appraisals: Sequence[Appraisal], now: datetime, key: EllipticCurvePrivateKey | None = None) -> str:
    """Return the claims set as JSON, or as a JWT under a key on P-256 or P-384."""
    told = claims(appraisals, now)
    if key is None:
        return json.dumps(told, indent=2) + "\n"
    return _jwt(told, key) + "\n"


def read_key(data: bytes, where: str) -> EllipticCurvePrivateKey:
    """Read the key that signs: PEM, without a password. Raises InputError, without a byte of it, for another."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _ALGORITHMS:
        raise InputError(
            "this holds no private key on P-256 or P-384 in PEM without a password",
            code="verify.ear-key",
            where=where,
            remedy="make one with `openssl ecparam -name prime256v1 -genkey -noout`",
        )
    return key


_ALGORITHMS = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48)}


def _jwt(told: dict[str, Any], key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384

    name, size = _ALGORITHMS[key.curve.name]
    parts = [
        _base64(json.dumps(part, separators=(",", ":")).encode())
        for part in ({"alg": name, "typ": "JWT"}, told)
    ]
    signed = ".".join(parts)
    r, s = decode_dss_signature(key.sign(signed.encode(), ECDSA(SHA256() if size == 32 else SHA384())))
    return f"{signed}.{_base64(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"


def _submods(appraisals: Sequence[Appraisal]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for appraisal in appraisals:
        label, number = appraisal.name, 1
        while label in found:
            number += 1
            label = f"{appraisal.name}#{number}"
        found[label] = _submod(appraisal)
    return found


def _submod(appraisal: Appraisal) -> dict[str, Any]:
    vector = _vector(appraisal)
    told = told_of(appraisal)
    submod: dict[str, Any] = {
        "ear_status": _status(vector, appraisal),
        "ear_trustworthiness_vector": vector,
        "ear_attester_claims": told["claims"],
        "ear_verifier_claims": {"sequester_checks": told["checks"], "sequester_kind": appraisal.kind},
    }
    nonce = appraisal.claims.get("report-data")
    if _outcome(appraisal, (criteria.REPORT_DATA,)) is Outcome.PASSED and isinstance(nonce, str):
        submod["eat_nonce"] = _base64(bytes.fromhex(nonce))
    return submod


def _vector(appraisal: Appraisal) -> dict[str, int]:
    """Return AR4SI's vector; a claim that nothing was asked about is left out."""
    names = "instance-identity", "configuration", "executables", "hardware", "runtime-opaque"
    if _outcome(appraisal, (criteria.SIGNATURE,)) is not Outcome.PASSED:
        return dict.fromkeys(names, _CRYPTO_FAILED)
    groups = (
        (_IDENTITY, _AFFIRMING, _UNTRUSTED),
        (_CONFIGURATION, _AFFIRMING, _CONTRAINDICATED),
        (_EXECUTABLES, _APPROVED_BOOT, _CONTRAINDICATED),
        (_HARDWARE, _AFFIRMING, _CONTRAINDICATED),
        ((criteria.DEBUG,), _AFFIRMING, _CONTRAINDICATED),
    )
    found: dict[str, int] = {}
    for name, (group, good, bad) in zip(names, groups, strict=True):
        outcome = _outcome(appraisal, group)
        if outcome is not Outcome.SKIPPED:
            found[name] = good if outcome is Outcome.PASSED else bad
    if _outcome(appraisal, (criteria.SIMULATED,)) is Outcome.FAILED:
        found["hardware"] = _UNTRUSTED
    elif appraisal.simulated:
        found |= {name: max(found.get(name, 0), _WARNING) for name in ("hardware", "runtime-opaque")}
    return found


def _outcome(appraisal: Appraisal, group: tuple[Criterion, ...]) -> Outcome:
    """Return FAILED if any check of a group failed, PASSED if one passed, SKIPPED if none was made."""
    outcomes = {check.outcome for check in appraisal.checks if check.criterion in group}
    return next((each for each in (Outcome.FAILED, Outcome.PASSED) if each in outcomes), Outcome.SKIPPED)


def _status(vector: dict[str, int], appraisal: Appraisal) -> str:
    worst = max(vector.values(), default=0)
    if not appraisal.accepted or worst >= _CONTRAINDICATED:
        return "contraindicated"
    return "warning" if worst >= _WARNING else "affirming" if worst >= _AFFIRMING else "none"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
