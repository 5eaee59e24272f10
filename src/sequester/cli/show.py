"""`sequester show`: every field of evidence, and what it means."""

from __future__ import annotations

import argparse
import sys

from sequester.cli.arguments import coloured
from sequester.evidence.files import read_evidence
from sequester.verifying import shown

_EPILOG = """\
examples:
  sequester show report.bin
  sequester show --json report.bin     each field's raw bytes in hex: put together they are the evidence

Nothing is verified here: `sequester verify` does that.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("evidence", metavar="EVIDENCE", help="a file, or - for standard input")
    parser.add_argument("--json", action="store_true", help="as JSON, without loss")


def run(arguments: argparse.Namespace) -> int:
    """Print the fields."""
    from sequester.report.evidence_fields import as_json, as_text

    name = "<stdin>" if arguments.evidence == "-" else arguments.evidence
    found, fields = shown(read_evidence(arguments.evidence), name)
    if arguments.json:
        sys.stdout.write(as_json(found, fields, name))
    else:
        sys.stdout.write(as_text(found, fields, name, coloured()))
    return 0
