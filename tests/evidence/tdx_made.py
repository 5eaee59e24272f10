"""TDX quotes and Intel's tables, made up under the simulated root: any body, any levels, all signed rightly."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sequester.simulator.identity import Identity
from sequester.simulator.tdx_chain import collateral, quoting_enclave
from sequester.simulator.tdx_quote import Body, signature

Table = dict[str, Any]
NAMES = {"tcb_info.json": "tcbInfo", "qe_identity.json": "enclaveIdentity"}
HEADER, BODY = 48, 584
_BODIES = {2: 0, 3: 64, 4: 301}
"""Body types of version 5, and the bytes that each has behind those of TD 1.0."""


class Vendor:
    """One simulated platform: its quotes, and the documents to verify them with."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._identity = Identity(folder)
        self._now = now
        self._attestation = self._identity.curve_key("tdx-attestation", "secp256r1")
        self._signing = self._identity.curve_key("tdx-tcb-signing", "secp256r1")
        self._made: Mapping[str, bytes] = collateral(self._identity, now)
        self._enclave = quoting_enclave(self._identity, now)

    def quote(self, body_type: int = 0, tail: bytes = b"", **changes: bytes | int) -> bytes:
        """Return a quote: of version 4, or 5 with a body type and what follows the body of TD 1.0.

        `changes` are fields of the body by name, put in before it is signed.
        """
        register = bytes(range(48))
        body = Body(register, 1 << 28, 0x602E7, register, (register,) * 3, (register,) * 4, b"nonce")
        whole = self._enclave.quote(body)
        raw = bytearray(whole[HEADER : HEADER + BODY])
        for name, value in changes.items():
            at, size = _AT[name]
            raw[at : at + size] = (
                value.to_bytes(size, "little") if isinstance(value, int) else value.ljust(size, b"\0")
            )
        signed = whole[:HEADER] + bytes(raw)
        if body_type:
            more = tail.ljust(_BODIES[body_type], b"\0")[: _BODIES[body_type]]
            size = struct.pack("<HI", body_type, BODY + len(more))
            signed = struct.pack("<H", 5) + whole[2:HEADER] + size + bytes(raw) + more
        rest = whole[HEADER + BODY :]
        return signed + rest[:4] + signature(self._attestation, signed) + rest[68:]

    def tables(self, change: Callable[[Table, Table], None]) -> dict[str, tuple[bytes, bytes]]:
        """Return the text and the signature of TCB info and identity, after a change of both, by file name."""
        told = [json.loads(self._made[name])[key] for name, key in NAMES.items()]
        change(*told)
        texts = [json.dumps(each).encode() for each in told]
        return {name: (text, signature(self._signing, text)) for name, text in zip(NAMES, texts, strict=True)}

    def documents(self, tables: Mapping[str, tuple[bytes, bytes]]) -> tuple[bytes, ...]:
        """Return all documents with these tables, as Intel's service sends them."""
        sent = {
            name: b'{"%s":%s,"signature":"%s"}' % (NAMES[name].encode(), text, signed.hex().encode())
            for name, (text, signed) in tables.items()
        }
        return tuple({**self._made, **sent}.values())

    def peers_collateral(self, tables: Mapping[str, tuple[bytes, bytes]]) -> Any:
        """Return the same as dcap-qvl takes it."""
        import dcap_qvl

        chain = self._made["tcb_chain.pem"].decode()
        (tcb, tcb_signature), (identity, identity_signature) = (tables[name] for name in NAMES)
        return dcap_qvl.QuoteCollateralV3(
            pck_crl_issuer_chain=chain,
            root_ca_crl=self._made["root_crl.der"],
            pck_crl=self._made["pck_crl.der"],
            tcb_info_issuer_chain=chain,
            tcb_info=tcb.decode(),
            tcb_info_signature=tcb_signature,
            qe_identity_issuer_chain=chain,
            qe_identity=identity.decode(),
            qe_identity_signature=identity_signature,
        )

    def root(self) -> bytes:
        """Return the root certificate in DER."""
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509 import load_pem_x509_certificates

        return load_pem_x509_certificates(self._made["tcb_chain.pem"])[-1].public_bytes(Encoding.DER)


_AT = {
    "tee_tcb_svn": (0, 16),
    "mrsignerseam": (64, 48),
    "seamattributes": (112, 8),
    "tdattributes": (120, 8),
    "reportdata": (520, 64),
    **{f"rtmr{number}": (328 + 48 * number, 48) for number in range(4)},
}
"""Fields of a body that a test may want otherwise: offset, size."""
