"""The keys and certificates of a simulated EPYC processor: root (ARK), SEV key (ASK), the chip's own (VCEK).

Names of the extensions and what is in them: AMD "VCEK Certificate and KDS Interface Specification" 57230, 1.0, table 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha512
from typing import TYPE_CHECKING

from sequester.simulator.certificates import Issuer, Subject, der, pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.simulator.identity import Identity

_EXTENSION = "1.3.6.1.4.1.3704.1."
_VERSIONS = {"bootloader": 4, "tee": 0, "snp": 23, "microcode": 72, "fmc": 1}
"""Security versions of the firmware that is played."""
_TCB = {
    "Milan": ("bootloader", "tee", "", "", "", "", "snp", "microcode"),
    "Genoa": ("bootloader", "tee", "", "", "", "", "snp", "microcode"),
    "Turin": ("fmc", "bootloader", "tee", "snp", "", "", "", "microcode"),
}
"""Component in each byte of a TCB_VERSION, the lowest first (SNP firmware ABI 1.58, 2.2)."""
_NUMBERS = {"bootloader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}
_SPARE = ("3.4", "3.5", "3.6", "3.7")
_TURIN_ID = 8
"""Bytes of a chip ID that a Turin's certificate names."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip: its key, its ID of 64 bytes, its TCB_VERSION, and the files that reports are verified with."""

    key: EllipticCurvePrivateKey
    chip_id: bytes
    tcb: int
    files: Mapping[str, bytes]


def chip(identity: Identity, product: str, now: datetime) -> Chip:
    """Return the simulated chip of a product line (``Milan``, ``Genoa``, ``Turin``)."""
    from cryptography.hazmat.primitives.hashes import SHA384

    root = Issuer(
        Subject(f"SIMULATED ARK-{product}", "Engineering", 1),
        identity.rsa_key(f"snp-ark-{product.lower()}"),
        SHA384(),
    )
    middle = Issuer(
        Subject(f"SIMULATED SEV-{product}", "Engineering", 0),
        identity.rsa_key(f"snp-ask-{product.lower()}"),
        SHA384(),
    )
    key = identity.curve_key(f"snp-vcek-{product.lower()}", "secp384r1")
    own = sha512(b"SIMULATED chip" + _public(key)).digest()
    if product == "Turin":
        own = own[:_TURIN_ID].ljust(64, b"\0")
    subject = Subject("SEV-VCEK", "SIMULATED", None, _extensions(product, own))
    files = {
        "vcek.der": der(middle.issue(subject, key, now)),
        "chain.pem": pem(root.issue(middle.subject, middle.key, now), root.own(now)),
        "crl.der": root.revocations(now),
    }
    return Chip(key, own, tcb(product), files)


def tcb(product: str) -> int:
    """Return the TCB_VERSION that is played for a product."""
    return int.from_bytes(bytes(_VERSIONS.get(name, 0) for name in _TCB[product]), "little")


def _extensions(product: str, chip_id: bytes) -> dict[str, bytes]:
    spoken = f"{product}-B1".encode()
    found = {"1": _integer(1), "2": b"\x16" + bytes((len(spoken),)) + spoken}
    used = [name for name in _TCB[product] if name]
    found |= {_NUMBERS[name]: _integer(_VERSIONS[name]) for name in used}
    found |= dict.fromkeys(_SPARE, _integer(0))
    found["4"] = chip_id[:_TURIN_ID] if product == "Turin" else chip_id
    return {_EXTENSION + number: value for number, value in found.items()}


def _integer(value: int) -> bytes:
    """Return a number below 128 as DER."""
    return bytes((2, 1, value))


def _public(key: EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(48, "big") + numbers.y.to_bytes(48, "big")
