"""`sequester owner session`: a session for one platform and one policy, as `sevctl session` makes it."""

from __future__ import annotations

import argparse
import json
import os
import re
from base64 import b64encode
from pathlib import Path

from sequester.cli.owner_chain import add_source, the_chain
from sequester.cli.owner_policy import the_policy
from sequester.errors import InputError

_NAME = re.compile(r"[\w.-]{1,80}")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "Makes NAME_godh.b64 and NAME_session.b64 for the host (dh-cert-file, session-file; libvirt: dhCert,\n"
        "session), NAME_tek.bin and NAME_tik.bin for nobody else. All are readable by their owner alone."
    )
    add_source(parser)
    parser.add_argument(
        "--policy", required=True, metavar="P", help="a number, or names: no-debug+no-key-sharing+es"
    )
    parser.add_argument("--name", default="vm", metavar="NAME", help="how the files' names begin (vm)")
    parser.add_argument("-d", "--directory", default=".", metavar="DIR", help="where to put them (.)")
    parser.add_argument("--json", action="store_true", help="tell the files as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the session, once the chain holds."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

    from sequester.owner.files import write_new
    from sequester.owner.sev_certificate import SevCertificate, Usage
    from sequester.owner.sev_chain import verify_chain
    from sequester.owner.sev_session import TransportKeys, shared_secret

    if not _NAME.fullmatch(arguments.name) or arguments.name.startswith("."):
        raise InputError(f"'{arguments.name[:40]}' is no name for files", code="usage.name")
    policy = the_policy(arguments.policy)
    chain, name = the_chain(arguments)
    verify_chain(chain).demand(name, arguments.trust_simulated)
    own = generate_private_key(SECP384R1())
    keys = TransportKeys.random(os.urandom)
    shared = shared_secret(own, chain.pdh.public_key(name))
    session = keys.wrapped(shared, policy, os.urandom(16), os.urandom(16))
    certificate = SevCertificate.of(Usage.PDH, own.public_key()).pack()
    made = write_new(
        Path(arguments.directory),
        {
            f"{arguments.name}_godh.b64": b64encode(certificate),
            f"{arguments.name}_session.b64": b64encode(session),
            f"{arguments.name}_tek.bin": keys.tek,
            f"{arguments.name}_tik.bin": keys.tik,
        },
    )
    if arguments.json:
        told = {"schema": "sequester-sev-session/1", "policy": policy, "files": [str(path) for path in made]}
        print(json.dumps(told, indent=2))
    else:
        for path in made:
            print(path)
    return 0
