"""Host key documents: who issued them, whether they hold, and what is wrong with those that do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from measure_data import DATA

from sequester.errors import InputError
from sequester.measure.host_key import (
    IBM,
    Authority,
    key_hash,
    pack_key,
    read_authority,
    read_document,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CERT = DATA / "s390" / "cert"
OTHERS = ("inter_ca.crt", "inter_ca.crl")


def authority(*names: str) -> Authority:
    if not CERT.exists():
        pytest.skip("no third-party data here (../shared/data/s390/cert)")
    return read_authority((str(CERT / "root_ca.chained.crt"),), [str(CERT / name) for name in names])


def fault(document: str, *names: str, now: datetime = NOW) -> str:
    """Return the code of what is wrong, '' for nothing."""
    found = authority(*OTHERS, *names)
    try:
        found.check(read_document(str(CERT / document)), now, document)
    except InputError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("document", "signing", "revocations", "code"),
    [
        ("host.crt", "ibm.crt", "ibm.crl", ""),
        ("host2.crt", "ibm.crt", "ibm.crl", ""),
        ("host.crt", "der.crt", "der.crl", ""),
        ("host.crt", "ibm_armonk.crt", "ibm.crl", ""),
        ("host.crt", "ibm_armonk.crt", "ibm_armonk.crl", ""),
        ("host_armonk.crt", "ibm_armonk.crt", "ibm_armonk.crl", ""),
        ("host_armonk.crt", "ibm.crt", "ibm.crl", ""),
        ("host.crt", "ibm.crt", "ibm_armonk.crl", "host-key.no-list"),
        ("host_crt_expired.crt", "ibm.crt", "ibm.crl", "host-key.expired"),
        ("host_rev.crt", "ibm.crt", "ibm.crl", "host-key.revoked"),
        ("host_rev.crt", "ibm_armonk.crt", "ibm_armonk.crl", "host-key.revoked"),
        ("host.crt", "ibm.crt", "ibm_wrong_issuer.crl", "host-key.no-list"),
        ("host.crt", "ibm.crt", "ibm_outdated_early.crl", "host-key.no-list"),
        ("inter_ca.crt", "ibm.crt", "ibm.crl", "host-key.key"),
    ],
)
def test_documents_are_judged_as_their_names_tell(
    document: str, signing: str, revocations: str, code: str
) -> None:
    assert fault(document, signing, revocations) == code


def test_certificates_with_their_lists_in_one_file_are_enough() -> None:
    found = authority("inter_ca.chained.crt", "ibm.chained.crt")
    found.check(read_document(str(CERT / "host.crt")), NOW)


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("inter_ca.crt", "inter_ca.crl", "ibm.crl"), "host-key.signing-key"),
        (("inter_ca.crt", "inter_ca.crl", "ibm.crt", "ibm_armonk.crt", "ibm.crl"), "host-key.signing-key"),
        (("inter_ca.crl", "ibm.crt", "ibm.crl"), "host-key.chain"),
        (("inter_ca.crt", "ibm.crt", "ibm.crl"), "host-key.chain"),
    ],
)
def test_a_chain_with_a_part_missing_or_twofold_is_refused(names: tuple[str, ...], code: str) -> None:
    found = authority(*names)
    with pytest.raises(InputError) as error:
        found.check(read_document(str(CERT / "host.crt")), NOW)
    assert error.value.code == code


def test_a_root_that_is_not_trusted_vouches_for_nothing() -> None:
    authority()
    paths = [str(CERT / name) for name in ("root_ca.chained.crt", *OTHERS, "ibm.crt", "ibm.crl")]
    with pytest.raises(InputError, match="no chain of certificates"):
        read_authority((str(CERT / "host2.crt"),), paths).signing_key(NOW)


def test_the_time_is_the_callers() -> None:
    assert fault("host_crt_expired.crt", "ibm.crt", "ibm.crl", now=datetime(2022, 9, 1, tzinfo=UTC)) == (
        "host-key.chain"
    )
    assert fault("host.crt", "ibm.crt", "ibm.crl", now=datetime(2389, 1, 1, tzinfo=UTC)) == "host-key.chain"


def test_one_changed_byte_of_a_document_is_found(tmp_path: Path) -> None:
    found = authority(*OTHERS, "ibm.crt", "ibm.crl")
    good = read_document(str(CERT / "host.crt"))
    data = bytearray(good.public_bytes(Encoding.DER))
    data[data.index(good.signature) + 5] ^= 1
    path = tmp_path / "changed.crt"
    path.write_bytes(data)
    with pytest.raises(InputError, match="did not sign it"):
        found.check(read_document(str(path)), NOW)


def test_documents_of_one_key_name_one_key_slot() -> None:
    authority()
    hashes = {
        each: key_hash(read_document(str(CERT / each)))
        for each in ("host.crt", "host_armonk.crt", "host2.crt")
    }
    assert hashes["host.crt"] == hashes["host_armonk.crt"] != hashes["host2.crt"]


def test_what_is_no_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad"
    for data in (b"", b"\x30\x82", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        path.write_bytes(data)
        with pytest.raises(InputError):
            read_document(str(path))


class Made:
    """A chain of the test's own, each part of which may be spoilt."""

    def __init__(self, **spoilt: object) -> None:
        self.keys = {name: ec.generate_private_key(ec.SECP521R1()) for name in ("root", "ibm", "host")}
        self.spoilt = spoilt

    def certificate(self, subject: str, issuer: str, **basic: object) -> x509.Certificate:
        curve = self.spoilt.get("curve") if subject == "host" else None
        key = ec.generate_private_key(curve) if curve else self.keys[subject]  # type: ignore[arg-type]
        made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(NOW - timedelta(1)).not_valid_after(NOW + timedelta(1))
        if subject == "root":
            ca = not self.spoilt.get("no_authority")
            made = made.add_extension(x509.BasicConstraints(ca, None), True)
            usage = {f"{each}": False for each in USES} | {"key_cert_sign": True, "crl_sign": True}
            made = made.add_extension(x509.KeyUsage(**usage), True)
        if self.spoilt.get("unknown") == subject:
            oid = x509.ObjectIdentifier("1.2.3.4")
            made = made.add_extension(x509.UnrecognizedExtension(oid, b"\5\0"), True)
        return made.sign(self.keys[issuer], hashes.SHA512())

    def revocations(self, issuer: str) -> x509.CertificateRevocationList:
        made = x509.CertificateRevocationListBuilder().issuer_name(name(issuer))
        made = made.last_update(NOW - timedelta(1)).next_update(NOW + timedelta(1))
        return made.sign(self.keys[issuer], hashes.SHA512())

    def check(self, tmp_path: Path) -> None:
        root, others = tmp_path / "root.pem", tmp_path / "others.pem"
        root.write_bytes(self.certificate("root", "root").public_bytes(Encoding.PEM))
        papers = (self.certificate("ibm", "root"), self.revocations("root"), self.revocations("ibm"))
        others.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in papers))
        read_authority((str(root),), (str(others),)).check(self.certificate("host", "ibm"), NOW)


USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)


def name(of: str) -> x509.Name:
    unit = {"ibm": "IBM Z Host Key Signing Service"}.get(of, of)
    parts = (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.STATE_OR_PROVINCE_NAME, "New York"),
        (NameOID.LOCALITY_NAME, "Poughkeepsie"),
        (NameOID.ORGANIZATION_NAME, IBM),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, IBM),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def test_a_chain_without_intermediates_is_taken_as_ibms_tools_take_it(tmp_path: Path) -> None:
    Made().check(tmp_path)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"no_authority": True}, "no authority's"),
        ({"curve": ec.SECP384R1()}, "P-521"),
        ({"unknown": "host"}, "critical extension 1.2.3.4"),
        ({"unknown": "root"}, "critical extension 1.2.3.4"),
    ],
)
def test_spoilt_chains_are_refused_by_reason(tmp_path: Path, spoilt: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Made(**spoilt).check(tmp_path)


def test_a_packed_key_has_its_numbers_in_eighty_bytes_each() -> None:
    key = ec.generate_private_key(ec.SECP521R1()).public_key()
    packed = pack_key(key)
    assert len(packed) == 160
    assert int.from_bytes(packed[:80], "big") == key.public_numbers().x
    assert int.from_bytes(packed[80:], "big") == key.public_numbers().y
