"""Times the verification of SEV-SNP reports beside bare P-384 verifications of the same signatures: ``python
bench/verify.py``.

Both in one process and in turn, the best of several rounds: what `verify` does per report beyond the one ECDSA that
cannot be avoided is parsing, two dozen checks and what is said of them. The chain is made up here, and known after the
first report.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "evidence"))

ROUNDS, REPORTS = 7, 400
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def best(action: Callable[[int], object]) -> float:
    """Return the shortest time per report of doing something for each of them."""
    shortest = 9e9
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for number in range(REPORTS):
            action(number)
        shortest = min(shortest, time.perf_counter() - start)
    return shortest / REPORTS


def main() -> None:
    """Print the times."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA384
    from snp_made import Vendor, certificate_table, report

    from sequester.evidence.collateral import Collateral
    from sequester.evidence.policy import Policy
    from sequester.verifying import verify

    vendor = Vendor("Genoa")
    policy = Policy(simulated=True)
    collateral = Collateral(vendor.documents())
    bodies = [report(vendor, report_data=number.to_bytes(64, "little")) for number in range(REPORTS)]
    algorithm, key = ECDSA(SHA384()), vendor.vcek_key.public_key()
    ready = [
        (
            encode_dss_signature(*(int.from_bytes(each[a : a + 72], "little") for a in (0x2A0, 0x2E8))),
            each[:0x2A0],
        )
        for each in bodies
    ]
    extended = [each + certificate_table(vendor) for each in bodies]
    assert verify(bodies[0], policy, collateral, NOW).accepted

    bare = best(lambda number: key.verify(*ready[number], algorithm))
    ours = best(lambda number: verify(bodies[number], policy, collateral, NOW))
    with_table = best(lambda number: verify(extended[number], policy, Collateral(), NOW))
    print(f"{1 / bare:8.0f} /s  bare P-384 verifications (cryptography, OpenSSL)")
    print(f"{1 / ours:8.0f} /s  reports verified, the chain known: {bare / ours:.0%} of the bare rate")
    print(f"{1 / with_table:8.0f} /s  extended reports, each with its certificates: {bare / with_table:.0%}")


if __name__ == "__main__":
    main()
