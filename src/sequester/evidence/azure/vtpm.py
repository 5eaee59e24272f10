"""What Azure's vTPM says, held against the hardware's report: the quote is by the key that the report binds.

The quote is a TPMS_ATTEST (TPM 2.0 Library, part 2, 10.12.12), big-endian: magic, type 16 bits, name of the signer,
extra data (the verifier's nonce), ...; signed by RSASSA PKCS #1 with SHA-256.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed

_MAGIC, _QUOTE = b"\xff\x54\x43\x47", b"\x80\x18"
_LARGEST = 4096
_KEY = "HCLAkPub"


def quoted(quote: Any, runtime: bytes) -> Check:
    """Answer SIGNATURE for the vTPM's quote (``message`` and ``signature`` in hex)."""
    try:
        message, signature = (bytes.fromhex(quote[name]) for name in ("message", "signature"))
        modulus, exponent = _key(runtime)
    except (ValueError, KeyError, TypeError, RecursionError):
        return failed(criteria.SIGNATURE, "the vTPM's quote or key is malformed", "a quote by the bound key")
    if len(message) > _LARGEST or message[:4] != _MAGIC or message[4:6] != _QUOTE:
        return failed(criteria.SIGNATURE, "the vTPM's message is no quote", "a TPMS_ATTEST of type quote")
    if not _verifies(modulus, exponent, signature, message):
        return failed(
            criteria.SIGNATURE, "the vTPM's quote is not by the key that the report binds", "one that is"
        )
    nonce = _nonce(message)
    return passed(
        criteria.SIGNATURE, f"the vTPM's quote, by the key that the report binds; nonce {nonce.hex()[:32]}"
    )


def _key(runtime: bytes) -> tuple[int, int]:
    for each in json.loads(runtime)["keys"]:
        if each["kid"] == _KEY and each["kty"] == "RSA":
            modulus, exponent = (
                int.from_bytes(urlsafe_b64decode(each[name] + "=" * (-len(each[name]) % 4)), "big")
                for name in ("n", "e")
            )
            if 2048 <= modulus.bit_length() <= _LARGEST and exponent < 1 << 32:
                return modulus, exponent
    raise ValueError


def _verifies(modulus: int, exponent: int, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        RSAPublicNumbers(exponent, modulus).public_key().verify(signature, message, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _nonce(message: bytes) -> bytes:
    """Return the extra data of a quote, b"" where it is malformed."""
    at = 8 + int.from_bytes(message[6:8], "big")
    size = int.from_bytes(message[at : at + 2], "big")
    return message[at + 2 : at + 2 + size]
