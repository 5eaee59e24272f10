"""The ultravisor's answer to an attestation request: opened with the machine's key, measured with the request's.

Return codes are those of the call `Retrieve Attestation Measurement` (s390-tools rust/pv_core/src/uvdevice/attest.rs).
"""

from __future__ import annotations

from hashlib import sha256, sha512
from typing import TYPE_CHECKING

from sequester.errors import GuestError, InputError
from sequester.evidence.s390 import exchange as exchanges
from sequester.evidence.s390 import request as requests
from sequester.evidence.s390.checks import SIMULATED, measurement
from sequester.evidence.s390.request import HASH, SLOT, SLOTS_AT
from sequester.measure.host_key import pack_key
from sequester.measure.se_build import slot_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.measure.se_image import Header

_COORDINATE = 80
_KEY_AT = 0x40


def answer(
    request: bytes, header: Header, host: EllipticCurvePrivateKey, user: bytes = b"", guest: bytes = b""
) -> bytes:
    """Return the exchange with the answer for a guest of this image; `guest` tells it apart from others, 7 bytes.

    Raises GuestError where the machine's key does not open the request, InputError where that is none.
    """
    told = requests.parse(request, "request")
    own = sha256(pack_key(host.public_key())).digest()
    opened = (
        requests.open_request(told, _protection(request, told.host_keys.index(own), host))
        if (own in told.host_keys)
        else None
    )
    if opened is None:
        raise GuestError(
            "the simulated ultravisor cannot open the attestation request",
            code="simulator.evidence",
            why="it was made for other machines, or was changed",
        )
    values = {
        "image-host-key": own,
        "request-host-key": own,
        "secret-store": sha512(b"\0").digest(),
        "firmware-state": b"SIMULATED".ljust(320, b"\0"),
    }
    additional = b"".join(values[name] for flag, (name, _) in requests.ADDITIONAL.items() if told.asks(flag))
    uid = (SIMULATED + guest).ljust(exchanges.UID, b"\0")[: exchanges.UID]
    empty = exchanges.parse(exchanges.build(request, bytes(64), additional, user, uid), "exchange")
    measured = header.pld + header.ald + header.tld + header.tag
    return exchanges.build(request, measurement(measured, empty, opened), additional, user, uid)


def _protection(request: bytes, slot: int, host: EllipticCurvePrivateKey) -> bytes:
    """Return the key that protects the request. Raises InputError where the owner's key is no point."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePublicNumbers
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    x, y = (int.from_bytes(request[at : at + _COORDINATE], "big") for at in (_KEY_AT, _KEY_AT + _COORDINATE))
    begin = SLOTS_AT + SLOT * slot
    try:
        shared = slot_key(host, EllipticCurvePublicNumbers(x, y, SECP521R1()).public_key())
        return AESGCM(shared).decrypt(bytes(12), request[begin + HASH : begin + SLOT], None)
    except (ValueError, InvalidTag):
        raise InputError(
            "the owner's key or key slot is damaged", code="evidence.form", where="request"
        ) from None
