"""`sequester verify`: whether evidence is real, current, and from the guest that was meant."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_host, coloured
from sequester.cli.output import say, write_out
from sequester.errors import InputError
from sequester.evidence.collateral import Collateral, Lookup, is_collateral, nowhere
from sequester.evidence.files import files_below, read_collateral, read_evidence, read_file
from sequester.evidence.policy import Policy
from sequester.verifying import policy_of_plan, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sequester.evidence.appraisal import Appraisal

_LARGEST_POLICY = 1 << 20
_MOST_DATA = 64
_MOST_JOBS = 1024
_EPILOG = """\
examples:
  sequester verify report.bin --collateral certificates/
  sequester verify report.bin --collateral certificates/ --guest web.toml --report-data 00112233
  sequester verify --format jsonl evidence/ < /dev/null
  sequester verify --format jsonl - < evidence.jsonl       {"evidence": BASE64, "report_data": HEX} in each line
  sequester verify --online quote.dat --report-data 00112233
  sequester verify quote.dat --policy policy.toml --collateral collateral.json --at 2026-03-01T12:00
  sequester run --simulate sev-snp --evidence DIR web.toml; sequester verify DIR/report.bin --collateral DIR \
--trust-simulated

What evidence is, is found out by looking. Without a policy, guests that may be debugged or moved, revoked or unknown
keys, out-of-date platforms and simulated evidence are refused. exit status: 0 all accepted, 4 evidence refused,
2 something could not be read.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "evidence", nargs="+", metavar="EVIDENCE", help="a file, a folder of files, or - for standard input"
    )
    parser.add_argument(
        "--policy", metavar="F", help="what is asked of it, in TOML: see examples/policy.toml"
    )
    parser.add_argument(
        "--guest",
        metavar="GUEST",
        help="it must come from this guest: .toml, .xml, .args, libvirt:NAME, or behind --",
    )
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    parser.add_argument(
        "--report-data",
        metavar="HEX|FILE",
        help="what the evidence must carry: at most 64 bytes, padded with zeros",
    )
    parser.add_argument(
        "--collateral",
        action="append",
        default=[],
        metavar="DIR|FILE",
        help="certificates, revocation lists, the vendor's tables; may be given several times",
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="fetch from the vendors what is not there, and keep it in the user's cache",
    )
    parser.add_argument(
        "--pccs", metavar="URL", help="with --online: ask this caching service (PCCS) in Intel's place"
    )
    parser.add_argument(
        "--at", metavar="TIME", help="verify as at this time: 2026-03-01, 2026-03-01T12:00+01:00 (now)"
    )
    parser.add_argument(
        "--trust-simulated", action="store_true", help="accept evidence under a simulated root"
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "jsonl", "sarif", "ear"),
        default="text",
        help="how to report (text); jsonl: a line each as they come, and standard input is read as JSON lines",
    )
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as --format json"
    )
    parser.add_argument(
        "--ear-key", metavar="F", help="sign the EAR with this key (P-256 or P-384), as a JWT"
    )
    parser.add_argument(
        "--jobs", type=jobs, metavar="N", help="with jsonl: processes that verify (one for each core)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there")


def run(arguments: argparse.Namespace) -> int:
    """Verify every piece of evidence; 4 with any refused, 2 with any that could not be read."""
    now = the_time(arguments.at)
    policy, platform = the_policy(arguments)
    collateral = the_collateral(arguments)
    if arguments.format == "jsonl":
        from sequester.batch.appraise import Held
        from sequester.cli.verify_lines import run as run_lines

        return run_lines(arguments, Held(policy, collateral, now, platform))
    key = _ear_key(arguments)
    appraisals: list[Appraisal] = []
    unread: dict[str, str] = {}
    for name in chain.from_iterable(files_below(path, "outblob") for path in arguments.evidence):
        shown = "<stdin>" if name == "-" else name
        data = b""
        try:
            data = read_evidence(name)
            appraisals.append(verify(data, policy, collateral, now, shown, platform))
        except InputError as error:
            if name not in arguments.evidence and is_collateral(data):
                continue  # it lies in a folder beside the evidence
            say(f"sequester: {error}")
            unread[shown] = str(error)
    if not appraisals and not unread:
        raise InputError("there is no evidence", code="evidence.none", where=", ".join(arguments.evidence))
    if appraisals or arguments.format == "json":
        write_out(_report(arguments, appraisals, unread, now, key), arguments.output)
    if unread:
        return 2
    return 0 if all(appraisal.accepted for appraisal in appraisals) else 4


def the_policy(arguments: argparse.Namespace) -> tuple[Policy, str]:
    """Return the policy that was asked for, and the platform that evidence must be of, '' where any will do."""
    policy = Policy()
    if arguments.policy is not None:
        from sequester.evidence.policy_file import read_policy
        from sequester.evidence.secrets import with_secrets

        policy = read_policy(read_file(arguments.policy, _LARGEST_POLICY), arguments.policy)
        policy = with_secrets(policy, os.path.dirname(arguments.policy))
    if arguments.report_data is not None:
        policy = replace(policy, report_data=_report_data(arguments.report_data))
    if arguments.trust_simulated:
        policy = replace(policy, simulated=True)
    if arguments.guest is None and not arguments.guest_argv:
        return policy, ""
    from sequester.cli.arguments import the_guest, the_host
    from sequester.planning import make_plan

    plan = make_plan(the_guest(arguments), arguments.limit, the_host(arguments))
    return policy_of_plan(plan, policy), plan.limitation.name


def the_collateral(arguments: argparse.Namespace) -> Collateral:
    """Return what was handed in, and with --online what looks up the rest."""
    return Collateral(read_collateral(arguments.collateral), _the_lookup(arguments))


def _the_lookup(arguments: argparse.Namespace) -> Lookup:
    """Return the lookup by address, in folders that have an index, and with --online in the cache and the network."""
    if arguments.pccs is not None and not arguments.online:
        raise InputError("--pccs is asked with --online only", code="usage.pccs", remedy="add --online")
    folders = [path for path in arguments.collateral if os.path.isfile(os.path.join(path, "index.json"))]
    if not folders and not arguments.online:
        return nowhere
    from sequester.evidence.fetching.saved import read_index
    from sequester.evidence.fetching.stack import Stack

    saved = {address: each for path in reversed(folders) for address, each in read_index(path).items()}
    if not arguments.online:
        return Stack(saved).lookup
    from sequester.cli.collateral import the_stack

    return the_stack(arguments.pccs, saved).lookup


def the_time(said: str | None) -> datetime:
    """Return the time of the verification. Raises InputError for what is no time; without a zone it is UTC."""
    if said is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(said)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            f"'{said[:40]}' is no time", code="usage.time", remedy="2026-03-01 or 2026-03-01T12:00:00+01:00"
        ) from None


def jobs(said: str) -> int:
    """Return a number of processes. Raises InputError for what is none."""
    if not said.isdecimal() or not 0 < int(said) <= _MOST_JOBS:
        raise InputError(
            f"'{said[:40]}' is no number of jobs", code="usage.jobs", remedy=f"1 to {_MOST_JOBS}"
        )
    return int(said)


def _report_data(said: str) -> bytes:
    """Return bytes in hex, or those of a file."""
    try:
        found = bytes.fromhex(said)
    except ValueError:
        found = read_file(said, _LARGEST_POLICY)
    if len(found) > _MOST_DATA:
        raise InputError(
            f"report data has at most {_MOST_DATA} bytes, not {len(found)}",
            code="usage.report-data",
            remedy="give a digest of it, as the guest did",
        )
    return found


def _ear_key(arguments: argparse.Namespace) -> EllipticCurvePrivateKey | None:
    if arguments.ear_key is None:
        return None
    from sequester.report.appraisal_ear import read_key

    if arguments.format != "ear":
        raise InputError("--ear-key signs an EAR only", code="usage.ear-key", remedy="add --format ear")
    return read_key(read_file(arguments.ear_key, _LARGEST_POLICY), arguments.ear_key)


def _report(
    arguments: argparse.Namespace,
    appraisals: list[Appraisal],
    unread: dict[str, str],
    now: datetime,
    key: EllipticCurvePrivateKey | None,
) -> str:
    if arguments.format == "json":
        from sequester.report.appraisal_json import report as as_json

        return as_json(appraisals, now, unread)
    if arguments.format == "sarif":
        from sequester.report.appraisal_sarif import report as as_sarif

        return as_sarif(appraisals)
    if arguments.format == "ear":
        from sequester.report.appraisal_ear import report as as_ear

        return as_ear(appraisals, now, key)
    from sequester.report.appraisal_text import report as as_text

    return as_text(appraisals, arguments.output is None and coloured())
