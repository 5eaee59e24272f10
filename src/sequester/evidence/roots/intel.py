"""Intel's root of SGX and TDX certificates.

Source: ``https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer``, which is
also the last certificate of every quote's own chain.
"""

from __future__ import annotations

from sequester.evidence.roots import shipped

ROOT = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
"""SHA-256 of the root certificate in DER: the only one that is trusted."""


def root() -> bytes:
    """Return the root certificate in DER."""
    found = shipped("intel-sgx-root-ca.der", ROOT)
    assert found is not None
    return found
