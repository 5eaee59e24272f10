"""The host key of a simulated IBM Z machine, and the documents by which an owner can trust it.

What a chain of host key documents must look like is in `sequester.measure.host_key`; here it ends at a root that says
SIMULATED, and so does the unit of the signing key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from sequester.measure.host_key import IBM
from sequester.simulator.certificates import Issuer, Subject, pem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.simulator.identity import Identity


def host_key(identity: Identity) -> EllipticCurvePrivateKey:
    """Return the machine's private key, on P-521."""
    return identity.curve_key("s390-host", "secp521r1")


def documents(identity: Identity, now: datetime) -> Mapping[str, bytes]:
    """Return the host key document and what it is checked with, by file name."""
    from cryptography.hazmat.primitives.hashes import SHA256, SHA512

    root = Issuer(Subject("SIMULATED root", below=1), identity.rsa_key("s390-root"), SHA256())
    signer = Issuer(
        Subject(
            IBM,
            "SIMULATED IBM Z Host Key Signing Service",
            organization=IBM,
            state="New York",
            locality="Poughkeepsie",
        ),
        identity.rsa_key("s390-signing"),
        SHA512(),
    )
    machine = Subject(
        IBM, "SIMULATED IBM Z Host Key", organization=IBM, state="New York", locality="Poughkeepsie"
    )
    return {
        "host-key.pem": pem(signer.issue(machine, host_key(identity), now)),
        "signing-key.pem": pem(root.issue(signer.subject, signer.key, now)),
        "root.pem": pem(root.own(now)),
        "root-crl.der": root.revocations(now),
        "signing-crl.der": signer.revocations(now),
    }
