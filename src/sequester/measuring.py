"""The expected measurement of a guest, from its plan or from pieces: the story that the command line tells.

    from sequester.measuring import measure
    from sequester.measure.pieces import Pieces

    measure(sequester.load("web.xml")).digest                # or a plan: what is started is what is measured
    measure(Pieces("sev-snp", "OVMF.fd", vcpus=4, signature=0xA00F11)).digest

Files are read where they are needed and nowhere else; nothing is started.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sequester.errors import InputError
from sequester.findings.rule import Severity
from sequester.formats.document import Document
from sequester.measure.guests import pieces_of
from sequester.measure.methods import method
from sequester.measure.pieces import Pieces
from sequester.planning import Plan, make_plan
from sequester.record import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.host.facts import HostFacts
    from sequester.measure.measurement import Contribution, Measurement
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

MOST_IMAGES = 64
"""Files of one folder that are tried as firmware."""
MOST_BYTES = 512 << 20
"""And how large they may be together."""
_TDX_SINCE = (10, 1)
_UNPROTECTED = (
    "the ACPI tables in RTMR0 are those of an unprotected start of this QEMU under TCG, with SMM and PIC off and 52"
    " address bits; they were never held against a TD on hardware: hold RTMR0 against one of yours before relying on it"
)
_PATCHED = (
    "this QEMU is older than TDX in QEMU (10.1): the tables are taken to have edge-triggered interrupts, as Intel's and"
    " Canonical's builds of then report them"
)
_SUFFIXES = (".fd", ".bin", ".rom", ".img", ".igvm")


def measure(of: Document | Plan | Pieces) -> Measurement:
    """Return what a guest, a plan or pieces will be measured as.

    Raises InputError where a file cannot be read or used, or a piece that is measured is not known.
    """
    pieces = _pieces(of)
    return method(pieces.platform).launch(pieces).measure()


def contributions(of: Document | Plan | Pieces) -> Iterator[Contribution]:
    """Yield what the measurement is made of, in order."""
    pieces = _pieces(of)
    return method(pieces.platform).launch(pieces).contributions()


def search(digest: bytes, of: Document | Plan | Pieces, others: tuple[str, ...] = ()) -> Match | None:
    """Return the launch nearest to this one that has a digest that was seen, and what sets it apart; or None.

    `others` are paths of other firmware images that may have been started (`images_beside`).
    """
    pieces = _pieces(of)
    return method(pieces.platform).find(digest, pieces, others)


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield the measurements of every launch of a matrix: one guest, many hosts."""
    return method(matrix.pieces.platform).references(matrix)


def pieces_of_guest(document: Document, limit: str | None = None, host: HostFacts | None = None) -> Pieces:
    """Return the pieces of the guest's plan; `limit` and `host` as for `make_plan`."""
    return pieces_of_plan(make_plan(document, limit, host))


def pieces_of_plan(plan: Plan) -> Pieces:
    """Return the pieces of a plan.

    One that would be refused is measured all the same, with a note: the pieces are there.
    """
    pieces = pieces_of(plan.guest, plan.limitation, plan.case.host)
    broken = [finding for finding in plan.findings if finding.severity >= Severity.ERROR]
    notes = tuple(f"this guest would not start as it is: {finding.found}" for finding in broken)
    return replaced(pieces, notes=(*pieces.notes, *notes))


def with_tables_of(pieces: Pieces, plan: Plan, emulator: str = "") -> Pieces:
    """Return a plan's pieces with the ACPI tables that a QEMU makes for its guest, in an unprotected start of a second.

    `emulator` is that QEMU, or '' for the plan's own. Nothing of the host's that the guest names is opened. Raises
    InputError for a guest whose machine cannot be built so, or where tables are not measured; HostError and GuestError
    where QEMU does not run.
    """
    from sequester.measure.qemu_machine import bare_argv
    from sequester.measure.qemu_tables import read_tables

    if not plan.limitation.demands.tables_measured:
        raise InputError(
            f"ACPI tables are not measured by {plan.limitation.title}",
            code="measure.acpi",
            remedy="leave --acpi-from out",
        )
    argv = bare_argv(plan.spoken("argv")[0])
    tables, version = read_tables([emulator or argv[0], *argv[1:]])
    notes = [*pieces.notes, _UNPROTECTED]
    if version < _TDX_SINCE:
        from sequester.measure.acpi_edges import with_edges

        tables = with_edges(tables)
        notes.append(_PATCHED)
    return replaced(pieces, tables=tables, notes=tuple(notes))


def images_beside(path: str) -> tuple[str, ...]:
    """Return the other files in an image's folder that may be firmware, by name; () where it cannot be listed.

    At most `MOST_IMAGES`, of at most `MOST_BYTES` together.
    """
    folder = os.path.dirname(path) or "."
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    own = os.path.basename(path)
    found: list[str] = []
    left = MOST_BYTES
    for name in names:
        path = os.path.join(folder, name)
        if name == own or not name.endswith(_SUFFIXES) or not os.path.isfile(path):
            continue
        left -= os.path.getsize(path)
        if left < 0 or len(found) == MOST_IMAGES:
            break
        found.append(path)
    return tuple(found)


def _pieces(of: Document | Plan | Pieces) -> Pieces:
    if isinstance(of, Pieces):
        return of
    return pieces_of_plan(of) if isinstance(of, Plan) else pieces_of_guest(of)
