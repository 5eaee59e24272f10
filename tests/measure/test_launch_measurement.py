"""The measurement of a SEV launch under the owner's key."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from sequester.errors import InputError
from sequester.measure.launch_measurement import launch_measurement, matches

DIGEST, KEY, NONCE = hashlib.sha256(b"guest").digest(), bytes(range(16)), b"n" * 16


def test_it_is_the_hmac_of_version_policy_digest_and_nonce_with_the_nonce_behind_it() -> None:
    fed = b"\x04\x01\x37\x15" + b"\x05\0\0\0" + DIGEST + NONCE
    expected = hmac.new(KEY, fed, "sha256").digest() + NONCE
    assert launch_measurement(DIGEST, KEY, NONCE, 5, (1, 0x37), 0x15) == expected
    assert matches(expected, DIGEST, KEY, 5, (1, 0x37), 0x15)


def test_anything_else_than_what_was_authenticated_does_not_match() -> None:
    seen = launch_measurement(DIGEST, KEY, NONCE, 5, (1, 55), 21)
    assert not matches(seen, DIGEST, KEY, 4, (1, 55), 21)
    assert not matches(seen, DIGEST, KEY, 5, (1, 54), 21)
    assert not matches(seen, DIGEST, KEY, 5, (1, 55), 22)
    assert not matches(seen, bytes(32), KEY, 5, (1, 55), 21)
    assert not matches(seen, DIGEST, bytes(16), 5, (1, 55), 21)
    assert not matches(seen[:-1] + b"m", DIGEST, KEY, 5, (1, 55), 21)


def test_wrong_sizes_are_refused() -> None:
    for digest, key, nonce in ((bytes(48), KEY, NONCE), (DIGEST, bytes(32), NONCE), (DIGEST, KEY, b"")):
        with pytest.raises(InputError, match="bytes, not"):
            launch_measurement(digest, key, nonce, 1, (0, 0), 0)
    with pytest.raises(InputError, match="48 bytes"):
        matches(bytes(32), DIGEST, KEY, 1, (0, 0), 0)
    with pytest.raises(InputError, match="32 bits"):
        launch_measurement(DIGEST, KEY, NONCE, 1 << 32, (0, 0), 0)
