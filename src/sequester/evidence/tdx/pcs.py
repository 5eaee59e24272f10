"""Addresses of Intel's provisioning certification service, version 4.

Source: https://api.portal.trustedservices.intel.com/content/documentation.html. The chain that the service sends in a
header of a response (``TCB-Info-Issuer-Chain`` and the like) is looked up as its address with `ISSUER_CHAIN` behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ISSUER_CHAIN = "#issuer-chain"
_SERVICE = "https://api.trustedservices.intel.com"
_ROOT_LIST = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_AUTHORITIES = {"PCK Platform CA": "platform", "PCK Processor CA": "processor"}


def tcb_address(fmspc: bytes) -> str:
    """Return where the TCB info of a kind of platform is."""
    return f"{_SERVICE}/tdx/certification/v4/tcb?fmspc={fmspc.hex().upper()}"


def identity_address() -> str:
    """Return where the identity of the TD quoting enclave is."""
    return f"{_SERVICE}/tdx/certification/v4/qe/identity"


def list_address(certificate: Certificate) -> str:
    """Return where the issuer of a certificate says what it revoked."""
    issuer = certificate.issuer.rfc4514_string()
    for name, authority in _AUTHORITIES.items():
        if name in issuer:
            return f"{_SERVICE}/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"
    return _ROOT_LIST
