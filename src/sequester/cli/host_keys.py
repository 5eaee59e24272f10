"""Host key documents of s390 machines on the command line, and whether they are IBM's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sequester.errors import InputError

if TYPE_CHECKING:
    import argparse

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


def add_host_keys(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the arguments. `whose` says in the help what machines they are."""
    parser.add_argument(
        *("-k", "--host-key"),
        metavar="F",
        action="append",
        required=True,
        help=f"host key document of a {whose}; may be given several times",
    )
    trust = parser.add_argument_group("whether the documents are IBM's")
    for flag, text in (
        ("--root", "root certificate that is trusted"),
        ("--cert", "IBM's signing key certificate, and those between it and the root"),
        ("--crl", "revocation list"),
    ):
        trust.add_argument(flag, metavar="F", action="append", default=[], help=text)
    trust.add_argument(
        "--no-verify",
        action="store_true",
        help="take the documents as they are: whoever wrote them has what was meant for IBM's machines",
    )


def the_host_keys(arguments: argparse.Namespace) -> list[EllipticCurvePublicKey]:
    """Return the machines' keys, checked unless that was declined."""
    from datetime import UTC, datetime

    from sequester.measure.host_key import public_key, read_authority, read_document

    documents = [(path, read_document(path)) for path in arguments.host_key]
    given = [flag for flag in ("root", "cert", "crl") if getattr(arguments, flag)]
    if arguments.no_verify and given:
        raise InputError(
            f"--no-verify and --{given[0]} contradict each other", code="usage.verify", remedy="leave one out"
        )
    if not arguments.no_verify:
        if not arguments.root or not arguments.cert:
            raise InputError(
                "it is not said whom to trust for the host key documents",
                code="usage.verify",
                remedy="give --root, --cert for IBM's signing key and what is between, and --crl",
            )
        authority = read_authority(arguments.root, (*arguments.cert, *arguments.crl))
        for path, document in documents:
            authority.check(document, datetime.now(UTC), path)
    return [public_key(document, path) for path, document in documents]
