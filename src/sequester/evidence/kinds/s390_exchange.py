"""Attestation of s390 Secure Execution guests, in the exchange files of pvattest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.collateral import Collateral
from sequester.evidence.field import Field
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, octets, secret_file, some
from sequester.evidence.s390 import exchange as exchanges
from sequester.evidence.s390 import request as requests
from sequester.evidence.s390.exchange import Exchange, recognises
from sequester.evidence.s390.request import ADDITIONAL, HASH, SLOT, SLOTS_AT, TAG, Request

if TYPE_CHECKING:
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "s390-exchange"
PLATFORM = "s390-pv"
TITLE = "IBM Secure Execution attestation (pvattest)"
REGISTERS = {"tag": "tag", "pld": "PLD", "ald": "ALD", "tld": "TLD"}
TCB_COMPONENTS: tuple[str, ...] = ()
POLICY_KEYS: Mapping[str, Key] = {
    "arpk": Key(
        some(secret_file(32)), "files of keys that protect requests, as `pvattest create --arpk` writes"
    ),
    "host-keys": Key(some(octets(32)), "SHA-256 of host keys that are trusted without a document"),
    "roots": Key(some(octets(32)), "SHA-256 of root certificates that host key documents may lead to"),
    "firmware-states": Key(some(octets(320)), "states of the firmware that will do"),
    "config-uid": Key(octets(16), "the configuration UID: one guest's, while it runs"),
    "secret-store": Key(octets(64), "hash of the guest's secret store"),
}

__all__ = ["recognises"]


@dataclass(frozen=True, slots=True)
class Attestation:
    """An exchange with what it holds; `request` is None where that is malformed, and `fault` says how."""

    exchange: Exchange
    request: Request | None
    additional: Mapping[str, bytes]
    fault: InputError | None = None


def parse(data: bytes, where: str) -> Attestation:
    """Read an exchange. Raises InputError naming the entry; what is in the request shows in the appraisal."""
    exchange = exchanges.parse(data, where)
    try:
        request = requests.parse(exchange.request, f"{where}: request")
        return Attestation(exchange, request, requests.additional(request, exchange.additional, where))
    except InputError as error:
        return Attestation(exchange, None, {}, error)


def claims(evidence: Attestation) -> Mapping[str, Any]:
    """Return what an attestation says, fit for JSON: bytes in hex."""
    request, exchange = evidence.request, evidence.exchange
    return {
        "answered": exchange.answered,
        "config-uid": exchange.config_uid.hex(),
        "user-data": exchange.user.hex(),
        "measurement": exchange.measurement.hex(),
        **{name: value.hex() for name, value in evidence.additional.items()},
        "host-keys": [each.hex() for each in request.host_keys] if request else [],
        "flags": request.flags if request else 0,
    }


def fields(evidence: Attestation) -> Iterator[Field]:
    """Yield every field, without loss, in order."""
    data = evidence.exchange.data
    yield from _cut(data, 0, (("magic", 8), ("version", 4), ("size", 4), ("reserved", 8)), numbers=(4,))
    for number, name in enumerate(("request", "measurement", "additional", "user", "config-uid")):
        at = 0x18 + 8 * number
        size, offset = (int.from_bytes(data[each : each + 4], "big") for each in (at, at + 4))
        meaning = "not there" if not size else f"{size} bytes{f' at {offset:#x}' if offset else ', to come'}"
        yield Field(f"{name}-entry", at, data[at : at + 8], data[at : at + 8].hex(), meaning)
    for name, offset, size in evidence.exchange.parts:
        raw = data[offset : offset + size]
        if name == "request" and evidence.request is not None:
            yield from _request(evidence.request, raw, offset)
        elif name == "additional" and evidence.additional:
            yield from _cut(data, offset, [(key, len(each)) for key, each in evidence.additional.items()])
        else:
            yield Field(name, offset, raw, raw.hex())


def _request(request: Request, raw: bytes, at: int) -> Iterator[Field]:
    head = (
        *(("request-magic", 8), ("request-version", 4), ("request-size", 4), ("iv", 12), ("reserved-1c", 11)),
        *(("key-slots", 1), ("reserved-28", 4), ("encrypted-size", 4)),
    )
    yield from _cut(raw, at, head, numbers=(1, 4), start=0)
    asked = [name for flag, (name, _size) in ADDITIONAL.items() if request.asks(flag)]
    asked = ["nonce"] * request.asks(requests.NONCE_FLAG) + asked
    yield Field("flags", at + 0x30, raw[0x30:0x38], request.flags, ", ".join(asked))
    yield from _cut(
        raw, at, (("algorithm", 4), ("reserved-3c", 4), ("owner-key", 160)), numbers=(4,), start=0x38
    )
    for number in range(len(request.host_keys)):
        slot = ((f"host-key-{number}", HASH), (f"wrapped-key-{number}", SLOT - HASH))
        yield from _cut(raw, at, slot, start=SLOTS_AT + SLOT * number)
    begin = SLOTS_AT + SLOT * len(request.host_keys)
    yield from _cut(raw, at, (("encrypted", len(raw) - TAG - begin), ("tag", TAG)), start=begin)


def _cut(
    data: bytes,
    at: int,
    names: tuple[tuple[str, int], ...] | list[tuple[str, int]],
    numbers: tuple[int, ...] = (),
    start: int | None = None,
) -> Iterator[Field]:
    """Yield fields one after the other; `start` is where in `data` the first is, if that is not `at`."""
    base = 0 if start is None else at
    place = at if start is None else start
    for name, size in names:
        raw = data[place : place + size]
        yield Field(name, base + place, raw, int.from_bytes(raw, "big") if size in numbers else raw.hex())
        place += size


def appraise(evidence: Attestation, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that an attestation can be asked."""
    from sequester.evidence.s390.checks import answered

    request, exchange = evidence.request, evidence.exchange
    if request is None or evidence.fault is not None:
        what = evidence.fault.what if evidence.fault else "the request is malformed"
        yield failed(criteria.FORM, what, where="request")
        return
    if not exchange.answered:
        yield failed(
            criteria.FORM,
            "this is a request that was not answered",
            "a measurement and a configuration UID",
            remedy="let the guest answer it: `pvattest perform`",
        )
        return
    count = len(request.host_keys)
    opens = f"{count} host key{'s' if count != 1 else ''} can open"
    yield passed(criteria.FORM, f"an answer to a request that {opens}, flags {request.flags:#x}")
    yield from answered(exchange, request, evidence.additional, collateral, policy, now)
    yield skipped(
        criteria.GUEST_POLICY, "the image's control flags are in its header: `sequester measure` shows them"
    )


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return nothing: what a guest's plan says is in its measurement."""
    return {}
