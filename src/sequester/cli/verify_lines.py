"""`sequester verify --format jsonl`: many pieces of evidence, a line each, as they come."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain

from sequester.batch.appraise import Held, Told, appraise
from sequester.batch.records import Record, from_lines, from_paths
from sequester.batch.workers import cores
from sequester.cli.output import say
from sequester.errors import InputError

_EVERY = 0.5
"""Seconds between two words on progress."""


def run(arguments: argparse.Namespace, held: Held) -> int:
    """Write the result of every record; 4 with any refused, 2 with any that could not be read."""
    from sequester.report.appraisal_json import told_of

    if arguments.output is not None:
        raise InputError(
            "JSON lines go to standard output", code="usage.output", remedy="redirect it to a file"
        )
    counts = {True: 0, False: 0, None: 0}
    progress = _Progress(sys.stderr.isatty())
    with closing(appraise(_records(arguments), held, told_of, arguments.jobs or cores())) as results:
        for told in results:
            sys.stdout.write(told.line + "\n")
            counts[told.accepted] += 1
            progress.seen(told)
    sys.stdout.flush()
    progress.end()
    say(f"{counts[True]} accepted, {counts[False]} refused, {counts[None]} not read")
    if counts[None]:
        return 2
    return 4 if counts[False] else 0


def _records(arguments: argparse.Namespace) -> Iterator[Record]:
    return chain.from_iterable(
        from_lines(sys.stdin.buffer, "<stdin>") if path == "-" else from_paths([path])
        for path in arguments.evidence
    )


class _Progress:
    """How many were done, on a terminal."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._started = self._last = time.monotonic()
        self._count = 0

    def seen(self, _told: Told) -> None:
        self._count += 1
        now = time.monotonic()
        if self._shown and now - self._last > _EVERY:
            self._last = now
            rate = self._count / (now - self._started)
            sys.stderr.write(f"\r{self._count} verified, {rate:.0f} a second\033[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
