"""`sequester check`: where guests do not hold to their limitation."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_host, coloured, the_host
from sequester.cli.output import say, write_out
from sequester.errors import InputError
from sequester.findings.rule import Finding, Severity
from sequester.formats.document import Document
from sequester.formats.sources import from_argv, open_guest
from sequester.planning import check
from sequester.rules.engine import Selection

if TYPE_CHECKING:
    from sequester.report.sarif import Replacement

_PATIENCE = 1.0
"""Seconds after which progress is shown."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "guests", nargs="*", metavar="GUEST", help=".toml, .xml or .args file, -, or libvirt:NAME"
    )
    add_host(parser)
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="how to report")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as --format json"
    )
    parser.add_argument(
        "--select", action="append", default=[], metavar="CODES", help="only rules that begin so"
    )
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="CODES", help="not the rules that begin so"
    )
    parser.add_argument(
        "--downgrade", action="append", default=[], metavar="CODES", help="report these as notes"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there")


def run(arguments: argparse.Namespace) -> int:
    """Check every guest; 1 with any finding above a note, 2 with any guest that could not be read."""
    if not arguments.guests and not arguments.guest_argv:
        raise InputError(
            "no guest was given", code="usage.guest", remedy="name files, -, libvirt:NAME, or use --"
        )
    host = the_host(arguments)
    selection = Selection(
        *(codes(said) for said in (arguments.select, arguments.ignore, arguments.downgrade))
    )
    here = arguments.host in (None, "local")
    checked: list[tuple[str, tuple[Finding, ...]]] = []
    fixes: dict[Finding, Replacement] = {}
    unread = 0
    for document in _documents(arguments):
        if isinstance(document, InputError):
            say(f"sequester: {document}")
            unread += 1
        else:
            checked.append((document.name, check(document, host, selection, here)))
            if arguments.format == "sarif":
                fixes |= _fixes(document, checked[-1][1])
    if checked or arguments.format != "text":
        write_out(_report(arguments.format, checked, fixes, arguments.output), arguments.output)
    if unread:
        return 2
    return int(any(f.severity > Severity.NOTE for _, findings in checked for f in findings))


def _documents(arguments: argparse.Namespace) -> Iterator[Document | InputError]:
    if arguments.guest_argv:
        yield from_argv(arguments.guest_argv)
    started = time.monotonic()
    show = sys.stderr.isatty()
    total = len(arguments.guests)
    for number, name in enumerate(arguments.guests, 1):
        try:
            yield open_guest(name)
        except InputError as error:
            yield error
        if show and total > 1 and time.monotonic() - started > _PATIENCE and number % 50 == 0:
            sys.stderr.write(f"\r{number} of {total} guests checked")
            sys.stderr.flush()
    if show and total > 1 and time.monotonic() - started > _PATIENCE:
        sys.stderr.write("\r\033[K")


def _fixes(document: Document, findings: tuple[Finding, ...]) -> dict[Finding, Replacement]:
    from sequester.report.sarif import replacements

    return replacements(document, findings)


def _report(
    form: str,
    checked: list[tuple[str, tuple[Finding, ...]]],
    fixes: dict[Finding, Replacement],
    output: str | None,
) -> str:
    if form == "json":
        from sequester.report.json_report import report

        return report(checked)
    if form == "sarif":
        from sequester.report.sarif import report as sarif

        return sarif(checked, fixes)
    from sequester.report.text import report as text

    return text(checked, coloured=output is None and coloured())


def codes(said: list[str]) -> tuple[str, ...]:
    """Return the codes in repeated, comma-separated options."""
    return tuple(code.strip() for codes in said for code in codes.split(",") if code.strip())
