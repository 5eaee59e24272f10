"""Reads a policy from TOML: strictly, so that a key that is misspelled never asks for less than was meant.

The keys are those of `Policy` with hyphens, and a table for each platform with what only that one has::

    debug = false
    report-data = "00112233"
    [measurements]
    measurement = ["8f01..."]
    [minimum-tcb]
    snp = 22
    [sev-snp]
    vmpl = 0
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from sequester.errors import InputError
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, Read, flag, number, octets, some, table, word
from sequester.evidence.recognise import kinds
from sequester.formats.toml_scan import Path, scan

MAX_BYTES = 1 << 20
_DIGEST = octets(16, 64)
"""Of 16 bytes is the tag of a Secure Execution image."""
_LARGEST_SVN = 0xFFFF
_AT = re.compile(r" *\(at (?:line (\d+), column \d+|end of document)\)")


def registers() -> dict[str, Read]:
    """Return the measured registers of all kinds."""
    return {name: some(_DIGEST) for kind in kinds() for name in kind.REGISTERS}


def components() -> dict[str, Read]:
    """Return the TCB components of all kinds."""
    return {name: number(_LARGEST_SVN) for kind in kinds() for name in kind.TCB_COMPONENTS}


KEYS: Mapping[str, Key] = {
    "debug": Key(flag, "accept guests that their host may debug"),
    "simulated": Key(flag, "accept evidence under a simulated root"),
    "migration": Key(flag, "accept guests that a migration agent may move"),
    "revocation": Key(flag, "false: accept certificates where nobody can tell whether they were revoked"),
    "report-data": Key(octets(0, 64), "what the evidence must carry, padded with zeros"),
    "tcb-statuses": Key(some(word()), "Intel's TCB statuses that will do"),
    "advisories": Key(some(word()), "Intel's advisories that are accepted by name"),
    "measurements": Key(table(registers, "measured registers"), "acceptable values, by register"),
    "minimum-tcb": Key(table(components, "TCB components"), "least security versions, by component"),
}
"""Keys of a policy that are not a platform's own."""


def read_policy(data: bytes, name: str) -> Policy:
    """Read a policy. Raises InputError naming file, line and key."""
    text, lines = _text(data, name)
    told = _parsed(text, name)
    reader = _Reader(name, lines)
    own = {key: value for key, value in told.items() if not isinstance(value, dict) or key in KEYS}
    values = reader.read(own, KEYS, ())
    known = platform_keys()
    platforms: dict[str, Mapping[str, Any]] = {}
    for platform, value in told.items():
        if platform in own:
            continue
        if platform not in known:
            reader.refuse((platform,), f"there is no table '{platform[:40]}'", (*KEYS, *known))
        platforms[platform] = reader.read(value, known[platform], (platform,))
    return Policy(
        **{key.replace("-", "_"): value for key, value in values.items()},
        platforms=platforms,
    )


def platform_keys() -> dict[str, dict[str, Key]]:
    """Return the keys of each platform's own table."""
    found: dict[str, dict[str, Key]] = {}
    for kind in kinds():
        found.setdefault(kind.PLATFORM, {}).update(kind.POLICY_KEYS)
    return found


class _Reader:
    """Reads the values of one file."""

    def __init__(self, name: str, lines: Mapping[Path, int]) -> None:
        self._name = name
        self._lines = lines

    def read(self, told: Mapping[str, Any], keys: Mapping[str, Key], path: Path) -> dict[str, Any]:
        """Return the values of one table."""
        found = {}
        for name, value in told.items():
            if name not in keys:
                self.refuse((*path, name), f"there is no key '{name[:40]}'", keys)
            try:
                found[name] = keys[name].read(value)
            except ValueError as error:
                raise InputError(
                    f"{name} is not what it should be",
                    code="policy.value",
                    where=self._where((*path, name)),
                    remedy=f"it is {error}",
                ) from None
        return found

    def refuse(self, path: Path, what: str, known: Any) -> None:
        """Raise InputError for a key that is not known, with those that are."""
        raise InputError(
            what, code="policy.key", where=self._where(path), remedy=f"known are: {', '.join(known)}"
        )

    def _where(self, path: Path) -> str:
        line = self._lines.get(path)
        return f"{self._name}:{line}" if line else self._name


def _text(data: bytes, name: str) -> tuple[str, Mapping[Path, int]]:
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{len(data)} bytes are too many for a policy",
            code="input.size",
            where=name,
            remedy=f"at most {MAX_BYTES} bytes are read",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "this is not UTF-8 text", code="input.encoding", where=f"{name}:{line}", remedy="save it as UTF-8"
        ) from None
    return text, scan(text, name).lines


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        raise InputError(
            "this is not TOML",
            code="input.syntax",
            where=f"{name}:{line}",
            why=_AT.sub("", str(error)),
        ) from None
