"""Hostile TDX quotes: keys that are none, certificates of every wrong kind, extensions and tables that lie."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tdx_made import Table, Vendor

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.evidence.tdx.pck import OID, platform
from sequester.evidence.tdx.quote import parse
from sequester.evidence.tdx.signing import endorser, verifies
from sequester.evidence.tdx.tables import TableError, read
from sequester.simulator import tdx_chain
from sequester.simulator.certificates import Issuer, Subject, pem
from sequester.simulator.identity import Identity
from sequester.verifying import verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
TRUSTING = Policy(simulated=True)
_END = b"-----END CERTIFICATE-----\n"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.mktemp("vendor"), NOW)


@pytest.fixture(scope="module")
def collateral(vendor: Vendor) -> Collateral:
    def unchanged(_info: Table, _identity: Table) -> None:
        """Change nothing."""

    return Collateral(vendor.documents(vendor.tables(unchanged)))


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def with_chain(quote: bytes, chain: bytes) -> bytes:
    """Return a quote with other certificates, and lengths that are right."""
    begin = quote.index(b"-----BEGIN")
    signed = len(parse(quote, "quote").signed)
    changed = bytearray(quote[:begin] + chain)
    more = len(chain) - (len(quote) - begin)
    for at in (signed, signed + 4 + 128 + 2, begin - 4):
        (length,) = struct.unpack_from("<I", changed, at)
        struct.pack_into("<I", changed, at, length + more)
    return bytes(changed)


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (0, 0), (ORDER, 1), (1, ORDER), (2**256 - 1, 2**256 - 1), (1, 1)]
)
def test_a_signature_out_of_range_is_none(vendor: Vendor, collateral: Collateral, r: int, s: int) -> None:
    quote = bytearray(vendor.quote())
    at = len(parse(bytes(quote), "quote").signed) + 4
    quote[at : at + 64] = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert failed(verify(bytes(quote), TRUSTING, collateral, NOW)) == {"EV201"}


@pytest.mark.parametrize("key", [bytes(64), b"\xff" * 64, bytes(63) + b"\1"])
def test_an_attestation_key_that_is_no_point_signs_nothing(
    vendor: Vendor, collateral: Collateral, key: bytes
) -> None:
    quote = bytearray(vendor.quote())
    at = len(parse(bytes(quote), "quote").signed) + 4 + 64
    quote[at : at + 64] = key
    assert failed(verify(bytes(quote), TRUSTING, collateral, NOW)) == {"EV201", "EV205"}


@pytest.mark.parametrize("kind", ["secp384r1", "secp521r1", "rsa"])
def test_a_platform_key_of_another_kind_signs_nothing(
    vendor: Vendor, collateral: Collateral, identity: Identity, kind: str
) -> None:
    key: Any = identity.rsa_key("pck", 2048) if kind == "rsa" else identity.curve_key(f"pck-{kind}", kind)
    extension = dict.fromkeys((OID,), tdx_chain._pck())
    leaf = intermediate(identity).issue(
        Subject("SIMULATED Intel SGX PCK Certificate", extensions=extension), key, NOW
    )
    chain = pem(leaf, root(identity).issue(intermediate(identity).subject, intermediate(identity).key, NOW))
    appraisal = verify(
        with_chain(vendor.quote(), chain + pem(root(identity).own(NOW))), TRUSTING, collateral, NOW
    )
    assert "EV205" in failed(appraisal)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("identity"))


def root(identity: Identity) -> Issuer:
    return tdx_chain._root(identity)


def intermediate(identity: Identity) -> Issuer:
    return tdx_chain._platform(identity)


@pytest.mark.parametrize(
    "chain",
    [
        b"",
        b"\0" * 100,
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 60_000 + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" * 2000,
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n" * 900,
        b"-----BEGIN CERTIFICATE-----\n" + b"MIAw" * 2000 + b"\n-----END CERTIFICATE-----\n",
    ],
)
def test_certificates_that_are_none_are_refused_at_once(
    vendor: Vendor, collateral: Collateral, chain: bytes
) -> None:
    assert "EV202" in failed(verify(with_chain(vendor.quote(), chain), TRUSTING, collateral, NOW))


def test_what_is_no_certificate_of_the_chain_is_refused(
    vendor: Vendor, collateral: Collateral, identity: Identity
) -> None:
    quote = vendor.quote()
    chain = parse(quote, "quote").chain
    leaf, middle, last = [part + _END for part in chain.split(_END)[:-1]]
    other = pem(root(identity).own(NOW))
    for same in (chain + b"\0", chain.rstrip(b"\n"), chain.replace(b"\n", b"\r\n"), leaf + middle):
        assert verify(with_chain(quote, same), TRUSTING, collateral, NOW).accepted
    for wrong in (
        chain + b"more\n",
        chain.rstrip(b"\n") + b"\x0b",
        chain + b" ",
        b"more\n" + chain,
        leaf + b"\0" + middle + last,
        chain + other,
        leaf + middle + last.replace(b"END", b"and"),
        middle + leaf + last,
        leaf + middle + other,
        chain.replace(b"\n", b" \n", 2),
    ):
        assert "EV202" in failed(verify(with_chain(quote, wrong), TRUSTING, collateral, NOW))


def test_too_many_certificates_are_refused(vendor: Vendor) -> None:
    quote = vendor.quote()
    with pytest.raises(InputError, match="too large"):
        parse(with_chain(quote, b"A" * (65 << 10)), "quote")
    with pytest.raises(InputError, match="follow the quote"):
        parse(quote + bytes(20_000), "quote")


def extension(value: bytes) -> Any:
    """Return what a certificate with an SGX extension looks like to its reader."""
    from cryptography import x509

    class Fake:
        class extensions:  # noqa: N801 - as the library has it
            @staticmethod
            def get_extension_for_oid(oid: x509.ObjectIdentifier) -> Any:
                return x509.Extension(oid, False, x509.UnrecognizedExtension(oid, value))

    return Fake()


def built(pairs: list[bytes]) -> bytes:
    return tdx_chain._tlv(0x30, *pairs)


PAIR, TLV = tdx_chain._pair, tdx_chain._tlv


def sgx(**changes: bytes | None) -> bytes:
    """Return an SGX extension, some of its values changed or left out."""
    levels = {f"2.{number}": TLV(2, b"\1") for number in range(1, 18)}
    levels = {name: changes.get(f"_{name.replace('.', '_')}", value) or b"" for name, value in levels.items()}
    values = {
        "2": TLV(0x30, *(PAIR(name, value) for name, value in levels.items() if value)),
        "3": TLV(4, b"\0\0"),
        "4": TLV(4, bytes(6)),
    }
    values |= {name: changes[f"_{name}"] or b"" for name in values if f"_{name}" in changes}
    return built([PAIR(name, value) for name, value in values.items() if value])


def test_a_right_extension_is_read() -> None:
    assert platform(extension(sgx())).pcesvn == 1
    assert platform(extension(sgx(_2_17=TLV(2, b"\0\xff")))).pcesvn == 255


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30",
        b"\x30\x80\0\0",
        b"\x31" + sgx()[1:],
        sgx() + b"\0",
        sgx()[:-1],
        sgx(_2_1=TLV(2, b"\xff")),
        sgx(_2_1=TLV(2, b"\0\1\0\0")),
        sgx(_2_1=TLV(2, b"")),
        sgx(_2_1=TLV(2, b"\1" * 127)),
        sgx(_2_1=TLV(4, b"\1")),
        sgx(_2_1=None),
        sgx(_2_17=None),
        sgx(_2=TLV(0x30)),
        sgx(_2=TLV(4, b"\1")),
        sgx(_2=None),
        sgx(_3=TLV(4, b"\0")),
        sgx(_4=TLV(4, bytes(7))),
        sgx(_4=TLV(4, bytes(6)) + b"\0"),
        sgx(_4=None),
        built([PAIR("4", TLV(4, bytes(6)))] * 2),
        built([TLV(0x30, b"\6\1\1", TLV(4, b""))]),
        built([TLV(0x30, PAIR("4", TLV(4, bytes(6))))]),
        built([PAIR("1", TLV(4, bytes(3000)))]),
        b"\x30\x82\0\x01\0",
        b"\x30\x81\x01\0",
        b"\x30\x84\0\0\0\1\0",
    ],
)
def test_an_extension_that_is_not_as_it_must_be_is_one_error(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"SGX extension|SVN|FMSPC"):
        platform(extension(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_extension_or_one_error(value: bytes) -> None:
    with pytest.raises(ValueError):
        platform(extension(value))


@given(st.data())
def test_a_changed_extension_is_read_or_one_error(data: st.DataObject) -> None:
    value = bytearray(sgx())
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = platform(extension(bytes(value)))
    except ValueError:
        return
    assert all(0 <= svn <= 0xFFFF for svn in (*found.components, found.pcesvn))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn=-1),
        lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn=True),
        lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn=1.5),
        lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn=1 << 40),
        lambda told: told["tcbLevels"][0]["tcb"].update(pcesvn="11"),
        lambda told: told["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop(),
        lambda told: told["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][0].update(svn=None),
        lambda told: told["tcbLevels"][0]["tcb"].pop("tdxtcbcomponents"),
        lambda told: told["tcbLevels"][0].update(tcbStatus="Fine"),
        lambda told: told["tcbLevels"][0].update(tcbStatus=["UpToDate"]),
        lambda told: told["tcbLevels"][0].update(advisoryIDs="INTEL-SA-1"),
        lambda told: told.update(tcbLevels=[]),
        lambda told: told.update(tcbLevels={"0": told["tcbLevels"][0]}),
        lambda told: told.update(tcbLevels=told["tcbLevels"] * 300),
        lambda told: told["tdxModuleIdentities"].append(dict(told["tdxModuleIdentities"][0])),
        lambda told: told["tdxModuleIdentities"][0].update(mrsigner="00"),
        lambda told: told["tdxModuleIdentities"][0].update(attributesMask="zz" * 8),
        lambda told: told.pop("tdxModule"),
        lambda told: told.update(issueDate="yesterday"),
        lambda told: told.update(nextUpdate=7),
        lambda told: told.update(tcbEvaluationDataNumber=-1),
        lambda told: told.update(fmspc=None),
        lambda told: told.update(id="SGX"),
        lambda told: told.update(note="é"),
    ],
)
def test_a_signed_table_that_is_not_as_it_must_be_counts_for_nothing(vendor: Vendor, change: Any) -> None:
    def changed(info: Table, _identity: Table) -> None:
        change(info)

    tables = vendor.tables(changed)
    text, _ = tables["tcb_info.json"]
    if b"\\u00e9" in text:
        text = text.replace(b"\\u00e9", "é".encode())
        tables["tcb_info.json"] = (text, bytes(64))
    (document,) = [each for each in vendor.documents(tables) if each.startswith(b'{"tcbInfo"')]
    with pytest.raises(TableError):
        read(document)
    assert "EV302" in failed(verify(vendor.quote(), TRUSTING, Collateral(vendor.documents(tables)), NOW))


@pytest.mark.parametrize(
    "document",
    [
        b'{"tcbInfo":{"a":' + b"[" * 200_000 + b'},"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":{"a":' + b"1" * 10_000 + b'},"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":{"a":1e999999999},"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":[],"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":null,"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":{},"signature":"' + b"0" * 126 + b'"}',
        b'{"tcbInfo":{},"signature":"' + b"0" * 128 + b'","more":1}',
        b'{"tcbInfo":{},"more":1,"signature":"' + b"0" * 128 + b'"}',
        b'{"tcbInfo":{}}' + b" " * (2 << 20),
        b'{"enclaveIdentity":{"id":"TD_QE","version":2},"signature":"' + b"0" * 128 + b'"}',
    ],
)
def test_a_document_that_only_begins_as_a_table_is_one_error(document: bytes) -> None:
    with pytest.raises(TableError):
        read(document)


def test_a_peers_bundle_that_lies_is_passed_over(vendor: Vendor, collateral: Collateral) -> None:
    told: dict[str, Any] = {"tcb_info": "{}", "tcb_info_signature": "00" * 64}
    for more in ({}, {"qe_identity": 5}, {"qe_identity": "{}", "qe_identity_signature": "zz"}):
        lying = json.dumps(told | more).encode()
        held = Collateral((lying, *collateral.documents))
        assert verify(vendor.quote(), TRUSTING, held, NOW).accepted


def test_a_key_that_is_none_verifies_nothing() -> None:
    assert not verifies(None, bytes(64), b"")


def test_what_was_read_of_a_chain_is_the_same_each_time(vendor: Vendor) -> None:
    chain = parse(vendor.quote(), "quote").chain
    assert endorser(chain) is endorser(bytes(bytearray(chain)))
    assert endorser(b"none").fault
