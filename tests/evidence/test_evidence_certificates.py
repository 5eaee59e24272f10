"""Certificates are hostile until a pinned root says otherwise: bounded, strict, and never a traceback."""

from __future__ import annotations

import base64
import struct
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from snp_made import NOW, Vendor, common, der, issued, report, rsa_key, table

from sequester.errors import InputError
from sequester.evidence.certificates import find_path, fingerprint, papers, read
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.verifying import verify

VENDOR = Vendor("Milan")
POLICY = Policy(simulated=True)
LEAF = VENDOR.vcek()
PINS = frozenset({fingerprint(VENDOR.ark)})


def tlv(tag: int, contents: bytes) -> bytes:
    """DER of one value."""
    size = len(contents)
    if size < 128:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents


def nested(depth: int) -> bytes:
    """Sequences within sequences."""
    data = b""
    for _ in range(depth):
        data = tlv(0x30, data)
    return data


def odd_name() -> x509.Certificate:
    """A certificate with an alternative name of a kind that is not supported: an X.400 address."""
    extension = tlv(0x30, tlv(0xA3, b"\x30\x00"))
    return issued(
        VENDOR.ask_name, VENDOR.ask_key, VENDOR.ark_name, VENDOR.ark_key, extensions={"2.5.29.17": extension}
    )


@cache
def hostile() -> dict[str, bytes]:
    """Documents that look like certificates."""
    whole = der(LEAF)
    pem = LEAF.public_bytes(Encoding.PEM)
    return {
        "nothing": b"0",
        "only a head": whole[:4],
        "cut": whole[:700],
        "more behind": whole + b"\0",
        "a length of 4 GiB": b"\x30\x84\xff\xff\xff\xff" + whole[4:],
        "an endless length": b"\x30\x80" + whole[4:],
        "deep": nested(100_000),
        "version 8": whole.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "a list of version 6": VENDOR.revocations(2).replace(b"\x02\x01\x01", b"\x02\x01\x05", 1),
        "a name that nobody has": der(odd_name()),
        "deep in a name": whole.replace(b"SEV-VCEK", nested(4)[:8]),
        "PEM of nothing": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "PEM of junk": b"-----BEGIN CERTIFICATE-----\n" + b"A" * 4000 + b"\n-----END CERTIFICATE-----\n",
        "PEM without an end": pem[:300],
        "many heads": b"-----BEGIN CERTIFICATE-----\n" * 30_000,
        "many heads of lists": b"-----BEGIN X509 CRL-----\n" * 30_000,
        "a list that is none": b"-----BEGIN X509 CRL-----\n"
        + base64.b64encode(whole)
        + b"\n-----END X509 CRL-----\n",
        "nine megabytes": b"\x30\x83\x90\x00\x00" + bytes(9 << 20),
        "a table of itself": table((b"\1" * 16, b"")),
    }


@pytest.mark.parametrize("name", sorted(hostile()))
def test_hostile_documents_are_passed_over(name: str) -> None:
    document = hostile()[name]
    found = verify(report(VENDOR), POLICY, Collateral((document, *VENDOR.documents())), NOW)
    assert found.accepted
    alone = verify(report(VENDOR), POLICY, Collateral((document,)), NOW)
    assert not alone.accepted


def test_a_key_that_would_take_long_to_use_is_refused() -> None:
    class Numbers:
        def __init__(self, bits: int, e: int) -> None:
            self.key = rsa.RSAPublicNumbers(e, (1 << bits) - 1).public_key()

        def public_key(self) -> Any:
            return self.key

    for bits, e in ((16384, 65537), (2048, (1 << 40) + 1)):
        key = Numbers(bits, e)
        made = issued(VENDOR.ask_name, key, VENDOR.ark_name, VENDOR.ark_key, authority=0)
        with pytest.raises(InputError, match="RSA"):
            read(der(made))
        found = verify(report(VENDOR), POLICY, Collateral((der(made), der(LEAF), der(VENDOR.ark))), NOW)
        assert not found.accepted


def test_negative_numbers_and_other_versions_are_refused() -> None:
    whole = bytearray(der(LEAF))
    at = whole.index(b"\xa0\x03\x02\x01\x02")
    old = bytearray(whole)
    old[at + 4] = 0
    negative = bytearray(whole)
    negative[negative.index(b"\x02\x01\x04", at) + 2] = 0x84
    for each in (old, negative):
        assert not verify(
            report(VENDOR), POLICY, Collateral((bytes(each), *VENDOR.documents()[2:])), NOW
        ).accepted


def test_a_certificate_that_names_two_algorithms_is_refused() -> None:
    """What is outside of the signed part may be changed by anybody, and says nothing else than what is inside."""
    for document in (der(LEAF), VENDOR.revocations(2)):
        assert read(document)
        at = document.rindex(b"\xa2\x03\x02\x01\x30")  # the length of the salt
        other = bytearray(document)
        other[at + 4] = 0x31
        with pytest.raises(InputError, match="signature algorithms"):
            read(bytes(other))


def test_a_circle_of_issuers_ends() -> None:
    one, two = common("one"), common("two")
    first = issued(one, rsa_key("one"), two, rsa_key("two"), authority=3)
    second = issued(two, rsa_key("two"), one, rsa_key("one"), authority=3)
    leaf = issued(common("leaf"), LEAF and VENDOR.vcek_key, one, rsa_key("one"))
    assert find_path(leaf, (first, second), PINS).fault


def test_a_crowd_of_issuers_of_one_name_is_bounded() -> None:
    crowd = [
        issued(
            VENDOR.ask_name,
            rsa_key(f"crowd {n % 3}"),
            VENDOR.ark_name,
            VENDOR.ark_key,
            authority=0,
            serial=n + 9,
        )
        for n in range(200)
    ]
    found = find_path(LEAF, (*crowd, VENDOR.ask, VENDOR.ark), PINS)
    assert found.fault
    assert not find_path(LEAF, (*crowd[:9], VENDOR.ask, VENDOR.ark), PINS).fault


def test_an_issuer_whose_key_is_of_another_kind_is_refused() -> None:
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP192R1())):
        issuer = issued(common("odd"), key, VENDOR.ark_name, VENDOR.ark_key, authority=0)
        leaf = issued(common("SEV-VCEK"), VENDOR.vcek_key, common("odd"), VENDOR.ask_key)
        assert find_path(leaf, (issuer, VENDOR.ark), PINS).fault


def test_an_issuer_that_may_not_sign_certificates_is_refused() -> None:
    usage = x509.KeyUsage(True, False, False, False, False, False, True, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(VENDOR.ask_name)
        .issuer_name(VENDOR.ark_name)
        .public_key(VENDOR.ask_key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=9))
        .not_valid_after(NOW + timedelta(days=9))
        .add_extension(x509.BasicConstraints(True, 0), True)
    )
    pss = padding.PSS(padding.MGF1(SHA384()), 48)
    without = builder.add_extension(usage, True).sign(VENDOR.ark_key, SHA384(), rsa_padding=pss)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    odd = builder.add_extension(unknown, True).sign(VENDOR.ark_key, SHA384(), rsa_padding=pss)
    for middle, word in ((without, "may not sign"), (odd, "1.2.3.4")):
        assert word in find_path(LEAF, (middle, VENDOR.ark), PINS).fault


def test_a_name_that_steers_a_terminal_is_spelled_out() -> None:
    from sequester.report.appraisal_text import report as as_text

    name = common("SIMULATED \x1b[2J")
    root = issued(name, VENDOR.ark_key, name, VENDOR.ark_key, authority=1)
    middle = issued(VENDOR.ask_name, VENDOR.ask_key, name, VENDOR.ark_key, authority=0)
    found = verify(report(VENDOR), Policy(), Collateral((der(LEAF), der(middle), der(root))), NOW)
    assert "\x1b" not in as_text([found])


@given(st.data())
def test_damaged_certificates_are_never_accepted_in_place_of_good_ones(data: st.DataObject) -> None:
    which = data.draw(st.sampled_from((LEAF, VENDOR.ask)))
    whole = bytearray(der(which))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(whole) == der(which):
        return
    rest = [der(each) for each in (LEAF, VENDOR.ask, VENDOR.ark) if each is not which]
    assert not verify(report(VENDOR), POLICY, Collateral((bytes(whole), *rest)), NOW).accepted


@given(st.binary(max_size=300).map(lambda tail: b"\x30\x82" + struct.pack(">H", len(tail)) + tail))
def test_any_sequence_is_read_or_passed_over(document: bytes) -> None:
    papers((document, der(VENDOR.ark)))
