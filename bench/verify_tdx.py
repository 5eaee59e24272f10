"""TDX quotes: ours beside dcap-qvl called from Python, in one run, over the same quote and collateral."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.verifying import verify

DATA = Path(__file__).resolve().parents[2] / "shared/data/tdx"
THEN = datetime(2025, 6, 20, tzinfo=UTC)
ROUNDS, AT_ONCE = 7, 300
_IN_HEX = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_TAKEN = (
    *("pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info"),
    *("tcb_info_signature", "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"),
)


def rate(work: Callable[[], Any]) -> float:
    """Return how often a second, as the median of some rounds."""
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(AT_ONCE):
            work()
        found.append(AT_ONCE / (time.perf_counter() - start))
    return statistics.median(found)


def main() -> None:
    """Print both rates and their ratio."""
    if not DATA.exists():
        print("no third-party data here (../shared/data/tdx)")
        return
    quote, raw = (DATA / "tdx_quote").read_bytes(), (DATA / "tdx_quote_collateral.json").read_bytes()
    collateral = Collateral((raw,))
    assert verify(quote, Policy(), collateral, THEN).accepted
    ours = rate(lambda: verify(quote, Policy(), collateral, THEN))
    print(f"sequester, collateral and chain known: {ours:,.0f} quotes a second")
    try:
        import dcap_qvl
    except ImportError:
        print("dcap-qvl is not installed")
        return
    told = json.loads(raw)
    told = {name: bytes.fromhex(told[name]) if name in _IN_HEX else told[name] for name in _TAKEN}
    known = dcap_qvl.QuoteCollateralV3(**told)
    seconds = int(THEN.timestamp())
    peer = rate(lambda: dcap_qvl.verify(quote, known, seconds))
    print(f"dcap-qvl, which keeps nothing: {peer:,.0f} quotes a second; ours is {ours / peer:.1f} times that")


if __name__ == "__main__":
    sys.exit(main())
