"""Chains of SEV certificates: made by the simulated platform, broken in every signature, and AMD's own roots."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import GuestError, InputError
from sequester.owner.sev_certificate import SIGNED, SIZE, AmdCertificate, SevCertificate, Usage
from sequester.owner.sev_chain import Authority, SevChain, authorities, verify_chain
from sequester.simulator.identity import Identity
from sequester.simulator.sev_platform import chain as simulated_chain

OTHER = ec.derive_private_key(0x07E2, ec.SECP384R1())


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> SevChain:
    return simulated_chain(Identity(tmp_path_factory.mktemp("identity")))


def test_the_shipped_roots_signed_themselves_and_their_signing_keys() -> None:
    found = authorities()
    assert [authority.product for authority in found] == ["Naples", "Rome", "Milan", "Genoa", "Turin"]
    for authority in found:
        assert authority.ask.signed_by(authority.ark)
        assert authority.ark.signed_by(authority.ark)
        assert not authority.ark.signed_by(authority.ask)
        assert Authority.unpack(authority.pack(), "again") == authority


def test_a_simulated_chain_holds_and_says_that_it_is_one(chain: SevChain) -> None:
    verdict = verify_chain(chain)
    assert all(step.holds for step in verdict.steps)
    assert (verdict.product, verdict.simulated) == ("", True)
    verdict.demand("chain", trust_simulated=True)
    with pytest.raises(GuestError, match="simulated platform"):
        verdict.demand("chain")


def test_a_chain_is_read_as_it_is_written(chain: SevChain) -> None:
    assert SevChain.unpack(chain.pack()) == chain
    assert SevChain.unpack(chain.pack()[: 4 * SIZE]) == replace(chain, authority=None)
    behind = b"".join(each.pack() for each in (chain.pek, chain.oca, chain.cek))
    told = SevChain.told(b64encode(chain.pdh.pack()).decode(), b64encode(behind).decode(), "QMP")
    assert told == replace(chain, authority=None)


def test_without_amds_certificates_a_simulated_chip_leads_nowhere(chain: SevChain) -> None:
    verdict = verify_chain(replace(chain, authority=None))
    with pytest.raises(GuestError, match="the CEK was not signed by the ASK of AMD"):
        verdict.demand("chain", trust_simulated=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [("pdh", "PDH was not signed by the PEK"), ("pek", "PDH was"), ("oca", "PEK was"), ("cek", "PEK was")],
)
def test_another_key_in_the_chain_is_named(chain: SevChain, name: str, says: str) -> None:
    own: SevCertificate = getattr(chain, name)
    other = replace(own, key=SevCertificate.of(Usage.PEK, OTHER.public_key()).key)
    with pytest.raises(GuestError, match=says):
        verify_chain(replace(chain, **{name: other})).demand("chain", trust_simulated=True)


@given(st.data())
def test_no_changed_bit_of_a_signed_part_passes(chain: SevChain, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 3))
    bit = data.draw(st.integers(0, SIGNED * 8 - 1))
    changed = bytearray(chain.pack())
    changed[number * SIZE + bit // 8] ^= 1 << bit % 8
    with pytest.raises((InputError, GuestError)):
        verify_chain(SevChain.unpack(bytes(changed))).demand("chain", trust_simulated=True)


@given(st.binary(max_size=4000))
def test_any_bytes_are_a_chain_or_one_error(data: bytes) -> None:
    for read in (SevChain.unpack, SevCertificate.unpack, AmdCertificate.unpack):
        with pytest.raises(InputError):
            read(data)  # type: ignore[operator]


def test_what_is_wrong_with_a_file_is_said(chain: SevChain, tmp_path: Path) -> None:
    whole = chain.pack()
    with pytest.raises(InputError, match="at least 8336 bytes"):
        SevChain.unpack(whole[:100], "f")
    with pytest.raises(InputError, match="here is a certificate of a PEK where that of the PDH belongs"):
        SevChain.unpack(whole[SIZE : 4 * SIZE] + whole[:SIZE], "f")
    with pytest.raises(InputError, match="no base64"):
        SevChain.told("*", "", "QMP")
