"""What Azure's vTPM says, held against the hardware's report: the quote is by the key that the report binds.

The quote is a TPMS_ATTEST (TPM 2.0 Library, part 2, 10.12.12), big-endian: magic, type 16 bits, name of the signer,
extra data (the verifier's nonce), each with its length 16; clock 17 bytes, firmware 8; number 32 of banks of registers:
hash 16, size 8 and bits of those that are chosen; length 16 and SHA-256 over these. Signed by RSASSA PKCS #1 with
SHA-256.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from hashlib import sha256
from typing import Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed

_MAGIC, _QUOTE = b"\xff\x54\x43\x47", b"\x80\x18"
_ONE_BANK, _SHA256 = b"\0\0\0\1", b"\0\x0b"
_CLOCK_AND_FIRMWARE, _SHA256_SIZE = 25, 32
_LARGEST = 4096
_KEY = "HCLAkPub"


def quoted(quote: Any, runtime: bytes) -> tuple[Check, bytes]:
    """Answer SIGNATURE for the vTPM's quote (``message``, ``signature`` and ``pcrs`` in hex or as numbers), and return
    the nonce in it, b"" where it is no good."""
    try:
        message, signature = (_octets(quote[name]) for name in ("message", "signature"))
        registers = [_octets(each) for each in quote.get("pcrs", ())]
        modulus, exponent = _key(runtime)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _no("the vTPM's quote or key is malformed", "a quote by the bound key")
    if len(message) > _LARGEST or message[:4] != _MAGIC or message[4:6] != _QUOTE:
        return _no("the vTPM's message is no quote", "a TPMS_ATTEST of type quote")
    if not _verifies(modulus, exponent, signature, message):
        return _no("the vTPM's quote is not by the key that the report binds", "one that is")
    if registers and sha256(b"".join(registers)).digest() != _digest(message):
        return _no("the vTPM's registers (PCRs) are not those of its quote", "those of it")
    nonce = _nonce(message)
    said = f"the vTPM's quote, by the key that the report binds; nonce {nonce.hex()[:32]}"
    return passed(criteria.SIGNATURE, said), nonce


def _no(found: str, expected: str) -> tuple[Check, bytes]:
    return failed(criteria.SIGNATURE, found, expected), b""


def _octets(told: Any) -> bytes:
    """Return bytes in hex or as numbers. Raises ValueError or TypeError."""
    if isinstance(told, list) and len(told) <= _LARGEST:
        return bytes(told)
    return bytes.fromhex(told)


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


def _digest(message: bytes) -> bytes:
    """Return the digest over the registers in a quote of the one bank SHA-256, b"" in any other."""
    at = 8 + int.from_bytes(message[6:8], "big")
    at += 2 + int.from_bytes(message[at : at + 2], "big") + _CLOCK_AND_FIRMWARE
    if message[at : at + 4] != _ONE_BANK or message[at + 4 : at + 6] != _SHA256:
        return b""
    at += 7 + message[at + 6] if at + 6 < len(message) else 0
    size = int.from_bytes(message[at : at + 2], "big")
    return message[at + 2 : at + 2 + size] if size == _SHA256_SIZE else b""


def _nonce(message: bytes) -> bytes:
    """Return the extra data of a quote, b"" where it is malformed."""
    at = 8 + int.from_bytes(message[6:8], "big")
    size = int.from_bytes(message[at : at + 2], "big")
    return message[at + 2 : at + 2 + size]
