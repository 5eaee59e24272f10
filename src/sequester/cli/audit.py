"""`sequester audit`: a running guest against what its limitation asks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sequester.cli.arguments import coloured
from sequester.cli.output import write_out
from sequester.findings.rule import Finding, Severity

if TYPE_CHECKING:
    from sequester.audit.asking import Monitor

_EPILOG = """\
Every device is judged by the properties that it has in QEMU's tree, by the rules and codes of `check`; SQ950 to SQ959
are what only a running guest shows: what its drivers negotiated, KSM, migration blockers, the launch's state, what
was plugged in since. Nothing is asked that changes or harms a guest.

  sequester audit /run/vm/qmp.sock
  sequester audit libvirt:web --guest web.xml         and what differs from its plan
  sequester audit /run/vm/qmp.sock --limit sev-snp    what it should be
  sequester audit /run/vm/qmp.sock --format sarif -o audit.sarif

A QMP socket serves one client; behind `sequester guard`, many. Run as root on the guest's host, it asks the kernel too.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("monitor", metavar="QMP-SOCKET|libvirt:NAME", help="QEMU's QMP socket (a UNIX path)")
    parser.add_argument("--limit", metavar="NAME", help="the platform that the guest should have")
    parser.add_argument("--guest", metavar="GUEST", help="the file, or libvirt:NAME, that it should be")
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
    """Audit a guest; 1 with any finding above a note, 3 where it cannot be reached, 4 where its answers are none."""
    from sequester.audit.auditing import audit
    from sequester.cli.check import codes
    from sequester.platforms.registry import named
    from sequester.rules.catalogue import rules
    from sequester.rules.engine import Selection

    selection = Selection(
        *(codes(said) for said in (arguments.select, arguments.ignore, arguments.downgrade))
    )
    selection.of(rules())
    if arguments.limit is not None:
        named(arguments.limit)
    planned = None
    if arguments.guest is not None:
        from sequester.formats.sources import open_guest

        planned = open_guest(arguments.guest).guest
    findings = audit(_monitor(arguments.monitor), arguments.limit, planned, selection).findings
    write_out(_report(arguments.format, arguments.monitor, findings, arguments.output), arguments.output)
    return int(any(finding.severity > Severity.NOTE for finding in findings))


def _monitor(name: str) -> Monitor:
    if name.startswith("libvirt:"):
        from sequester.domains.monitor import monitor_of

        return monitor_of(name.removeprefix("libvirt:"))
    from sequester.audit.qmp_socket import connect

    return connect(name)


def _report(form: str, name: str, findings: tuple[Finding, ...], output: str | None) -> str:
    if form == "json":
        from sequester.report.json_report import report

        return report([(name, findings)])
    if form == "sarif":
        from sequester.report.sarif import report as sarif

        return sarif([(name, findings)])
    from sequester.report.text import report as text

    return text([(name, findings)], coloured=output is None and coloured())
