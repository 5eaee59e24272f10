"""Secrets that a policy names by file: read once, by who may, and shown nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sequester.errors import InputError
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import SecretFile

_LARGEST = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Bytes that no message, log or report may hold."""

    value: bytes

    def __repr__(self) -> str:
        return "Secret(...)"


def with_secrets(policy: Policy, folder: str) -> Policy:
    """Return a policy with the contents of the files that it names; a relative name begins in `folder`.

    Raises InputError for a file that cannot be read or has another size.
    """
    platforms = {
        platform: {key: _read(value, folder) for key, value in own.items()}
        for platform, own in policy.platforms.items()
    }
    return replace(policy, platforms=platforms) if platforms != policy.platforms else policy


def secrets(own: Mapping[str, Any], key: str) -> list[bytes]:
    """Return the secrets under one key of a platform's own table; a file that nobody read is none."""
    value = own.get(key, ())
    values: Iterable[Any] = value if isinstance(value, tuple) else (value,)
    return [each.value for each in values if isinstance(each, Secret)]


def _read(value: Any, folder: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_read(each, folder) for each in value)
    if not isinstance(value, SecretFile):
        return value
    from sequester.evidence.files import read_file

    path = os.path.join(folder, value.path)
    found = read_file(path, _LARGEST)
    if len(found) != value.size:
        raise InputError(
            f"this secret has not the {value.size} bytes that it should have",
            code="policy.secret",
            where=path,
            remedy="name the file that has the secret and nothing else, not in hex or base64",
        )
    return Secret(found)
