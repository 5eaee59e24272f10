"""The measurement that SEV firmware gives out at launch, by which an owner checks the digest before secrets go in.

Layout (SEV API 0.24, 6.5.1 LAUNCH_MEASURE): 32 bytes of HMAC-SHA256 under the owner's transport integrity key (TIK),
then the 16 bytes of nonce that are in it. What is authenticated: 0x04, API major and minor version and build, 8 bits
each, policy, 32 bits, little-endian, launch digest, nonce.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from sequester.errors import InputError

DIGEST_SIZE, NONCE_SIZE, KEY_SIZE = 32, 16, 16


def launch_measurement(
    digest: bytes, key: bytes, nonce: bytes, policy: int, api: tuple[int, int], build: int
) -> bytes:
    """Return the 48 bytes that ``query-sev-launch-measure`` shows in base64.

    `key` is the TIK, `api` the firmware's version, `build` its build, as ``query-sev`` tells them. Raises InputError
    for values of another size.
    """
    for what, value, size in (
        ("launch digest", digest, DIGEST_SIZE),
        ("integrity key", key, KEY_SIZE),
        ("nonce", nonce, NONCE_SIZE),
    ):
        if len(value) != size:
            raise InputError(f"a {what} has {size} bytes, not {len(value)}", code="measure.digest")
    if not 0 <= policy < 1 << 32 or not all(0 <= number < 256 for number in (*api, build)):
        raise InputError("a policy has 32 bits, versions and build 8", code="measure.digest")
    head = bytes((0x04, *api, build)) + policy.to_bytes(4, "little")
    return hmac.new(key, head + digest + nonce, sha256).digest() + nonce


def matches(seen: bytes, digest: bytes, key: bytes, policy: int, api: tuple[int, int], build: int) -> bool:
    """Tell whether a measurement that was seen is this digest's. Raises InputError where it has not 48 bytes."""
    if len(seen) != DIGEST_SIZE + NONCE_SIZE:
        raise InputError(f"a launch measurement has 48 bytes, not {len(seen)}", code="measure.digest")
    expected = launch_measurement(digest, key, seen[DIGEST_SIZE:], policy, api, build)
    return hmac.compare_digest(expected, seen)
