"""The command line's parser: a mistake is one line, as every other error is."""

from __future__ import annotations

import argparse
from typing import NoReturn

from sequester.errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises InputError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError with argparse's own words and the way to the help."""
        raise InputError(message, code="usage.arguments", remedy=f"see {self.prog} --help")
