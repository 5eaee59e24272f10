"""`sequester owner`: the guest owner's side of a launch."""

from __future__ import annotations

import argparse
from importlib import import_module

SUBCOMMANDS = {
    "chain": "check, show or save a platform's chain of SEV certificates",
    "session": "make a session and its keys for one platform and one policy",
    "policy": "say what a SEV policy means, or spell one out",
    "measurement": "check that a waiting launch is the guest that was meant",
    "secret": "make a secret for a launch whose measurement is right, and hand it over",
    "answer": "answer a waiting launch that comes as JSON: check it, and give it its secret",
    "attestation-request": "ask a Secure Execution guest (s390) what it is, as `pvattest create` does",
    "id-block": "make SEV-SNP's ID block and ID authentication for a guest",
}
"""Subcommand → one line of help. Each is a module `owner_…` with `add(parser)` and `run(arguments) -> int`."""

_EPILOG = """\
A measured launch, on the owner's machine and, where it says HOST, on the host:

  sequester owner chain chain.cert                                check it; the host made it with `sevctl export`
  sequester owner session chain.cert --policy no-debug+es --name web    web_godh.b64, web_session.b64, two keys
  HOST: sequester run web.toml --owner-check ...                  with dh-cert-file and session-file in web.toml
  sequester owner measurement --keys web --qmp qmp.sock web.toml  is it the guest that was meant?
  sequester owner secret --keys web --qmp qmp.sock --secret luks-key:passphrase.txt --inject web.toml

Secrets are read from files, written for their owner alone (0600), and never shown.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for name, text in SUBCOMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module = import_module(f"sequester.cli.owner_{name.replace('-', '_')}")
        module.add(command)
        command.set_defaults(run_owner=module.run)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    status: int = arguments.run_owner(arguments)
    return status
