"""`sequester probe`: what this host can do, why not, and what would mend it."""

from __future__ import annotations

import argparse
import json
import sys

from sequester.cli.arguments import coloured
from sequester.cli.output import say, write_out
from sequester.platforms.limitation import HostTrustLimitation


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one platform, with every requirement")
    parser.add_argument(
        "--qemu", action="append", metavar="BIN", help="a QEMU binary to ask (repeat for several)"
    )
    parser.add_argument("--host", metavar="F", help="judge a saved record instead of this machine")
    parser.add_argument(
        "--record", metavar="F", help="also save what was gathered, for --host or a bug report"
    )
    parser.add_argument("--libvirt", action="store_true", help="ask libvirt too (slower)")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="every requirement, also those that passed"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what each platform lacks here; 0 when any works, 3 when none does."""
    from sequester.host.facts import HostFacts
    from sequester.host.requirement import State
    from sequester.platforms.registry import named, platforms
    from sequester.probing import probe
    from sequester.report.probe import as_json, as_text

    if arguments.host:
        facts = HostFacts.load(arguments.host)
    else:
        from sequester.cli.signals import terminate_as_interrupt
        from sequester.host.collect import collect, default_cache

        terminate_as_interrupt()
        record = collect(qemus=arguments.qemu, ask_libvirt=arguments.libvirt, cache=default_cache())
        facts = HostFacts.from_record(record, "this host")
        if arguments.record:
            write_out(json.dumps(record, indent=1, sort_keys=True) + "\n", arguments.record)
            if arguments.record != "-":
                say(f"recorded in {arguments.record}")
            else:
                return 0
    wanted: tuple[type[HostTrustLimitation], ...] = (
        (named(arguments.name),) if arguments.name else platforms()
    )
    answers = probe(wanted, facts)
    if arguments.json:
        sys.stdout.write(as_json(answers, facts))
    else:
        verbose = arguments.verbose or bool(arguments.name)
        sys.stdout.write(as_text(answers, facts, verbose, coloured()))
    return 0 if any(answer.state is not State.FAILED for answer in answers) else 3
