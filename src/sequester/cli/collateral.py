"""`sequester collateral`: gathers what evidence will be verified with, for a place without a network."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sequester.cli.output import say, write_out
from sequester.errors import InputError, printable
from sequester.evidence import criteria
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral, is_collateral
from sequester.evidence.fetching.cache import Cache, cache_folder
from sequester.evidence.fetching.document import FOR_EVER, Document
from sequester.evidence.fetching.entry import told_of
from sequester.evidence.fetching.fetcher import Fetcher, sites_of_pccs
from sequester.evidence.fetching.saved import SCHEMA, Saved, read_index, told_of_saved, write_folder
from sequester.evidence.fetching.stack import Stack
from sequester.evidence.files import files_below, read_evidence
from sequester.evidence.policy import Policy
from sequester.verifying import verify

_NEEDS = frozenset(
    (
        criteria.SIGNATURE,
        criteria.CHAIN,
        criteria.QUOTING,
        criteria.REVOCATION,
        criteria.FRESHNESS,
    )
)
"""What fails where a document is missing."""
_EPILOG = """\
examples:
  sequester collateral report.bin quotes/ -o collateral/
  sequester collateral quote.dat -o collateral/ --pccs https://pccs.example:8081
  sequester collateral --list -o collateral/                what is there, and until when
  sequester verify report.bin --collateral collateral/      needs no network

Whatever verifying the evidence asks the vendors for is fetched, newer than what is there, and put into the folder with
an index. Nothing is said about the evidence. exit status: 0 all there, 1 something that is needed could not be had or
is out of date, 2 something could not be read or written.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "evidence", nargs="*", metavar="EVIDENCE", help="a file, a folder of files, or - for standard input"
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the folder to fill")
    parser.add_argument(
        "--pccs", metavar="URL", help="ask this caching service (PCCS) in Intel's place: https://HOST:8081"
    )
    parser.add_argument(
        "--list", action="store_true", help="fetch nothing: say what is in the folder, and until when"
    )
    parser.add_argument("--json", action="store_true", help="say it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Fill the folder, or list it."""
    now = datetime.now(UTC)
    if arguments.list:
        if arguments.evidence:
            raise InputError("--list takes no evidence", code="usage.list", remedy="leave one of them out")
        return _list(arguments, now)
    if not arguments.evidence:
        raise InputError("no evidence was given", code="usage.evidence", remedy="name a file, or use --list")
    kept = {a: each for a, each in read_index(arguments.output).items() if each.entry.until == FOR_EVER}
    collector = _Collector(the_stack(arguments.pccs, kept, anew=True), {})
    lacking = unread = count = 0
    for name in _names(arguments):
        data = b""
        try:
            data = read_evidence(name)
            lacking += collector.lacks(data, "<stdin>" if name == "-" else name, now)
            count += 1
        except InputError as error:
            if name not in arguments.evidence and is_collateral(data):
                continue  # certificates and lists that lie in a folder beside the evidence
            say(f"sequester: {error}")
            unread += 1
    found = collector.found()
    if found:
        write_folder(arguments.output, found)
    missing = collector.missing() if lacking else []
    _tell(arguments, [told_of(each) for each in found], missing, now)
    say(f"{arguments.output}: {_counted(len(found), 'document')} for {count} of evidence")
    if lacking:
        say(f"{_counted(len(missing), 'document')} could not be had, without which {lacking} will be refused")
    if unread:
        return 2
    return 1 if lacking else 0


def _names(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what is to be read: all that was named, without the folder that is filled where it lies among it."""
    own = os.path.join(os.path.realpath(arguments.output), "")
    for name in chain.from_iterable(files_below(path, "outblob") for path in arguments.evidence):
        if name in arguments.evidence or not os.path.realpath(name).startswith(own):
            yield name


def the_stack(pccs: str | None, saved: dict[str, Saved], anew: bool = False) -> Stack:
    """Return where documents are looked up: a folder, the user's cache, the vendors.

    Raises InputError for what is no address of a PCCS.
    """
    fetcher = Fetcher({} if pccs is None else sites_of_pccs(pccs))
    folder = cache_folder(os.environ)
    cache = None if folder is None else Cache(folder)
    return Stack(saved, cache, fetcher, lambda text: say(f"sequester: {text}"), anew)


@dataclass(slots=True)
class _Collector:
    """Verifies evidence in order to see what it asks for."""

    stack: Stack
    asked: dict[str, Document | None]

    def lacks(self, data: bytes, name: str, now: datetime) -> bool:
        """Tell whether evidence will be refused for want of a document. Raises InputError for what is no evidence."""
        wanting: list[str] = []

        def lookup(address: str) -> bytes | None:
            found = self.asked[address] = self.stack.find(address)
            if found is None:
                wanting.append(address)
            return None if found is None else found.data

        # Documents of its own, though empty: with the same ones, what was looked up for them before is not asked again.
        own = (data[:0],)
        appraisal = verify(data, Policy(simulated=True), Collateral(own, lookup), now, name)
        return bool(wanting) and _fails_for_want(appraisal)

    def found(self) -> list[Document]:
        """Return what was asked for and is had."""
        return [each for _, each in sorted(self.asked.items()) if each is not None]

    def missing(self) -> list[str]:
        """Return the addresses of what was asked for and could not be had."""
        return sorted(address for address, each in self.asked.items() if each is None)


def _fails_for_want(appraisal: Appraisal) -> bool:
    return any(check.failed and check.criterion in _NEEDS for check in appraisal.checks)


def _list(arguments: argparse.Namespace, now: datetime) -> int:
    index = read_index(arguments.output)
    if not index:
        raise InputError(
            "this folder has no index of collateral",
            code="collateral.index",
            where=arguments.output,
            remedy="fill it with `sequester collateral EVIDENCE -o DIR`",
        )
    there = [each for _, each in sorted(index.items()) if os.path.isfile(each.path)]
    missing = sorted(index.keys() - {each.entry.address for each in there})
    _tell(arguments, [told_of_saved(each) for each in there], missing, now)
    return 1 if missing or any(each.entry.until <= now for each in there) else 0


def _tell(
    arguments: argparse.Namespace, found: list[dict[str, str | None]], missing: list[str], now: datetime
) -> None:
    if arguments.json:
        told: dict[str, Any] = {"schema": SCHEMA, "documents": found, "missing": missing}
        write_out(json.dumps(told, indent=2) + "\n", None)
    else:
        write_out("".join(f"{line}\n" for line in _lines(found, missing, now)), None)


def _lines(found: Iterable[dict[str, str | None]], missing: Iterable[str], now: datetime) -> Iterator[str]:
    for each in found:
        yield f"{_until(each['until'], now):<28}{printable(each['address'] or '')}"
    for address in missing:
        yield f"{'missing':<28}{printable(address)}"


def _until(said: str | None, now: datetime) -> str:
    if said is None:
        return "for ever"
    until = datetime.fromisoformat(said)
    return f"{'until' if now < until else 'was until'} {until:%Y-%m-%d %H:%M}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
