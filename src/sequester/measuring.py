"""The expected measurement of a guest, from its plan or from pieces: the story that the command line tells.

`pieces_of_guest` takes the very plan that would be started; everything after that works on pieces, however they
were come by. Files are read where they are needed and nowhere else; nothing is started.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sequester.findings.rule import Severity
from sequester.formats.document import Document
from sequester.measure.guests import pieces_of
from sequester.measure.pieces import Pieces
from sequester.planning import make_plan
from sequester.record import replaced

if TYPE_CHECKING:
    from sequester.host.facts import HostFacts

MOST_IMAGES = 64
"""Files of one folder that are tried as firmware."""
_SUFFIXES = (".fd", ".bin", ".rom", ".img", ".igvm")


def pieces_of_guest(document: Document, limit: str | None = None, host: HostFacts | None = None) -> Pieces:
    """Return the pieces of the guest's plan; `limit` and `host` as for `make_plan`.

    A plan that would be refused is measured all the same, with a note: the pieces are there.
    """
    plan = make_plan(document, limit, host)
    pieces = pieces_of(plan.guest, plan.limitation, host)
    broken = [finding for finding in plan.findings if finding.severity >= Severity.ERROR]
    notes = tuple(f"this guest would not start as it is: {finding.found}" for finding in broken)
    return replaced(pieces, notes=(*pieces.notes, *notes))


def images_beside(path: str) -> tuple[str, ...]:
    """Return the other files in an image's folder that may be firmware, by name; () where it cannot be listed."""
    folder = os.path.dirname(path) or "."
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    own = os.path.basename(path)
    found = [name for name in names if name.endswith(_SUFFIXES) and name != own]
    return tuple(os.path.join(folder, name) for name in found[:MOST_IMAGES])
