"""The keys and documents of a simulated TDX platform: root, platform authority, PCK, quoting enclave, TCB tables.

Extensions of a PCK certificate: Intel "SGX PCK Certificate and CRL Profile Specification" 1.5, 1.3.5; the tables: Intel
"API for TDX provisioning certification service" version 4, TCB info 3 and enclave identity 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sequester.simulator.certificates import Issuer, Subject, pem
from sequester.simulator.tdx_quote import QE_ATTRIBUTES, TEE_TCB_SVN, QuotingEnclave, signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.simulator.identity import Identity

FMSPC, PCE_ID = bytes.fromhex("50494d554c41"), b"\0\0"
CPUSVN = bytes((3, 3, 2, 2, 4, 1, 0, 5)).ljust(16, b"\0")
_PCESVN, _EVALUATION = 11, 17
_MRENCLAVE = sha256(b"SIMULATED quoting enclave").digest()
_MRSIGNER = sha256(b"SIMULATED signer of enclaves").digest()
_PPID = sha256(b"SIMULATED platform").digest()[:16]
_SGX = "1.2.840.113741.1.13.1"
_MONTH = timedelta(days=30)
_P256 = "secp256r1"
_MASK = bytes.fromhex("fbffffffffffffff0000000000000000")
"""Bits of the enclave's attributes that count: all but whether it runs in 64-bit mode, and not XFRM."""


def quoting_enclave(identity: Identity, now: datetime) -> QuotingEnclave:
    """Return who signs the platform's quotes."""
    pck = identity.curve_key("tdx-pck", _P256)
    root, platform = _root(identity), _platform(identity)
    chain = pem(
        platform.issue(Subject("SIMULATED Intel SGX PCK Certificate", extensions={_SGX: _pck()}), pck, now),
        root.issue(platform.subject, platform.key, now),
        root.own(now),
    )
    attestation = identity.curve_key("tdx-attestation", _P256)
    return QuotingEnclave(attestation, pck, chain, CPUSVN, _MRENCLAVE, _MRSIGNER)


def collateral(identity: Identity, now: datetime) -> Mapping[str, bytes]:
    """Return the documents that a quote of this platform is verified with, by file name."""
    root, platform = _root(identity), _platform(identity)
    key = identity.curve_key("tdx-tcb-signing", _P256)
    signing = root.issue(Subject("SIMULATED Intel SGX TCB Signing"), key, now)
    return {
        "tcb_info.json": _signed(key, "tcbInfo", _tcb_info(now)),
        "qe_identity.json": _signed(key, "enclaveIdentity", _qe_identity(now)),
        "tcb_chain.pem": pem(signing, root.own(now)),
        "root_crl.der": root.revocations(now),
        "pck_crl.der": platform.revocations(now),
    }


def _root(identity: Identity) -> Issuer:
    from cryptography.hazmat.primitives.hashes import SHA256

    return Issuer(
        Subject("SIMULATED Intel SGX Root CA", below=1), identity.curve_key("tdx-root", _P256), SHA256()
    )


def _platform(identity: Identity) -> Issuer:
    from cryptography.hazmat.primitives.hashes import SHA256

    subject = Subject("SIMULATED Intel SGX PCK Platform CA", below=0)
    return Issuer(subject, identity.curve_key("tdx-platform-ca", _P256), SHA256())


def _signed(key: EllipticCurvePrivateKey, name: str, told: Mapping[str, Any]) -> bytes:
    """Return a table as Intel's service sends it: what is signed is the text of the inner object."""
    text = json.dumps(told, separators=(",", ":")).encode()
    return b'{"%s":%s,"signature":"%s"}' % (name.encode(), text, signature(key, text).hex().encode())


def _dates(now: datetime) -> dict[str, Any]:
    form = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "issueDate": now.strftime(form),
        "nextUpdate": (now + _MONTH).strftime(form),
        "tcbEvaluationDataNumber": _EVALUATION,
    }


def _tcb_info(now: datetime) -> dict[str, Any]:
    module = {
        "mrsigner": "00" * 48,
        "attributes": "00" * 8,
        "attributesMask": "FF" * 8,
    }
    level = {"tcbDate": now.strftime("%Y-%m-%dT00:00:00Z"), "tcbStatus": "UpToDate"}
    return {
        "id": "TDX",
        "version": 3,
        **_dates(now),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCE_ID.hex(),
        "tcbType": 0,
        "tdxModule": module,
        "tdxModuleIdentities": [
            {"id": "TDX_01", **module, "tcbLevels": [{"tcb": {"isvsvn": TEE_TCB_SVN[0]}, **level}]}
        ],
        "tcbLevels": [
            {
                "tcb": {
                    "sgxtcbcomponents": [{"svn": svn} for svn in CPUSVN],
                    "pcesvn": _PCESVN,
                    "tdxtcbcomponents": [{"svn": svn} for svn in (0, 0, *TEE_TCB_SVN[2:])],
                },
                **level,
            }
        ],
    }


def _qe_identity(now: datetime) -> dict[str, Any]:
    return {
        "id": "TD_QE",
        "version": 2,
        **_dates(now),
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": bytes(had & mask for had, mask in zip(QE_ATTRIBUTES, _MASK, strict=True)).hex().upper(),
        "attributesMask": _MASK.hex().upper(),
        "mrsigner": _MRSIGNER.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [
            {
                "tcb": {"isvsvn": 4},
                "tcbDate": now.strftime("%Y-%m-%dT00:00:00Z"),
                "tcbStatus": "UpToDate",
            }
        ],
    }


def _pck() -> bytes:
    """Return what a PCK certificate's SGX extension holds, in DER."""
    levels = [_pair(f"2.{number}", _integer(svn)) for number, svn in enumerate(CPUSVN, 1)]
    levels += [_pair("2.17", _integer(_PCESVN)), _pair("2.18", _tlv(4, CPUSVN))]
    return _tlv(
        0x30,
        _pair("1", _tlv(4, _PPID)),
        _pair("2", _tlv(0x30, *levels)),
        _pair("3", _tlv(4, PCE_ID)),
        _pair("4", _tlv(4, FMSPC)),
        _pair("5", _tlv(0xA, b"\1")),
        _pair("6", _tlv(4, _PPID)),
        _pair("7", _tlv(0x30, *(_pair(f"7.{number}", _tlv(1, b"\xff")) for number in (1, 2, 3)))),
    )


def _pair(number: str, value: bytes) -> bytes:
    return _tlv(0x30, _oid(f"{_SGX}.{number}"), value)


def _integer(value: int) -> bytes:
    return _tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    coded = bytes((first * 40 + second,))
    for part in rest:
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.append(part & 0x7F | 0x80)
        coded += bytes(reversed(digits))
    return _tlv(6, coded)


def _tlv(tag: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    if len(data) < 0x80:
        return bytes((tag, len(data))) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + data
