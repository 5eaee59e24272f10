"""Arguments that several commands share, and how they become guests, hosts and styles."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.formats.document import Document
from sequester.formats.sources import from_argv, open_guest

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts


def add_guest(parser: argparse.ArgumentParser) -> None:
    """Add the one GUEST argument."""
    parser.add_argument(
        "guest",
        nargs="?",
        metavar="GUEST",
        help=".toml, .xml or .args file, -, or libvirt:NAME; or put QEMU's argv behind --",
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add --host."""
    parser.add_argument(
        "--host",
        metavar="F",
        help="facts of the host it is for: a record made by `sequester probe --record F`, or `local` for this machine",
    )


def the_guest(arguments: argparse.Namespace) -> Document:
    """Return the guest that was named. Raises InputError when there is none, or more than one."""
    if arguments.guest_argv and arguments.guest:
        raise InputError(
            "a guest file and a command line behind -- were both given",
            code="usage.guest",
            remedy="give one of them",
        )
    if arguments.guest_argv:
        return from_argv(arguments.guest_argv)
    if not arguments.guest:
        raise InputError(
            "no guest was given", code="usage.guest", remedy="name a file, -, libvirt:NAME, or use --"
        )
    return open_guest(arguments.guest)


def the_host(arguments: argparse.Namespace) -> HostFacts | None:
    """Return the host that --host names, None where it is not given."""
    if arguments.host is None:
        return None
    if arguments.host == "local":
        from sequester.host.local import this_host

        return this_host()
    from sequester.host.facts import HostFacts

    return HostFacts.load(arguments.host)


def coloured(stream: object = None) -> bool:
    """Tell whether to colour: a terminal, and neither NO_COLOR nor a dumb TERM."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty())
