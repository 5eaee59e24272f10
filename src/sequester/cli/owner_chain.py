"""`sequester owner chain`: a platform's certificates, checked up to AMD's root."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sequester.cli.arguments import coloured
from sequester.errors import InputError
from sequester.report.style import Style

if TYPE_CHECKING:
    from sequester.owner.sev_chain import ChainVerdict, SevChain

SCHEMA = "sequester-sev-chain/1"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_source(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="save it as `sevctl export` does (PDH, PEK, OCA, CEK)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what says where a chain comes from."""
    parser.add_argument("chain", nargs="?", metavar="CHAIN", help="a file made by `sevctl export`")
    parser.add_argument("--qmp", metavar="SOCKET", help="ask this QEMU (query-sev-capabilities)")
    parser.add_argument(
        "--simulated",
        nargs="?",
        const="",
        metavar="DIR",
        help="the simulated platform, with its keys in this folder; it protects nothing",
    )
    parser.add_argument(
        "--trust-simulated", action="store_true", help="go on with a simulated platform (tests only)"
    )


def the_chain(arguments: argparse.Namespace) -> tuple[SevChain, str]:
    """Return the chain that was named, and its name. Raises InputError unless one source was."""
    from sequester.owner.sev_chain import SevChain

    given = [arguments.chain is not None, arguments.qmp is not None, arguments.simulated is not None]
    if sum(given) != 1:
        raise InputError(
            "one source of the chain is needed", code="usage.chain", remedy="a file, --qmp or --simulated"
        )
    if arguments.qmp is not None:
        from sequester.owner.qmp import chain

        return chain(arguments.qmp), arguments.qmp
    if arguments.simulated is not None:
        from sequester.simulator.identity import Identity, default_folder
        from sequester.simulator.sev_platform import chain as simulated

        folder = Path(arguments.simulated) if arguments.simulated else default_folder()
        return simulated(Identity(folder)), str(folder)
    from sequester.owner.files import read

    return SevChain.unpack(read(arguments.chain), arguments.chain), arguments.chain


def run(arguments: argparse.Namespace) -> int:
    """Show the chain; 4 where it does not hold."""
    from sequester.owner.sev_chain import verify_chain

    chain, name = the_chain(arguments)
    verdict = verify_chain(chain)
    if arguments.json:
        sys.stdout.write(_json(name, chain, verdict))
    else:
        _show(name, chain, verdict)
    if arguments.output is not None:
        from sequester.owner.files import write_new

        path = Path(arguments.output)
        write_new(path.parent, {path.name: chain.pack()})
    if arguments.json:
        holds = all(step.holds for step in verdict.steps)
        return 0 if holds and (arguments.trust_simulated or not verdict.simulated) else 4
    verdict.demand(name, arguments.trust_simulated)
    return 0


def _show(name: str, chain: SevChain, verdict: ChainVerdict) -> None:
    style = Style(coloured())
    major, minor = chain.pdh.api
    root = "a simulated root" if verdict.simulated else f"AMD's root of {verdict.product or 'no product'}"
    print(style.paint(f"{name}: SEV firmware API {major}.{minor}, up to {root}", "bold"))
    for step in verdict.steps:
        mark = style.paint("ok", "green") if step.holds else style.paint("NO", "red")
        print(f"  {mark}  {step.of} signed by {step.by}", flush=True)


def _json(name: str, chain: SevChain, verdict: ChainVerdict) -> str:
    told = {
        "schema": SCHEMA,
        "name": name,
        "api": list(chain.pdh.api),
        "product": verdict.product,
        "simulated": verdict.simulated,
        "holds": all(step.holds for step in verdict.steps),
        "steps": [{"of": step.of, "by": step.by, "holds": step.holds} for step in verdict.steps],
    }
    return json.dumps(told, indent=2) + "\n"
