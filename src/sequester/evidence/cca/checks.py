"""Who signed a token, and what a policy and the reference values ask of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed, skipped
from sequester.evidence.cca import corim
from sequester.evidence.cca.cbor import CborError
from sequester.evidence.cca.keys import of_claim, of_document, verifies
from sequester.evidence.cca.token import LIFECYCLES, Token
from sequester.evidence.certificates import is_simulated
from sequester.evidence.papers import papers
from sequester.evidence.policy import Policy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

REGISTERS = {"rim": "RIM", **{f"rem{number}": "" for number in range(4)}}
_SECURED, _DEBUGS = 0x30, (0x40, 0x50)
_HASHES = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}


@dataclass(slots=True)
class Anchors:
    """Keys that are trusted, those of simulated platforms apart, and reference values."""

    keys: list[EllipticCurvePublicKey] = field(default_factory=list)
    simulated: list[EllipticCurvePublicKey] = field(default_factory=list)
    reference: corim.Reference = field(default_factory=corim.Reference)
    faults: list[str] = field(default_factory=list)


def anchors(documents: tuple[bytes, ...]) -> Anchors:
    """Sort documents: public keys in PEM or JWK, CoRIMs, and certificates of simulated platforms' keys."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    found = Anchors()
    for document in documents:
        found.keys += of_document(document)
        if document.startswith(corim.HEAD):
            try:
                told = corim.read(document)
            except CborError as error:
                found.faults.append(f"a CoRIM is not used: {error}")
                continue
            found.reference.software |= told.software
            found.reference.anchors += told.anchors
    for certificate in papers(documents)[0].certificates:
        key = certificate.public_key()
        if is_simulated(certificate) and isinstance(key, EllipticCurvePublicKey):
            found.simulated.append(key)
    return found


def checked(token: Token, known: Anchors, policy: Policy) -> Iterator[Check]:
    """Answer SIGNATURE (the realm's), CHAIN (the platform's by an anchor), SIMULATED and BINDING."""
    try:
        key = of_claim(token.realm.claims[44237])
    except ValueError as error:
        yield failed(
            criteria.SIGNATURE, f"the realm's key: {error}", "a key on P-256, P-384 or P-521", "claim 44237"
        )
    else:
        realm = token.realm
        if verifies(key, realm.algorithm, realm.signature, realm.signed):
            yield passed(criteria.SIGNATURE, "the realm's token, by the realm's key")
        else:
            yield failed(
                criteria.SIGNATURE, "the realm's token is not by the realm's key", "one that is", "realm"
            )
    yield from _anchored(token, known, policy)
    yield _bound(token)


def _anchored(token: Token, known: Anchors, policy: Policy) -> Iterator[Check]:
    platform = token.platform
    instance, implementation = platform.claims[256], platform.claims[2396]
    own = [key for of, name, key in known.reference.anchors if (of, name) == (implementation, instance)]

    def signs(key: EllipticCurvePublicKey) -> bool:
        return verifies(key, platform.algorithm, platform.signature, platform.signed)

    if any(signs(key) for key in (*own, *known.keys)):
        yield passed(
            criteria.CHAIN, f"the platform's token, by a trust anchor; instance {instance[1:9].hex()}…"
        )
        yield passed(criteria.SIMULATED, "the trust anchor is not a simulated platform's")
    elif any(signs(key) for key in known.simulated):
        if policy.simulated:
            yield passed(
                criteria.CHAIN, "the platform's token, by a simulated platform, which the policy trusts"
            )
            yield skipped(
                criteria.SIMULATED, "simulated, which the policy allows: this guest is not protected"
            )
        else:
            yield skipped(criteria.CHAIN, "it is by a simulated platform")
            yield failed(criteria.SIMULATED, "the platform is simulated", "a real one")
    else:
        had = len(own) + len(known.keys) + len(known.simulated)
        said = (
            f"none of {had} trust anchors signed the platform's token" if had else "there is no trust anchor"
        )
        yield failed(
            criteria.CHAIN,
            f"{said}{f'; {known.faults[0]}' if known.faults else ''}",
            "the platform's attestation key (CPAK), as its maker endorses it",
            "platform",
            "give the key in PEM, JWK or a CoRIM with --collateral",
        )
        yield skipped(criteria.SIMULATED, "no trust anchor says whether it is")
    why = "a trust anchor is handed in, and vouched for by whoever does that"
    for criterion in (criteria.VALIDITY, criteria.REVOCATION, criteria.FRESHNESS):
        yield skipped(criterion, why)


def _bound(token: Token) -> Check:
    """Whether the platform vouches for this realm's key: its challenge is the key's digest."""
    claims = token.realm.claims
    name = _HASHES.get(claims[44240])
    if name is None:
        return failed(criteria.BINDING, f"hash '{claims[44240][:20]}'", " or ".join(_HASHES), "claim 44240")
    digest = hashlib.new(name, claims[44237]).digest()
    if token.platform.claims[10] != digest:
        return failed(
            criteria.BINDING, "the platform vouches for another realm's key", digest.hex(), "claim 10"
        )
    return passed(criteria.BINDING, "the platform vouches for this realm's key")


def demanded(token: Token, known: Anchors, policy: Policy) -> Iterator[Check]:
    """Answer TCB, PLATFORM_INFO, DEBUG, REPORT_DATA, MEASUREMENT and GUEST_DATA."""
    own = policy.of("cca")
    yield _software(token, known)
    yield _platform(token, own)
    yield _lifecycle(token, policy)
    yield passed(criteria.MIGRATION, "realms cannot be moved")
    yield _challenge(token, policy)
    yield from _measured(token, policy)
    yield _personal(token, own)


def _software(token: Token, known: Anchors) -> Check:
    implementation = token.platform.claims[2396]
    good = {(digest, signer) for of, digest, signer in known.reference.software if of == implementation}
    names = ", ".join(str(each.get(1, "?"))[:20] for each in token.components)
    if not good:
        return skipped(
            criteria.TCB, f"{names}; there are no reference values for this implementation (CoRIM)"
        )
    for each in token.components:
        if (each[2], each[5]) not in good and (each[2], b"") not in good:
            found = f"{str(each.get(1, '?'))[:20]} {each[2].hex()}"
            return failed(criteria.TCB, found, "one of the reference values", "claim 2399")
    return passed(criteria.TCB, names, "claim 2399")


def _platform(token: Token, own: Mapping[str, Any]) -> Check:
    for name, number in (("implementations", 2396), ("instances", 256)):
        value = token.platform.claims[number]
        if name in own and value not in own[name]:
            return failed(criteria.PLATFORM_INFO, value.hex(), own[name][0].hex(), f"claim {number}")
    if not {"implementations", "instances"} & own.keys():
        return skipped(criteria.PLATFORM_INFO, "the policy names no platform")
    return passed(criteria.PLATFORM_INFO, "one of the platforms of the policy")


def _lifecycle(token: Token, policy: Policy) -> Check:
    value = token.platform.claims[2395]
    state = value >> 8
    said = f"lifecycle {value:#x}, {LIFECYCLES.get(state, 'unknown')}"
    if state == _SECURED:
        return passed(criteria.DEBUG, said, "claim 2395")
    if policy.debug and state in _DEBUGS:
        return skipped(criteria.DEBUG, f"{said}, which the policy allows")
    return failed(criteria.DEBUG, said, "secured (0x3000 to 0x30ff)", "claim 2395")


def _challenge(token: Token, policy: Policy) -> Check:
    expected = policy.report_data
    if expected is None:
        return skipped(criteria.REPORT_DATA, "the policy has no report-data: this may be old evidence")
    if token.challenge != expected.ljust(64, b"\0"):
        wanted = expected.ljust(64, b"\0").hex()
        return failed(criteria.REPORT_DATA, token.challenge.hex(), wanted, "the realm's claim 10")
    return passed(criteria.REPORT_DATA, f"{token.challenge[:8].hex()}…", "the realm's claim 10")


def _measured(token: Token, policy: Policy) -> Iterator[Check]:
    asked = [name for name in REGISTERS if name in policy.measurements]
    had = token.measurements
    if "rim" not in asked:
        yield skipped(
            criteria.MEASUREMENT, f"RIM {had['rim'][:8].hex()}…; the policy names none: any guest will do"
        )
    for name in asked:
        acceptable = policy.measurements[name]
        if had[name] in acceptable:
            yield passed(criteria.MEASUREMENT, f"{name} {had[name][:8].hex()}…")
        else:
            yield failed(criteria.MEASUREMENT, f"{name} {had[name].hex()}", acceptable[0].hex(), name)


def _personal(token: Token, own: Mapping[str, Any]) -> Check:
    found, expected = token.realm.claims[44235], own.get("personalization")
    if expected is None:
        return skipped(criteria.GUEST_DATA, "the policy asks for none")
    if found != expected.ljust(64, b"\0"):
        return failed(criteria.GUEST_DATA, found.hex(), expected.ljust(64, b"\0").hex(), "claim 44235")
    return passed(criteria.GUEST_DATA, "the personalization value", "claim 44235")
