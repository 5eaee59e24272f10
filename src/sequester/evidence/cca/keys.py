"""Public keys of CCA's signers: as COSE has them, as JWK, in PEM, and the uncompressed points of older tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

from sequester.evidence.cca.cbor import CborError, decode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_CURVES = {"P-256": ("SECP256R1", 32), "P-384": ("SECP384R1", 48), "P-521": ("SECP521R1", 66)}
_COSE_CURVES = {1: "P-256", 2: "P-384", 3: "P-521"}
_ALGORITHMS = {-7: ("SHA256", "secp256r1"), -35: ("SHA384", "secp384r1"), -36: ("SHA512", "secp521r1")}
"""COSE's number of ECDSA (RFC 9053, 2.1) → its hash, and the curve that goes with it."""
_POINTS = {65: "P-256", 97: "P-384", 133: "P-521"}
_EC2 = 2


def of_claim(claim: Any) -> EllipticCurvePublicKey:
    """Return a realm's key, a COSE_Key in bytes or an uncompressed point. Raises ValueError."""
    if not isinstance(claim, bytes):
        raise ValueError("it is no bytes")
    if claim[:1] == b"\x04" and len(claim) in _POINTS:
        size = (len(claim) - 1) // 2
        return _key(_POINTS[len(claim)], claim[1 : 1 + size], claim[1 + size :])
    try:
        told = decode(claim)
    except CborError as error:
        raise ValueError(f"it is no COSE key: {error}") from None
    if not isinstance(told, dict) or told.get(1) != _EC2 or told.get(-1) not in _COSE_CURVES:
        raise ValueError("it is no COSE key on a curve that is known")
    return _key(_COSE_CURVES[told[-1]], told.get(-2), told.get(-3))


def of_jwk(told: Any) -> EllipticCurvePublicKey:
    """Return a key of a JWK (RFC 7518, 6.2). Raises ValueError."""
    if not isinstance(told, dict) or told.get("kty") != "EC" or told.get("crv") not in _CURVES:
        raise ValueError("it is no JWK of an elliptic curve")
    x, y = (_base64(told.get(name)) for name in ("x", "y"))
    return _key(told["crv"], x, y)


def of_pem(data: bytes) -> EllipticCurvePublicKey:
    """Return a key in PEM. Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no public key in PEM") from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _NAMES:
        raise ValueError("it is no key on P-256, P-384 or P-521")
    return key


def of_document(data: bytes) -> list[EllipticCurvePublicKey]:
    """Return the public keys in a document: PEM, a JWK or a set of them; none where it is something else."""
    found: list[EllipticCurvePublicKey] = []
    if data.lstrip().startswith(b"-----BEGIN PUBLIC KEY"):  # one inside of something else is its own matter
        try:
            return [of_pem(data)]
        except ValueError:
            return []
    if data[:1] != b"{" or b'"kty"' not in data[: 1 << 16] or len(data) > 1 << 16:
        return []
    try:
        told = json.loads(data)
        keys = told["keys"] if isinstance(told.get("keys"), list) else [told]
        found += [of_jwk(each) for each in keys]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return []
    return found


def verifies(key: EllipticCurvePublicKey, algorithm: Any, signature: bytes, data: bytes) -> bool:
    """Tell whether a key signed bytes by COSE's ECDSA (RFC 9053, 2.1): R and S, big-endian."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if not isinstance(algorithm, int) or algorithm not in _ALGORITHMS:
        return False
    used, curve = _ALGORITHMS[algorithm]
    size = (key.key_size + 7) // 8
    if key.curve.name != curve or len(signature) != 2 * size:
        return False
    r, s = (int.from_bytes(signature[at : at + size], "big") for at in (0, size))
    if not r or not s:
        return False
    try:
        key.verify(encode_dss_signature(r, s), data, ECDSA(getattr(hashes, used)()))
    except InvalidSignature:
        return False
    return True


_NAMES = ("secp256r1", "secp384r1", "secp521r1")


def _key(curve: str, x: Any, y: Any) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    name, size = _CURVES[curve]
    if not all(isinstance(part, bytes) and len(part) == size for part in (x, y)):
        raise ValueError(f"its coordinates have not {size} bytes")
    point = int.from_bytes(x, "big"), int.from_bytes(y, "big")
    return ec.EllipticCurvePublicNumbers(point[0], point[1], getattr(ec, name)()).public_key()


def _base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a coordinate is missing")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
