"""Measures SEV, and gives SEV-ES what they have in common."""

from __future__ import annotations

from sequester.measure.methods import check_length
from sequester.measure.sev import REGISTER, SevLaunch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

DIGEST_SIZE = 32

TRUSTEE_NAMES = {REGISTER: "sev_launch_measurement"}
"""Our registers under the names that Trustee's default policy asks for (ear_default_policy_cpu.rego)."""


def launch(pieces: Pieces) -> SevLaunch:
    """Read the files of a SEV launch; vCPUs matter only to whoever compares it with SEV-ES."""
    return SevLaunch(
        pieces.read_firmware(),
        vcpus=pieces.vcpus or 1,
        signature=pieces.signature or 0,
        monitor=pieces.monitor,
        fpu=pieces.new_vm_type,
        boot=pieces.read_boot(),
        notes=pieces.notes,
    )


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch nearest to these pieces that has this digest, or None."""
    return nearest(digest, launch(pieces), pieces, others)


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield the digest with each firmware image: plain SEV does not measure processors."""
    from sequester.measure.tables import Reference

    for pieces in matrix.by_firmware():
        made = launch(pieces)
        yield Reference(REGISTER, made.measure().digest, made.firmware.name)


def nearest(digest: bytes, given: SevLaunch, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch nearest to the given one that has this digest, or None.

    Raises InputError for a digest of another length than SHA-256's.
    """
    from sequester.measure.prefixes import SevPrefixes
    from sequester.measure.search import search
    from sequester.measure.sev_guesses import readable, sev_guesses

    check_length(digest, DIGEST_SIZE, "SEV or SEV-ES")
    guesses = sev_guesses(given, pieces.boot_at_hand(), readable(others))
    return search(digest, given, guesses, SevPrefixes())
