"""Reference values and trust anchors of CCA platforms in a CoRIM (draft-ietf-rats-corim), unsigned.

CBOR with tag 501; in its map 1 has the tags, of which those with tag 506 are CoMIDs in bytes: 4 their triples, 0
reference values (an environment, and measurements with key 0, the kind, and value 1: 2 digests, 4 raw value, 13
signers), 3 attestation keys (an environment, and keys, tag 554 in PEM). Of an environment 0 is the class, whose 0 is
the implementation, and 1 the instance. A signed CoRIM is for its own verifier to unwrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sequester.evidence.cca.cbor import CborError, Tagged, decode
from sequester.evidence.cca.keys import of_pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

HEAD = b"\xd9\x01\xf5"
LARGEST = 1 << 20
_TAG, _COMID, _PEM, _IMPLEMENTATION, _INSTANCE, _BYTES = 501, 506, 554, 560, 550, 560


@dataclass(slots=True)
class Reference:
    """What is known of platforms: (implementation, digest, signer) of good software, and keys by instance."""

    software: set[tuple[bytes, bytes, bytes]] = field(default_factory=set)
    anchors: list[tuple[bytes, bytes, EllipticCurvePublicKey]] = field(default_factory=list)
    """Implementation, instance, key."""


def read(document: bytes) -> Reference:
    """Read a CoRIM. Raises CborError for what is none, or has something in it that is not understood."""
    told = decode(document) if len(document) <= LARGEST else None
    if not isinstance(told, Tagged) or told.tag != _TAG or not isinstance(told.value, dict):
        raise CborError("it is no unsigned CoRIM")
    found = Reference()
    for each in _list(told.value.get(1), "tags"):
        if isinstance(each, Tagged) and each.tag == _COMID and isinstance(each.value, bytes):
            _comid(decode(each.value), found)
    return found


def _comid(told: Any, found: Reference) -> None:
    triples = told.get(4) if isinstance(told, dict) else None
    if not isinstance(triples, dict):
        raise CborError("a CoMID has no triples")
    for environment, measurements in _pairs(triples.get(0, []), "reference values"):
        implementation, _ = _environment(environment)
        for digest, signer in _software(measurements):
            found.software.add((implementation, digest, signer))
    for environment, keys in _pairs(triples.get(3, []), "attestation keys"):
        implementation, instance = _environment(environment)
        if not instance:
            raise CborError("an attestation key is of no instance")
        for key in _list(keys, "keys"):
            if not isinstance(key, Tagged) or key.tag != _PEM or not isinstance(key.value, str):
                raise CborError("an attestation key is not in PEM")
            try:
                found.anchors.append((implementation, instance, of_pem(key.value.encode())))
            except ValueError as error:
                raise CborError(f"an attestation key: {error}") from None


def _environment(told: Any) -> tuple[bytes, bytes]:
    """Return an environment's implementation and instance. CborError for one without a class."""
    of_class = told.get(0) if isinstance(told, dict) else None
    implementation = of_class.get(0) if isinstance(of_class, dict) else None
    if not isinstance(implementation, Tagged) or implementation.tag != _IMPLEMENTATION:
        raise CborError("an environment has no implementation for its class")
    instance = told.get(1)
    raw = instance.value if isinstance(instance, Tagged) and instance.tag == _INSTANCE else b""
    if not isinstance(implementation.value, bytes) or not isinstance(raw, bytes):
        raise CborError("an environment's values are no bytes")
    return implementation.value, raw


def _software(measurements: Any) -> Iterator[tuple[bytes, bytes]]:
    for each in _list(measurements, "measurements"):
        value = each.get(1) if isinstance(each, dict) else None
        if not isinstance(value, dict):
            raise CborError("a measurement has no value")
        if 2 not in value:
            continue  # the platform's configuration, a raw value
        signers = [
            signer.value if isinstance(signer, Tagged) else signer
            for signer in _list(value.get(13, [b""]), "signers")
        ]
        for digest in _list(value[2], "digests"):
            if not isinstance(digest, list) or len(digest) != 2 or not isinstance(digest[1], bytes):
                raise CborError("a digest is none")
            for signer in signers:
                yield digest[1], signer if isinstance(signer, bytes) else b""


def _pairs(told: Any, what: str) -> Iterator[tuple[Any, Any]]:
    for each in _list(told, what):
        if not isinstance(each, list) or len(each) < 2:
            raise CborError(f"{what} are no pairs")
        yield each[0], each[1]


def _list(told: Any, what: str) -> list[Any]:
    if not isinstance(told, list):
        raise CborError(f"{what} are no list")
    return told
