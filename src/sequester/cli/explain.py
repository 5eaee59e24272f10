"""`sequester explain`: a rule or a criterion of evidence by its code, or an error text and what to do about it."""

from __future__ import annotations

import argparse
import re
import sys

from sequester.cli.arguments import coloured
from sequester.errors import InputError

_MOST = 1 << 19
"""Characters of an error text that are read."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "text", nargs="*", metavar="CODE|TEXT", help="a rule's code, an error text, or - to read one"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the page of a rule, what an error means, or with nothing given the list of rules; 1 if unknown."""
    text = " ".join(arguments.text)
    if text == "-":
        text = sys.stdin.read(_MOST)
    if not text.strip():
        return _list_rules(arguments.json)
    if re.fullmatch(r"[A-Za-z]{2,8}\d{3,4}", text.strip()):
        return _rule(text.strip(), arguments.json)
    return _error(text[:_MOST], arguments.json)


def _list_rules(as_json: bool) -> int:
    from sequester.rules.catalogue import rules

    if as_json:
        from sequester.report.json_report import rules_json

        sys.stdout.write(rules_json(rules()))
        return 0
    for rule in rules():
        print(f"{rule.code}  {rule.severity.name.lower():8} {rule.title}")
    print(
        "\n`sequester explain CODE` shows a rule's page; `sequester explain 'error text'` what an error means."
    )
    return 0


def _rule(code: str, as_json: bool) -> int:
    if code.upper().startswith("EV"):
        return _criterion(code, as_json)
    from sequester.rules.catalogue import rule

    found = rule(code)
    if as_json:
        from sequester.report.json_report import rules_json

        sys.stdout.write(rules_json((found,)))
    else:
        from sequester.report.page import page

        print(page(found, coloured=coloured()))
    return 0


def _criterion(code: str, as_json: bool) -> int:
    import json

    from sequester.evidence.criteria import CRITERIA, criterion
    from sequester.report.criterion import page, told_of

    found = criterion(code)
    if found is None:
        known = ", ".join(each.code for each in CRITERIA)
        raise InputError(
            f"there is no criterion '{code}'", code="criterion.unknown", remedy=f"known are: {known}"
        )
    if as_json:
        print(json.dumps({"schema": "sequester-criterion/1", **told_of(found)}, indent=2))
    else:
        print(page(found, coloured=coloured()))
    return 0


def _error(text: str, as_json: bool) -> int:
    from sequester.faults import catalog
    from sequester.faults.fault import explain
    from sequester.platforms.registry import platforms
    from sequester.report.fault import as_text, faults_json

    tables = dict.fromkeys(platform.fault_table for platform in platforms() if platform.fault_table)
    found = explain(text, catalog(tables))
    if not found:
        raise InputError("an empty text explains nothing", code="usage.text")
    sys.stdout.write(faults_json(found) if as_json else as_text(found, coloured=coloured()))
    return int(not any(explanation.known for explanation in found))
