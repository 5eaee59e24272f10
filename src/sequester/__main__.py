"""`python -m sequester`."""

from sequester.cli.main import entry

entry()
