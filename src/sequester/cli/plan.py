"""`sequester plan`: a guest with its limitation and every consequence."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_guest, add_host, coloured, the_guest, the_host
from sequester.cli.output import write_out
from sequester.formats.document import Document
from sequester.planning import AUTO, make_plan

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_guest(parser)
    parser.add_argument(
        "--limit", metavar="auto|NAME", help="the platform, or auto: the strongest that works here"
    )
    add_host(parser)
    parser.add_argument(
        "--to",
        choices=("argv", "xml", "toml", "diff", "json"),
        help="what to write (default: the guest's own format; argv for TOML)",
    )
    parser.add_argument("--json", action="store_const", const="json", dest="to", help="the same as --to json")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not list changes and notes")


def run(arguments: argparse.Namespace) -> int:
    """Write the plan; list its changes and what remains on standard error; 1 when the plan is refused."""
    from sequester.report.text import plan_report

    document = the_guest(arguments)
    host = the_host(arguments) or _needed_host(document, arguments.limit)
    plan = make_plan(document, arguments.limit, host, here=arguments.host in (None, "local"))
    form = arguments.to or ("xml" if document.format == "xml" else "argv")
    lost: tuple[str, ...] = ()
    if form == "diff":
        text = plan.diff()
    elif form == "json":
        from sequester.report.json_report import plan_json

        text = plan_json(plan)
    else:
        text, lost = (written := plan.to(form)).text, written.lost
        if not text.endswith("\n"):
            text += "\n"
    write_out(text, arguments.output)
    if not arguments.quiet or plan.refused:
        sys.stdout.flush()
        sys.stderr.write(plan_report(plan, lost, coloured=coloured(sys.stderr)))
    return int(plan.refused)


def _needed_host(document: Document, limit: str | None) -> HostFacts | None:
    """Look at this machine where the plan cannot be made without: for ``auto``."""
    declared = document.guest.limitation
    if limit == AUTO or (limit is None and declared is not None and declared.type == AUTO):
        from sequester.host.local import this_host

        return this_host()
    return None
