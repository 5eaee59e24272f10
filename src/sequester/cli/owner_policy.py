"""`sequester owner policy`: a SEV policy in numbers and in words."""

from __future__ import annotations

import argparse
import json
import sys

from sequester.errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("policy", metavar="POLICY", help="a number, or names: no-debug+no-key-sharing+es")
    parser.add_argument("--json", action="store_true", help="as JSON")


def the_policy(said: str) -> int:
    """Return a policy of 32 bits. Raises InputError for what is none."""
    from sequester.platforms.property import Unsigned
    from sequester.platforms.sev import POLICY

    try:
        return Unsigned(32, POLICY).read(said.replace(",", "+"))
    except ValueError as error:
        known = ", ".join(bit.name for bit in POLICY)
        raise InputError(
            f"'{said[:60]}' is no SEV policy",
            code="usage.policy",
            why=str(error),
            remedy=f"a number, or names joined by +: {known}",
        ) from None


def run(arguments: argparse.Namespace) -> int:
    """Say what the policy means."""
    from sequester.platforms.sev import POLICY

    policy = the_policy(arguments.policy)
    least = (policy >> 16 & 0xFF, policy >> 24)
    bits = [(bit, bool(policy >> bit.number & 1)) for bit in POLICY]
    if arguments.json:
        told = {
            "schema": "sequester-sev-policy/1",
            "policy": policy,
            "bits": {bit.name: is_set for bit, is_set in bits},
            "least_api": list(least),
        }
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
        return 0
    print(f"{policy:#x} ({policy})")
    for bit, is_set in bits:
        print(f"  {'on ' if is_set else 'off'} bit {bit.number}  {bit.name:16} {bit.meaning}")
    print(f"  least firmware API: {least[0]}.{least[1]}")
    return 0
