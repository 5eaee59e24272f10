"""Arm CCA attestation tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, passed, skipped
from sequester.evidence.cca import token as tokens
from sequester.evidence.cca.token import LIFECYCLES, Token, parse
from sequester.evidence.collateral import Collateral
from sequester.evidence.field import Field
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key, octets, some

if TYPE_CHECKING:
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "cca-token"
PLATFORM = "cca"
TITLE = "Arm CCA attestation token"
REGISTERS = {"rim": "RIM", **{f"rem{number}": "" for number in range(4)}}
TCB_COMPONENTS: tuple[str, ...] = ()
POLICY_KEYS: Mapping[str, Key] = {
    "personalization": Key(octets(0, 64), "the realm's personalization value, padded with zeros"),
    "implementations": Key(some(octets(32)), "implementation IDs of platforms that will do"),
    "instances": Key(some(octets(33)), "instance IDs of platforms that will do"),
}

__all__ = ["parse"]


def recognises(data: bytes) -> bool:
    """Tell whether bytes are a token, by its tag, or its two parts where the tag is damaged."""
    if data.startswith(tokens.HEAD):
        return True
    head = data[:64]
    return b"\x19\xac\xca" in head and len(data) > 400


def claims(evidence: Token) -> Mapping[str, Any]:
    """Return what a token says, fit for JSON: bytes in hex."""
    platform, realm = evidence.platform.claims, evidence.realm.claims
    lifecycle = platform[2395]
    return {
        "challenge": evidence.challenge.hex(),
        "personalization": realm[44235].hex(),
        **{name: value.hex() for name, value in evidence.measurements.items()},
        "hash": realm[44236],
        "profile": platform[265],
        "instance": platform[256].hex(),
        "implementation": platform[2396].hex(),
        "lifecycle": {"value": lifecycle, "state": LIFECYCLES.get(lifecycle >> 8, "unknown")},
        "configuration": platform[2401].hex(),
        "software": [
            {
                "type": str(each.get(1, "")),
                "measurement": each[2].hex(),
                "version": str(each.get(4, "")),
                "signer": each[5].hex(),
            }
            for each in evidence.components
        ],
        "verification-service": str(platform.get(2400, "")),
    }


def fields(evidence: Token) -> Iterator[Field]:
    """Yield the two tokens whole, between what holds them together: a claim has no place of its own in CBOR."""
    told = claims(evidence)
    at = 0
    names = {
        "platform": ("instance", "implementation", "lifecycle", "configuration", "software", "profile"),
        "realm": ("challenge", "personalization", "rim", "rem0", "rem1", "rem2", "rem3", "hash"),
    }
    order = sorted(
        (("platform", evidence.platform.raw), ("realm", evidence.realm.raw)),
        key=lambda part: evidence.data.index(part[1]),
    )
    for name, raw in order:
        start = evidence.data.index(raw, at)
        yield Field("cbor", at, evidence.data[at:start], evidence.data[at:start].hex())
        yield Field(f"{name}-token", start, raw, {each: told[each] for each in names[name]}, "COSE_Sign1")
        at = start + len(raw)
    if at < len(evidence.data):
        yield Field("cbor", at, evidence.data[at:], evidence.data[at:].hex())


def appraise(evidence: Token, collateral: Collateral, policy: Policy, now: datetime) -> Iterator[Check]:
    """Answer every criterion that a token can be asked."""
    from sequester.evidence.cca.checks import anchors, checked, demanded

    yield passed(
        criteria.FORM, f"a platform's and a realm's token, profile {evidence.platform.claims[265][:60]}"
    )
    known = anchors(collateral.everything)
    yield from checked(evidence, known, policy)
    yield from demanded(evidence, known, policy)
    yield skipped(criteria.EVENT_LOG, "REM0 to REM3 are the guest's own: no log of theirs is defined")


def demands(limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Return what the limitation of a plan asks of a token."""
    return {"personalization": limitation.value("personalization-value") or bytes(64)}
