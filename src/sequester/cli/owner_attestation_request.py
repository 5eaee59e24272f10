"""`sequester owner attestation-request`: ask a Secure Execution guest what it is, as `pvattest create` does."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from sequester.cli.host_keys import add_host_keys, the_host_keys
from sequester.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_MEASUREMENT = 64
"""Bytes of an HMAC with SHA-512."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from sequester.evidence.s390.request import ADDITIONAL

    names = [name for name, _ in ADDITIONAL.values()]
    parser.epilog = (
        "Makes NAME_request.bin for the guest (`pvattest perform`) and NAME_arp.key for nobody else: the key that\n"
        "the answer is verified with. No request is good for two guests, or twice for one.\n\n"
        "  sequester owner attestation-request -k HKD-8562.crt --root DigiCertCA.crt --cert ibm-signing.crt \\\n"
        "      --crl ibm.crl --name web\n"
        "  GUEST: pvattest perform -i web_request.bin -o answer.bin\n"
        "  printf '[s390-pv]\\narpk = \"web_arp.key\"\\n' > policy.toml\n"
        "  sequester verify answer.bin --policy policy.toml --guest web.toml --collateral documents/"
    )
    add_host_keys(parser, "machine that may answer")
    parser.add_argument(
        "--ask",
        metavar="WHAT",
        action="append",
        choices=names,
        default=[],
        help=f"ask for this besides the measurement: {', '.join(names)}; may be given several times",
    )
    parser.add_argument("--name", default="vm", metavar="NAME", help="how the files' names begin (vm)")
    parser.add_argument("-d", "--directory", default=".", metavar="DIR", help="where to put them (.)")
    parser.add_argument("--json", action="store_true", help="tell the files as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the request."""
    from sequester.cli.output import say
    from sequester.evidence.s390.exchange import build
    from sequester.evidence.s390.request import ADDITIONAL
    from sequester.owner.attestation_request import Secrets, attestation_request
    from sequester.owner.files import write_new

    if not _NAME.fullmatch(arguments.name):
        raise InputError(f"'{arguments.name[:40]}' is no name for files", code="usage.name")
    hosts = the_host_keys(arguments)
    secrets = Secrets.random()
    request = attestation_request(hosts, secrets, arguments.ask)
    expected = sum(size for name, size in ADDITIONAL.values() if name in arguments.ask)
    files = {
        f"{arguments.name}_request.bin": build(request, _MEASUREMENT, expected),
        f"{arguments.name}_arp.key": secrets.protection,
    }
    made = [str(path) for path in write_new(Path(arguments.directory), files)]
    if arguments.no_verify:
        say(
            "note: the host key documents were NOT verified (--no-verify): whoever wrote them can forge the answer"
        )
    print(
        json.dumps({"schema": "sequester-attestation-request/1", "files": made}, indent=2)
        if arguments.json
        else "\n".join(made)
    )
    return 0
