"""`sequester owner answer`: one launch in, one answer out, for `run --owner-check exec:`."""

from __future__ import annotations

import argparse
import json
import sys

from sequester.cli.arguments import add_guest, add_host
from sequester.cli.owner_measurement import add_keys, demand, read_launch, the_keys, the_plan
from sequester.cli.owner_secret import add_secrets, sealed, the_secrets
from sequester.errors import GuestError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "Reads a launch (sequester-launch/1) from standard input and writes the answer (sequester-answer/1):\n\n"
        "  sequester run web.toml \\\n"
        "    --owner-check 'exec:sequester owner answer --keys web --secret luks-key:pass web.toml'"
    )
    add_guest(parser)
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    add_keys(parser)
    add_secrets(parser)
    parser.add_argument(
        "--trust-simulated", action="store_true", help="answer a simulated platform (tests only)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Answer; 4 where the answer is no."""
    from sequester.owner.launch import Answer

    plan, keys, secrets = the_plan(arguments), the_keys(arguments), the_secrets(arguments)
    launch = read_launch("-")
    try:
        if launch.simulated and not arguments.trust_simulated:
            raise GuestError(
                "this is a simulated platform: it protects nothing",
                code="sev-certificate.simulated",
                remedy="trust it in tests only, with --trust-simulated",
            )
        demand(launch, plan, keys)
    except GuestError as error:
        sys.stdout.write(json.dumps(Answer(False, str(error)).told()) + "\n")
        return 4
    packet = sealed(launch, keys, secrets) if secrets else None
    sys.stdout.write(json.dumps(Answer(True, secret=packet).told()) + "\n")
    return 0
