"""Times the verification of TDX quotes beside dcap-qvl called from Python: ``python bench/verify_tdx.py``.

Both in one process and in turn, the best of several rounds, over the same different quotes of one made-up platform with
the same collateral, and over a real quote where the third-party data is at hand. dcap-qvl keeps nothing from one quote
to the next; we keep what was found of chains and tables while it holds. A bare ECDSA P-256 verification is the least
that each quote costs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "evidence"))

DATA = ROOT.parent / "shared" / "data" / "tdx"
ROUNDS, QUOTES = 5, 300
NOW, THEN = datetime(2026, 11, 27, 12, tzinfo=UTC), datetime(2025, 6, 20, tzinfo=UTC)
_IN_HEX = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_TAKEN = (
    *("pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info"),
    *("tcb_info_signature", "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"),
)


def best(action: Callable[[int], object]) -> float:
    """Return the shortest time per quote of doing something for each of them."""
    shortest = 9e9
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for number in range(QUOTES):
            action(number)
        shortest = min(shortest, time.perf_counter() - start)
    return shortest / QUOTES


def told(what: str, took: float, beside: float | None = None) -> None:
    """Print a rate, and how many times another one it is."""
    more = f": {beside / took:.1f} times dcap-qvl" if beside is not None else ""
    print(f"{1 / took:8.0f} /s  {what}{more}")


def made_up() -> None:
    """Time quotes of one made-up platform."""
    from tdx_made import Vendor

    from sequester.evidence.collateral import Collateral
    from sequester.evidence.policy import Policy
    from sequester.evidence.tdx.quote import parse
    from sequester.evidence.tdx.signing import _point, verifies
    from sequester.verifying import verify

    with tempfile.TemporaryDirectory() as folder:
        vendor = Vendor(Path(folder), NOW)
        quotes = [vendor.quote(rtmr3=number.to_bytes(48, "little")) for number in range(QUOTES)]
        tables = vendor.tables(lambda _info, _identity: None)
        policy, documents = Policy(simulated=True), vendor.documents(tables)
    collateral = Collateral(documents)
    assert all(verify(quote, policy, collateral, NOW).accepted for quote in quotes)
    parsed = [parse(quote, "quote") for quote in quotes]
    key = _point(parsed[0].key)
    told(
        "bare P-256 verifications (cryptography, OpenSSL)",
        best(lambda number: verifies(key, parsed[number].signature, parsed[number].signed)),
    )
    peer = _peer()
    theirs = None
    if peer is not None:
        known, root, seconds = vendor.peers_collateral(tables), vendor.root(), int(NOW.timestamp())
        theirs = best(lambda number: peer.verify_with_root_ca(quotes[number], known, root, seconds))
        told("dcap-qvl", theirs)
    ours = best(lambda number: verify(quotes[number], policy, collateral, NOW))
    told("sequester, one collateral for all", ours, theirs)
    again = best(lambda number: verify(quotes[number], policy, Collateral((*documents,)), NOW))
    told("sequester, a collateral of the same documents for each", again, theirs)
    unknown = best(
        lambda number: verify(quotes[number], policy, Collateral((*documents, b"%d" % number)), NOW)
    )
    told("sequester, other documents for each: nothing is known", unknown, theirs)


def real() -> None:
    """Time a real quote, the same each time."""
    if not DATA.exists():
        print("no third-party data here (../shared/data/tdx): no real quote")
        return
    from sequester.evidence.collateral import Collateral
    from sequester.evidence.policy import Policy
    from sequester.verifying import verify

    quote, raw = (DATA / "tdx_quote").read_bytes(), (DATA / "tdx_quote_collateral.json").read_bytes()
    collateral = Collateral((raw,))
    assert verify(quote, Policy(), collateral, THEN).accepted
    peer = _peer()
    theirs = None
    if peer is not None:
        bundle = json.loads(raw)
        bundle = {name: bytes.fromhex(bundle[name]) if name in _IN_HEX else bundle[name] for name in _TAKEN}
        known, seconds = peer.QuoteCollateralV3(**bundle), int(THEN.timestamp())
        theirs = best(lambda _: peer.verify(quote, known, seconds))
        told("dcap-qvl, a real quote", theirs)
    told("sequester, a real quote", best(lambda _: verify(quote, Policy(), collateral, THEN)), theirs)


def _peer() -> Any:
    try:
        import dcap_qvl
    except ImportError:
        return None
    return dcap_qvl


def main() -> None:
    """Print the rates."""
    if _peer() is None:
        print("dcap-qvl is not installed")
    made_up()
    real()


if __name__ == "__main__":
    main()
