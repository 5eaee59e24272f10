"""The bits of a SEV-SNP guest's policy, which plans set and reports show.

A module of its own, so that reading a report loads no platform.
"""

from __future__ import annotations

POLICY_BITS = (
    (16, "smt", "the guest may run on a host with SMT"),
    (17, "reserved-one", "must be one"),
    (18, "migration-agent", "a migration agent may be bound to the guest"),
    (19, "debug", "the host may debug the guest"),
    (20, "single-socket", "the guest may run on a single-socket host only"),
    (21, "cxl", "CXL devices may be populated"),
    (22, "aes-256-xts", "memory must be encrypted with AES-256-XTS"),
    (23, "no-rapl", "running average power limit must be off"),
    (24, "ciphertext-hiding", "ciphertext must be hidden from the host"),
    (25, "no-page-swap", "guest memory may not be swapped or moved"),
)
"""Number, name, meaning (SNP firmware ABI 1.58, table 9). Bits 0-7 and 8-15 are the least ABI version."""
