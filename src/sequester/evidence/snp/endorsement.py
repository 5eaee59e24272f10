"""The certificate of the key that signs reports: a chip's (VCEK) or a cloud provider's (VLEK), and what it names.

Extensions under 1.3.6.1.4.1.3704.1 (KDS specification 57230, table 8): .1 version, .2 product, .3.N security versions,
.4 chip ID, .5 cloud provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sequester.errors import InputError
from sequester.evidence.certificates import describe_subject, read
from sequester.evidence.snp.products import line_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate

VCEK, VLEK = "SEV-VCEK", "SEV-VLEK"
"""Common names of the two."""
_ARC = "1.3.6.1.4.1.3704.1."
_COMPONENTS = {
    "3.1": "boot-loader",
    "3.2": "tee",
    "3.3": "snp",
    "3.4": "reserved-4",
    "3.5": "reserved-5",
    "3.6": "reserved-6",
    "3.7": "reserved-7",
    "3.8": "microcode",
    "3.9": "fmc",
}
_NEEDED = ("boot-loader", "tee", "snp", "microcode")
_CHIP_ID_SIZES = (64, 8)
_INTEGER, _OCTETS, _IA5 = 0x02, 0x04, 0x16
_LONGEST = 0x7F


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A VCEK or VLEK: `name` tells which, `key` is on P-384, `product` as the certificate spells it.

    `line` is the product line, '' for an unknown one; `tcb` has security versions by component, without reserved ones
    that are zero; `chip_id` is b"" in a VLEK, `provider` '' in a VCEK.
    """

    der: bytes
    certificate: Certificate
    name: str
    key: EllipticCurvePublicKey
    product: str
    line: str
    tcb: Mapping[str, int]
    chip_id: bytes
    provider: str


@lru_cache(maxsize=4096)
def endorsement(der: bytes) -> Endorsement:
    """Read the certificate of a key that signs reports. Raises InputError for another, or one that is malformed."""
    found = read(der)
    if len(found.certificates) != 1:
        raise _fault("it is not one certificate")
    return _endorsement(der, found.certificates[0])


def is_one(certificate: Certificate) -> bool:
    """Tell whether a certificate says that it is a VCEK or VLEK."""
    return describe_subject(certificate) in (VCEK, VLEK)


def _endorsement(der: bytes, certificate: Certificate) -> Endorsement:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Version

    name = describe_subject(certificate)
    if name not in (VCEK, VLEK):
        raise _fault(f"'{name}' is neither {VCEK} nor {VLEK}")
    if certificate.version is not Version.v3:
        raise _fault("it is not of version 3")
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise _fault("its key is not on P-384")
    told = _extensions(certificate)
    versions = {part: _byte(told[oid], part) for oid, part in _COMPONENTS.items() if oid in told}
    missing = [part for part in _NEEDED if part not in versions]
    if missing:
        raise _fault(f"it names no security version of {missing[0]}")
    product = _text(told["2"], "product") if "2" in told else ""
    chip_id = _chip_id(told["4"]) if "4" in told else b""
    provider = _text(told["5"], "provider") if "5" in told else ""
    if bool(chip_id) == bool(provider) or (name == VCEK) != bool(chip_id):
        raise _fault(f"a {name} names {'its chip' if name == VCEK else 'its provider'} and nothing else")
    kept = {part: value for part, value in versions.items() if value or not part.startswith("reserved")}
    return Endorsement(der, certificate, name, key, product, line_of(product), kept, chip_id, provider)


def _extensions(certificate: Certificate) -> dict[str, bytes]:
    from cryptography.x509 import UnrecognizedExtension

    told: dict[str, bytes] = {}
    for each in certificate.extensions:
        oid = each.oid.dotted_string
        value: Any = each.value
        if oid.startswith(_ARC) and isinstance(value, UnrecognizedExtension):
            told[oid.removeprefix(_ARC)] = value.value
        elif each.critical and oid not in ("2.5.29.15", "2.5.29.19"):
            raise _fault(f"its critical extension {oid} is not known")
    return told


def _contents(value: bytes, tag: int, what: str) -> bytes:
    """Return the contents of one short DER value, exactly."""
    if len(value) < 3 or value[0] != tag or value[1] > _LONGEST or len(value) != 2 + value[1]:
        raise _fault(f"its {what} is not encoded as it should be")
    return value[2:]


def _byte(value: bytes, what: str) -> int:
    contents = _contents(value, _INTEGER, what)
    number = int.from_bytes(contents, "big", signed=True)
    minimal = len(contents) == 1 or (len(contents) == 2 and contents[0] == 0 and contents[1] > 0x7F)
    if not minimal or not 0 <= number <= 0xFF:
        raise _fault(f"its security version of {what} is not a number from 0 to 255")
    return number


def _text(value: bytes, what: str) -> str:
    contents = _contents(value, _IA5, what)
    if not all(0x20 <= byte < 0x7F for byte in contents):
        raise _fault(f"its {what} is not printable")
    return contents.decode("ascii")


def _chip_id(value: bytes) -> bytes:
    """Return the chip ID: AMD's service gives it bare, or as an octet string."""
    if len(value) in _CHIP_ID_SIZES:
        return value
    contents = _contents(value, _OCTETS, "chip ID")
    if len(contents) not in _CHIP_ID_SIZES:
        raise _fault(f"its chip ID has {len(contents)} bytes")
    return contents


def _fault(why: str) -> InputError:
    return InputError("this is no certificate of a key that signs reports", code="evidence.snp.key", why=why)
