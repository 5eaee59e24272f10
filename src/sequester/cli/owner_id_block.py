"""`sequester owner id-block`: what `measure --id-key` makes, where an owner looks for it."""

from __future__ import annotations

import argparse

from sequester.cli import measure
from sequester.errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, those of `measure`."""
    measure.add(parser)
    parser.epilog = (
        "Prints id-block and id-auth as QEMU's sev-snp-guest takes them, and the digests that reports name\n"
        "the keys by:\n\n"
        "  sequester owner id-block web.toml --id-key id.pem --author-key author.pem"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the block."""
    if arguments.id_key is None:
        raise InputError(
            "the key that signs the ID block is not said",
            code="usage.id-key",
            remedy="--id-key F; make one with `openssl ecparam -name secp384r1 -genkey -noout`",
        )
    return measure.run(arguments)
