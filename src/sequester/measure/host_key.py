"""Host key documents of s390 Secure Execution: whose key will open an image, and whether IBM says so.

A document is an X.509 certificate of a machine's public key, on P-521. An IBM Z host key signing key issued it, and
that key's certificate has a chain of certificates up to a root which the caller trusts. What is checked is what
s390-tools checks (rust/pv/src/verify.rs and verify/helper.rs), at a time that the caller says:

* one signing key is given, and its subject is IBM's: six parts, with a unit that ends in "Key Signing Service";
* its chain, signatures, authorities, strength and validity, up to a root; a current revocation list for each link;
* the document's issuer, key identifier, signature, strength, validity, curve, and a current list of the signing key.

IBM moved: names that differ only in the locality, Armonk or Poughkeepsie, and in the order of their parts, are of one
issuer; a list of Poughkeepsie is good for a signing key of Armonk, not the other way.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.measure.certificates import (
    Papers,
    current_lists,
    describe,
    names_key,
    read_papers,
    signed_by,
    untimely,
    weakness,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate, CertificateRevocationList, Name

IBM = "International Business Machines Corporation"
_SERVICE = "Key Signing Service"
_LOCALITIES = ("Poughkeepsie", "Armonk")
_COORDINATE = 80
_MOST_INTERMEDIATES = 2


@dataclass(frozen=True, slots=True)
class Authority:
    """What documents are held against: the certificates that are trusted, and what else was handed in.

    `revocation` false accepts what no current list is here for; one that is here still counts.
    """

    roots: Papers
    others: Papers
    revocation: bool = True

    @property
    def lists(self) -> tuple[CertificateRevocationList, ...]:
        """Every revocation list."""
        return self.roots.lists + self.others.lists

    def signing_key(self, now: datetime) -> Certificate:
        """Return IBM's signing certificate, its chain checked. Raises InputError where it cannot be trusted."""
        found = [each for each in self.others.certificates if is_signing_key(each.subject)]
        if len(found) != 1:
            raise InputError(
                f"{len(found) or 'no'} certificates of an IBM Z host key signing key were given",
                code="host-key.signing-key",
                remedy="give the one that issued the document, and its intermediate certificates",
            )
        self._check_chain(self._chain(found[0]), now)
        return found[0]

    def _chain(self, leaf: Certificate) -> list[Certificate]:
        chain = [leaf]
        for _ in range(_MOST_INTERMEDIATES + 1):
            last = chain[-1]
            for issuer in (*self.roots.certificates, *self.others.certificates):
                named = issuer.subject == last.issuer and names_key(last, issuer)
                if issuer not in chain and named and signed_by(last, issuer):
                    chain.append(issuer)
                    break
            else:
                break
            if chain[-1] in self.roots.certificates:
                return chain
        raise InputError(
            f"no chain of certificates leads from '{describe(chain[-1].subject)}' to a root that is trusted",
            code="host-key.chain",
            remedy="give the intermediate certificates and the root of the signing key's issuer",
        )

    def _check_chain(self, chain: list[Certificate], now: datetime) -> None:
        for depth, each in enumerate(chain):
            fault = weakness(each) or untimely(each, now) or _unknown_demand(each)
            issuer = chain[min(depth + 1, len(chain) - 1)]
            if depth and not fault:
                fault = _no_authority(each, depth)
            if not fault and issuer is each and not signed_by(each, each):
                fault = "it is no root: it did not sign itself"
            if fault:
                raise InputError(
                    f"the certificate of '{describe(each.subject)}' cannot be trusted: {fault}",
                    code="host-key.chain",
                )
            lists = current_lists(self.lists, issuer, now, lambda one, other: one == other)
            if lists or self.revocation:
                _check_revocation(each, issuer, lists, "host-key.chain")

    def check(self, document: Certificate, now: datetime, where: str = "") -> None:
        """Raise InputError, which names the reason, where a host key document cannot be trusted at this time."""
        signing = self.signing_key(now)

        def fault(what: str, code: str) -> InputError:
            return InputError(what, code=f"host-key.{code}", where=where, remedy="ask for a new document")

        if not _alike(document.issuer, signing.subject, _LOCALITIES):
            raise fault(f"its issuer is not '{describe(signing.subject)}' of IBM", "issuer")
        if not names_key(document, signing):
            raise fault("it was issued with another key than the signing key that was given", "issuer")
        if not signed_by(document, signing):
            raise fault("the signing key did not sign it", "signature")
        if late := untimely(document, now):
            raise fault(f"{late}", "expired")
        if weak := weakness(document) or _unknown_demand(document):
            raise fault(f"{weak}", "key")
        public_key(document, where)
        lists = current_lists(self.lists, signing, now, _is_list_of)
        if lists or self.revocation:
            _check_revocation(document, signing, lists, "host-key", where)


def read_authority(roots: Iterable[str], others: Iterable[str]) -> Authority:
    """Read what documents are held against: files of roots, and of other certificates and revocation lists."""
    return Authority(read_papers(roots), read_papers(others))


def read_document(path: str) -> Certificate:
    """Read a host key document. Raises InputError for a file that is none, without a check of who issued it."""
    found = read_papers((path,)).certificates
    if not found:
        raise InputError("this holds no certificate", code="host-key.document", where=path)
    public_key(found[0], path)
    return found[0]


def public_key(document: Certificate, where: str = "") -> EllipticCurvePublicKey:
    """Return the machine's key. Raises InputError where it is not on P-521."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    key = document.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp521r1":
        raise InputError(
            "a host key is on the curve P-521, and this is not", code="host-key.key", where=where
        )
    return key


def pack_key(key: EllipticCurvePublicKey) -> bytes:
    """Return a public key as the ultravisor takes it: X and Y, big-endian, 80 bytes each."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(_COORDINATE, "big") + numbers.y.to_bytes(_COORDINATE, "big")


def key_hash(document: Certificate) -> bytes:
    """Return the SHA-256 of the machine's key, by which a key slot of an image's header names it."""
    return sha256(pack_key(public_key(document))).digest()


def is_signing_key(subject: Name) -> bool:
    """Tell whether a certificate's subject is that of IBM's host key signing keys."""
    from cryptography.x509.oid import NameOID

    parts = {attribute.oid: attribute.value for attribute in subject}
    wanted = {
        NameOID.COUNTRY_NAME: ("US",),
        NameOID.STATE_OR_PROVINCE_NAME: ("New York",),
        NameOID.LOCALITY_NAME: _LOCALITIES,
        NameOID.ORGANIZATION_NAME: (IBM,),
        NameOID.COMMON_NAME: (IBM,),
    }
    unit = str(parts.get(NameOID.ORGANIZATIONAL_UNIT_NAME, ""))
    ours = all(parts.get(oid) in values for oid, values in wanted.items())
    return ours and unit.endswith(_SERVICE) and len(list(subject)) == len(wanted) + 1


def _alike(one: Name, other: Name, localities: tuple[str, ...] = ()) -> bool:
    """Tell whether two names have the same parts in any order; `localities` count as one."""
    from cryptography.x509.oid import NameOID

    def parts(name: Name) -> list[tuple[str, str]]:
        found = []
        for attribute in name:
            same = attribute.oid == NameOID.LOCALITY_NAME and attribute.value in localities
            found.append((attribute.oid.dotted_string, localities[0] if same else str(attribute.value)))
        return sorted(found)

    return parts(one) == parts(other)


def _is_list_of(issuer: Name, subject: Name) -> bool:
    from cryptography.x509.oid import NameOID

    moved = any(part.value == "Armonk" for part in subject.get_attributes_for_oid(NameOID.LOCALITY_NAME))
    return _alike(issuer, subject, _LOCALITIES if moved else ())


def _no_authority(certificate: Certificate, depth: int) -> str:
    """Return why a certificate cannot be an authority's, with `depth` - 1 authorities below it; or ''."""
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, KeyUsage

    try:
        constraints = certificate.extensions.get_extension_for_class(BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(KeyUsage).value
    except ExtensionNotFound:
        return "it does not say that it is an authority's"
    if not constraints.ca or not usage.key_cert_sign or not usage.crl_sign:
        return "it is no authority's"
    if constraints.path_length is not None and constraints.path_length < depth - 1:
        return f"it allows {constraints.path_length} authorities below it"
    return ""


def _unknown_demand(certificate: Certificate) -> str:
    from cryptography.x509.oid import ExtensionOID

    known = (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in known:
            return f"its critical extension {extension.oid.dotted_string} is not understood"
    return ""


def _check_revocation(
    certificate: Certificate,
    issuer: Certificate,
    lists: tuple[CertificateRevocationList, ...],
    code: str,
    where: str = "",
) -> None:
    if not lists:
        raise InputError(
            f"no current revocation list of '{describe(issuer.subject)}' was given",
            code=f"{code}.no-list" if code == "host-key" else code,
            where=where,
            remedy="get the one that the certificate's CRL distribution point names",
        )
    for each in lists:
        if each.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise InputError(
                f"the certificate of '{describe(certificate.subject)}' was revoked",
                code=f"{code}.revoked" if code == "host-key" else code,
                where=where,
            )
