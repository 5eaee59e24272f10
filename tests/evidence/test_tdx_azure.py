"""Azure's TDX evidence: quote, runtime data and vTPM hold each other, and the challenge is the vTPM's."""

from __future__ import annotations

import json
import struct
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tdx_made import Vendor

from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.simulator.identity import Identity
from sequester.verifying import verify

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NONCE = b"challenge"
ASKED = Policy(simulated=True, report_data=NONCE)
REGISTERS = [bytes([number]) * 32 for number in range(24)]


class Guest:
    """A made-up guest on Azure: its quote, its vTPM's key, and what it hands out."""

    def __init__(self, vendor: Vendor, identity: Identity) -> None:
        self._key = identity.rsa_key("vtpm", 2048)
        numbers = self._key.public_key().public_numbers()
        n, e = (urlsafe_b64encode(value.to_bytes(256, "big")).decode() for value in (numbers.n, numbers.e))
        self.runtime = json.dumps({"keys": [{"kid": "HCLAkPub", "kty": "RSA", "n": n, "e": e}]}).encode()
        self.quote = vendor.quote(reportdata=sha256(self.runtime).digest())

    def report(self, kind: int = 4, runtime: bytes | None = None) -> bytes:
        """Return the paravisor's report."""
        data = self.runtime if runtime is None else runtime
        tail = struct.pack("<IIIII", 20 + len(data), 1, kind, 1, len(data))
        return b"HCLA" + struct.pack("<IIII", 2, 0, 2, 0) + bytes(12 + 1184) + tail + data

    def vtpm(self, nonce: bytes = NONCE, bank: int = 0xB) -> dict[str, Any]:
        """Return the vTPM's quote."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        digest = sha256(b"".join(REGISTERS)).digest()
        message = b"\xff\x54\x43\x47\x80\x18" + struct.pack(">H", 34) + bytes(34)
        message += struct.pack(">H", len(nonce)) + nonce + bytes(25)
        message += struct.pack(">IHB", 1, bank, 3) + b"\xff" * 3 + struct.pack(">H", 32) + digest
        signature = self._key.sign(message, PKCS1v15(), SHA256())
        registers = [each.hex() for each in REGISTERS]
        return {"message": message.hex(), "signature": signature.hex(), "pcrs": registers}

    def evidence(self, **changes: Any) -> bytes:
        """Return all of it in JSON."""
        told = {"hcl_report": self.report(), "td_quote": self.quote, "tpm_quote": self.vtpm(), **changes}
        coded = {name: text(value) if isinstance(value, bytes) else value for name, value in told.items()}
        return json.dumps({name: value for name, value in coded.items() if value is not None}).encode()


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    return Vendor(tmp_path_factory.mktemp("vendor"), NOW)


@pytest.fixture(scope="module")
def guest(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    return Guest(vendor, Identity(tmp_path_factory.mktemp("identity")))


@pytest.fixture(scope="module")
def collateral(vendor: Vendor) -> Collateral:
    return Collateral(vendor.documents(vendor.tables(lambda _info, _identity: None)))


def failed(appraisal: Appraisal) -> set[str]:
    return {check.code for check in appraisal.checks if check.failed}


def test_evidence_that_holds_together_answers_the_vtpms_challenge(
    guest: Guest, collateral: Collateral
) -> None:
    assert verify(guest.evidence(), ASKED, collateral, NOW).accepted
    assert verify(guest.evidence(), replace(ASKED, report_data=None), collateral, NOW).accepted
    other = replace(ASKED, report_data=b"other")
    assert failed(verify(guest.evidence(), other, collateral, NOW)) == {"EV601"}
    own = replace(ASKED, report_data=sha256(guest.runtime).digest())
    assert failed(verify(guest.evidence(), own, collateral, NOW)) == {"EV601"}


def test_numbers_are_as_good_as_text(guest: Guest, collateral: Collateral) -> None:
    vtpm = {name: numbers(value) for name, value in guest.vtpm().items()}
    told = guest.evidence(hcl_report=list(guest.report()), td_quote=list(guest.quote), tpm_quote=vtpm)
    assert verify(told, ASKED, collateral, NOW).accepted


def numbers(value: str | list[str]) -> Any:
    return list(bytes.fromhex(value)) if isinstance(value, str) else [numbers(each) for each in value]


def test_without_the_vtpm_nothing_answers_the_challenge(guest: Guest, collateral: Collateral) -> None:
    assert failed(verify(guest.evidence(tpm_quote=None), ASKED, collateral, NOW)) == {"EV601"}


def changed(quote: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {**quote, **more}


def test_a_vtpm_that_lies_is_refused(guest: Guest, collateral: Collateral, vendor: Vendor) -> None:
    good = guest.vtpm()
    for bad in (
        changed(good, message="00" + good["message"][2:]),
        changed(good, message=good["message"][:-2] + "00"),
        changed(good, signature="00" * 256),
        changed(good, signature=""),
        changed(good, pcrs=["ff" * 32, *good["pcrs"][1:]]),
        changed(good, pcrs=good["pcrs"][1:]),
        changed(good, pcrs=7),
        changed(good, pcrs=[None]),
        guest.vtpm(bank=4),
        {},
        [],
        7,
    ):
        assert "EV201" in failed(verify(guest.evidence(tpm_quote=bad), ASKED, collateral, NOW)), bad


@given(st.data())
def test_no_bit_of_the_runtime_data_can_be_changed(
    guest: Guest, collateral: Collateral, data: st.DataObject
) -> None:
    report = bytearray(guest.report())
    at = data.draw(st.integers(32 + 1184 + 20, len(report) - 1))
    report[at] ^= 1 << data.draw(st.integers(0, 7))
    assert "EV604" in failed(verify(guest.evidence(hcl_report=bytes(report)), ASKED, collateral, NOW))


def test_the_quote_of_another_guest_is_refused(guest: Guest, collateral: Collateral, vendor: Vendor) -> None:
    told = guest.evidence(td_quote=vendor.quote())
    assert failed(verify(told, ASKED, collateral, NOW)) == {"EV604"}
    assert {"EV101"} <= failed(verify(guest.evidence(td_quote=guest.quote[:2000]), ASKED, collateral, NOW))


def test_a_report_of_the_wrong_type_is_one_error(guest: Guest, collateral: Collateral) -> None:
    with pytest.raises(InputError, match="of type 2, not of 4"):
        verify(guest.evidence(hcl_report=guest.report(2)), ASKED, collateral, NOW)
    with pytest.raises(InputError, match="give the quote with it"):
        verify(guest.report(), ASKED, collateral, NOW)
    with pytest.raises(InputError, match="no report of Azure's"):
        verify(guest.evidence(hcl_report=b64encode(b"x" * 2000)), ASKED, collateral, NOW)
