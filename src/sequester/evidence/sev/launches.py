"""What a host tells of a SEV launch that waits for its owner, in the forms in which people have it.

* our own JSON, ``sequester-launch/1`` (`sequester.owner.launch`);
* the answers of QMP's ``query-sev`` and ``query-sev-launch-measure``, one after the other;
* the output of ``virsh domlaunchsecinfo`` (libvirt tools/virsh-domain.c: a name and a value in each line).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sequester.errors import InputError
from sequester.owner.launch import LARGEST, LAUNCH, Launch

_ES = 4
_MOST_ANSWERS = 8
_LINE = re.compile(r"sev-([a-z-]+)\s*: *(\S+)\s*")
_VIRSH = {"api-major", "api-minor", "build-id", "policy"}


def recognises(data: bytes) -> bool:
    """Tell whether bytes tell of a launch: by the words that only such have."""
    if len(data) > LARGEST:
        return False
    if b"sev-measurement" in data and b"sev-policy" in data:
        return True
    if data.lstrip()[:1] != b"{":
        return False
    return b'"sequester-launch/' in data or (b'"build-id"' in data and b'"api-major"' in data)


def read(data: bytes, where: str) -> Launch:
    """Return the launch. Raises InputError where something is missing, twofold or malformed."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _fault("this is no text", where) from None
    if text.lstrip().startswith("{"):
        return _of_json(text, where)
    told: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        found = _LINE.fullmatch(line)
        if found is None or found[1] in told:
            raise _fault(f"'{line[:40]}' is no line of `virsh domlaunchsecinfo`, or there twice", where)
        told[found[1]] = found[2]
    numbers = {name: int(value) for name, value in told.items() if name in _VIRSH and _is_number(value)}
    return _launch(numbers, told.get("measurement"), where)


def _of_json(text: str, where: str) -> Launch:
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    answers: list[Any] = []
    at = 0
    try:
        while at < len(text) and len(answers) < _MOST_ANSWERS:
            told, end = decoder.raw_decode(text, at)
            answers.append(told)
            at = len(text) - len(text[end:].lstrip())
    except (ValueError, RecursionError):
        raise _fault("this is no JSON", where) from None
    if len(answers) == 1 and "schema" in answers[0]:
        return Launch.of(answers[0], where)
    state: Mapping[str, Any] | None = None
    measurement: Any = None
    for each in answers:
        inner = each.get("return", each) if isinstance(each, dict) and "event" not in each else None
        if not isinstance(inner, dict):
            continue
        twofold = ("build-id" in inner and state is not None) or ("data" in inner and measurement is not None)
        if twofold:
            raise _fault("there are two answers to one question", where)
        state = inner if "build-id" in inner else state
        measurement = inner.get("data", measurement)
    if state is None or at < len(text):
        raise _fault("there is no answer of query-sev, or something after it", where)
    return _launch(state, measurement, where)


def _launch(numbers: Mapping[str, Any], measurement: Any, where: str) -> Launch:
    if measurement is None:
        raise _fault("there is no measurement in it", where)
    policy = numbers.get("policy")
    platform = "sev-es" if isinstance(policy, int) and policy & _ES else "sev"
    names = ("policy", "api-major", "api-minor", "build-id")
    told = {name: numbers.get(name) for name in names}
    return Launch.of({"schema": LAUNCH, "platform": platform, "measurement": measurement, **told}, where)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a key is there twice")
    return told


def _is_number(value: str) -> bool:
    return len(value) <= 10 and value.isascii() and value.isdecimal()


def _fault(what: str, where: str) -> InputError:
    return InputError(what, code="evidence.form", where=where)
