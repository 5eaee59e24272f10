"""TDX played: quotes that another verifier takes, under the simulated root alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from simulated import NOW, ask, plan_of, platform_of
from tdvf_images import tdvf

from sequester.errors import GuestError
from sequester.measuring import measure
from sequester.simulator.platform import QmpError

MRTD_AT, RTMRS_AT, DATA_AT = 48 + 136, 48 + 328, 48 + 520


@pytest.fixture
def guest(tmp_path: Path) -> str:
    (tmp_path / "tdvf.fd").write_bytes(tdvf())
    return f"qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 1G -bios {tmp_path}/tdvf.fd"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


def test_a_quote_says_what_was_measured(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "tdx", keys)
    platform.begin()
    quote = platform.evidence(b"nonce")["quote.bin"]
    registers = {each.name: each.value for each in measure(plan_of(guest, "tdx")).registers}
    assert quote[MRTD_AT : MRTD_AT + 48] == registers["MRTD"]
    assert quote[DATA_AT : DATA_AT + 64] == b"nonce".ljust(64, b"\0")
    unknown = [name for name, value in registers.items() if value is None]
    assert [note.split()[0] for note in platform.notes] == unknown


def verified_by_the_peer(files: dict[str, bytes], root: bytes, seconds: int) -> Any:
    dcap_qvl = pytest.importorskip("dcap_qvl")
    certificates = x509.load_pem_x509_certificates(files["tcb_chain.pem"])
    pems = x509.load_pem_x509_certificates(files["quote.bin"][files["quote.bin"].index(b"-----BEGIN") :])

    def inner(name: str, key: str) -> tuple[str, bytes]:
        raw = files[name].decode()
        text = raw[len(f'{{"{key}":') : raw.rindex(',"signature"')]
        return text, bytes.fromhex(json.loads(raw)["signature"])

    def pem(those: list[x509.Certificate]) -> str:
        return b"".join(each.public_bytes(Encoding.PEM) for each in those).decode()

    tcb, tcb_signature = inner("tcb_info.json", "tcbInfo")
    enclave, enclave_signature = inner("qe_identity.json", "enclaveIdentity")
    told = dcap_qvl.QuoteCollateralV3(
        pck_crl_issuer_chain=pem(pems[1:]),
        root_ca_crl=files["root_crl.der"],
        pck_crl=files["pck_crl.der"],
        tcb_info_issuer_chain=pem(certificates),
        tcb_info=tcb,
        tcb_info_signature=tcb_signature,
        qe_identity_issuer_chain=pem(certificates),
        qe_identity=enclave,
        qe_identity_signature=enclave_signature,
    )
    return dcap_qvl.verify_with_root_ca(files["quote.bin"], told, root, seconds)


def test_another_verifier_finds_the_quote_good_under_the_simulated_root(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "tdx", keys)
    platform.begin()
    files = dict(platform.evidence(b"nonce"))
    root = x509.load_pem_x509_certificates(files["tcb_chain.pem"])[-1]
    assert "SIMULATED" in root.subject.rfc4514_string()
    at = int(NOW.timestamp()) + 60
    found = verified_by_the_peer(files, root.public_bytes(Encoding.DER), at)
    assert (found.status, found.advisory_ids) == ("UpToDate", [])
    damaged = bytearray(files["quote.bin"])
    damaged[MRTD_AT] ^= 1
    with pytest.raises(ValueError, match=r"(?i)signature"):
        verified_by_the_peer({**files, "quote.bin": bytes(damaged)}, root.public_bytes(Encoding.DER), at)


def test_attributes_that_qemu_does_not_take_end_the_launch(guest: str, keys: Path) -> None:
    command = f"{guest} -object tdx-guest,id=t,attributes=1 -machine confidential-guest-support=t"
    with pytest.raises(GuestError, match="Some QEMU unsupported TD attribute bits being requested: 0x1 "):
        platform_of(command, "tdx", keys).begin()


def test_it_cannot_be_migrated(guest: str, keys: Path) -> None:
    platform = platform_of(guest, "tdx", keys)
    with pytest.raises(QmpError, match="non-migratable CPU device"):
        ask(platform, "migrate")
    assert platform.engaged
