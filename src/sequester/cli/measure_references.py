"""`sequester measure --references`: every measurement that a guest may have, in one pass."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from sequester.cli.measure import number, the_pieces
from sequester.cli.output import write_out
from sequester.errors import InputError
from sequester.measure import processor
from sequester.measure.methods import Method, method
from sequester.measure.sev import MOST_VCPUS
from sequester.measure.tables import Matrix, Processor, Reference
from sequester.measuring import images_beside
from sequester.platforms.registry import named
from sequester.record import replaced
from sequester.report.references import references_corim, references_json, references_rvps

_PATIENCE = 0.5
"""Seconds after which progress is shown."""


def run(arguments: Any) -> int:
    """Write the references; their number to standard error."""
    images = dict(_images(arguments.firmware)) if arguments.firmware else {}
    vcpus = _counts(arguments.cpus) if arguments.cpus else ()
    processors = _processors(arguments.cpu) if arguments.cpu else ()
    arguments.firmware = arguments.cpus = arguments.cpu = None
    pieces = the_pieces(arguments)
    matrix = Matrix(pieces, tuple(images), processors, vcpus)
    way = method(pieces.platform)
    passed: list[str] = []
    found = tuple(_shown(_references(way, matrix, images, passed), matrix.size))
    if arguments.references == "corim":
        _write(references_corim(named(pieces.platform).title, found), arguments.output)
    elif arguments.references == "rvps":
        form = getattr(way, "TRUSTEE_FORM", "hex")
        write_out(references_rvps(found, way.TRUSTEE_NAMES, form), arguments.output)
    else:
        write_out(references_json(pieces.platform, found), arguments.output)
    sys.stdout.flush()
    distinct = len({reference.value for reference in found})
    print(f"{len(found)} references, {distinct} of them different", file=sys.stderr)
    for note in (*pieces.notes, *passed):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _references(
    way: Method, matrix: Matrix, images: Mapping[str, bool], passed: list[str]
) -> Iterator[Reference]:
    """Yield every image's references; what is wrong with one that was not named itself goes to `passed`."""
    for firmware in matrix.firmwares or (matrix.pieces.firmware,):
        try:
            yield from way.references(replaced(matrix, firmwares=(firmware,)))
        except InputError as error:
            if images.get(firmware, True):
                raise
            passed.append(f"passed over: {error}")


def _shown(references: Iterator[Reference], most: int) -> Iterator[Reference]:
    """Pass references on, and show on a terminal how many of at most `most` there are when it takes long."""
    shows, started, drawn = sys.stderr.isatty(), time.monotonic(), False
    for done, reference in enumerate(references, 1):
        yield reference
        if shows and done % 256 == 0 and time.monotonic() - started > _PATIENCE:
            filled = min(30 * done // most, 30)
            sys.stderr.write(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done} of {max(most, done)}")
            drawn = True
    if drawn:
        sys.stderr.write("\r\033[K")


def _images(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the images that are meant, and whether each was named itself or is of a folder."""
    for path in text.split(","):
        if os.path.isdir(path):
            yield from ((found, False) for found in images_beside(os.path.join(path, "")))
        else:
            yield path, True


def _counts(text: str) -> tuple[int, ...]:
    """Return numbers of vCPUs that are said as ``1-64,96``."""
    found: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        low = number(first)
        high = number(last) if dash else low
        if not 1 <= low <= high <= MOST_VCPUS:
            raise InputError(
                f"'{piece[:40]}' is no range of vCPUs",
                code="usage.number",
                remedy=f"1 to {MOST_VCPUS}: 1-64,96",
            )
        found += range(low, high + 1)
    return tuple(found)


def _processors(text: str) -> tuple[Processor, ...]:
    return tuple(Processor(name, processor.parse(name)) for name in text.split(","))


def _write(data: bytes, path: str | None) -> None:
    if path is None or path == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise InputError(
            "this file cannot be written", code="output.unwritable", where=path, why=error.strerror or ""
        ) from None
