"""`sequester platforms`: the implementations of the limitation."""

from __future__ import annotations

import argparse
import sys

from sequester.cli.arguments import coloured


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one platform, with its properties")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print all platforms, or one."""
    from sequester.platforms.registry import named, platforms
    from sequester.report.platforms import one_text, platforms_json, table_text

    if arguments.name:
        platform = named(arguments.name)
        text = platforms_json((platform,)) if arguments.json else one_text(platform, coloured())
    else:
        text = platforms_json(platforms()) if arguments.json else table_text(platforms(), coloured())
    sys.stdout.write(text)
    return 0
