"""Arm CCA played: the realm's measurement, and the token that its monitor and platform sign for it.

A token is CBOR with tag 399: the platform's token under 44234 and the realm's under 44241, each a COSE_Sign1 on
P-384 (Arm Realm Management Monitor specification 1.0, DEN0137, A7.2; draft-ffm-rats-cca-token).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError, InputError
from sequester.simulator import migration
from sequester.simulator.certificates import Issuer, Subject, pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

BLOCKED = "RME: migration is not implemented"
"""In the proposed QEMU patches, from the start."""
LIFECYCLE_SECURED = 0x3000

_PROFILE, _CHALLENGE = 265, 10
_PLATFORM_PROFILE = "tag:arm.com,2023:cca_platform#1.0.0"
_REALM_PROFILE = "tag:arm.com,2023:realm#1.0.0"
_TOKEN_TAG, _SIGN1_TAG = 399, 18
_PLATFORM, _REALM = 44234, 44241
_ALGORITHM, _ES384 = 1, -35
_EC2, _P384 = 2, 2
_IMPLEMENTATION = sha256(b"SIMULATED implementation").digest()
_COMPONENTS = ("BL", "RMM", "TF-A")


def simulated(plan: Plan, identity: Identity, _random: Random, now: datetime) -> SimulatedCca:
    """Return a guest's realm before it starts."""
    return SimulatedCca(plan, identity, now)


class SimulatedCca:
    """One guest's realm."""

    engaged = True

    def __init__(self, plan: Plan, identity: Identity, now: datetime) -> None:
        self._plan = plan
        self._identity = identity
        self._now = now
        self._rim: bytes | None = None
        self._unmeasured = ""
        self.handlers = migration.handlers(lambda: BLOCKED)
        self.notes: tuple[str, ...] = ()

    def begin(self) -> None:
        """RMI_REALM_CREATE to RMI_REALM_ACTIVATE: work out the initial measurement."""
        from sequester.measuring import measure

        algorithm = self._plan.limitation.value("measurement-algorithm")
        try:
            register = measure(self._plan).registers[0]
        except InputError as error:
            self._unmeasured = str(error)
            self.notes = (f"the realm was not measured and there is no token: {self._unmeasured}",)
            return
        self._rim = register.value
        if self._rim is None:
            self._rim = bytes(32 if algorithm == "sha256" else 64)
            self.notes = (f"RIM is zero in tokens: {register.unknown}",)

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """A realm is one from its start to its end."""

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return a token for a challenge of 64 bytes, and a certificate of the platform's key that says SIMULATED."""
        if self._rim is None:
            raise GuestError("this guest has no evidence", code="simulator.evidence", why=self._unmeasured)
        from cryptography.hazmat.primitives.hashes import SHA384

        platform = self._identity.curve_key("cca-platform", "secp384r1")
        realm = self._identity.curve_key("cca-realm", "secp384r1")
        tokens = self._tokens(report_data.ljust(64, b"\0"), platform, realm)
        vendor = Issuer(Subject("SIMULATED CCA platform"), platform, SHA384())
        return {"token.cbor": tokens, "platform.pem": pem(vendor.own(self._now))}

    def _tokens(
        self, challenge: bytes, platform: EllipticCurvePrivateKey, realm: EllipticCurvePrivateKey
    ) -> bytes:
        import cbor2

        key = _cose_key(realm)
        realm_claims = {
            _CHALLENGE: challenge,
            _PROFILE: _REALM_PROFILE,
            44235: self._plan.limitation.value("personalization-value") or bytes(64),
            44236: "sha-256" if len(self._rim or b"") == 32 else "sha-512",
            44237: key,
            44238: self._rim,
            44239: [bytes(len(self._rim or b""))] * 4,
            44240: "sha-256",
        }
        instance = sha256(_cose_key(platform)).digest()
        platform_claims = {
            _CHALLENGE: sha256(key).digest(),
            _PROFILE: _PLATFORM_PROFILE,
            256: b"\x01" + instance,
            2395: LIFECYCLE_SECURED,
            2396: _IMPLEMENTATION,
            2399: [_component(name) for name in _COMPONENTS],
            2400: "SIMULATED",
            2401: b"SIMULATED",
            2402: "sha-256",
        }
        both = {_PLATFORM: _sign1(platform, platform_claims), _REALM: _sign1(realm, realm_claims)}
        return cbor2.dumps(cbor2.CBORTag(_TOKEN_TAG, both), canonical=True)


def _component(name: str) -> dict[int, Any]:
    """Return a software component's claims: type, measurement, version, signer and hash (draft, 4.6.1)."""
    value, signer = sha256(f"SIMULATED {name}".encode()).digest(), sha256(b"SIMULATED").digest()
    return {1: name, 2: value, 4: "1.0.0", 5: signer, 6: "sha-256"}


def _cose_key(key: EllipticCurvePrivateKey) -> bytes:
    import cbor2

    numbers = key.public_key().public_numbers()
    x, y = numbers.x.to_bytes(48, "big"), numbers.y.to_bytes(48, "big")
    return cbor2.dumps({1: _EC2, -1: _P384, -2: x, -3: y}, canonical=True)


def _sign1(key: EllipticCurvePrivateKey, claims: Mapping[int, Any]) -> bytes:
    """Return a COSE_Sign1 (RFC 9052, 4.2) of claims, by ECDSA with SHA-384."""
    import cbor2
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA384

    protected = cbor2.dumps({_ALGORITHM: _ES384})
    payload = cbor2.dumps(dict(claims), canonical=True)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key.sign(signed, ECDSA(SHA384())))
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    return cbor2.dumps(cbor2.CBORTag(_SIGN1_TAG, [protected, {}, payload, signature]))
