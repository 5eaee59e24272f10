"""Measures SEV-ES."""

from __future__ import annotations

from sequester.measure.methods.sev import nearest
from sequester.measure.sev import REGISTER, SevLaunch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

TRUSTEE_NAMES = {REGISTER: "sev_launch_measurement"}
"""Our registers under the names that Trustee's default policy asks for (ear_default_policy_cpu.rego)."""

_DEBUG_SWAP = 0x20
"""The one SEV_FEATURES bit that KVM gives a SEV-ES guest (Linux arch/x86/kvm/svm/sev.c, 6.6 to 7.2)."""


def launch(pieces: Pieces) -> SevLaunch:
    """Read the files of a SEV-ES launch. Guest features are SNP's, except for one that both may have."""
    features, notes = pieces.features or 0, pieces.notes
    if features & ~_DEBUG_SWAP:
        said = (
            f"guest features {features:#x} are SEV-SNP's: a SEV-ES guest has none, and is measured with none"
        )
        features, notes = 0, (*notes, said)
    return SevLaunch(
        pieces.read_firmware(),
        es=True,
        vcpus=pieces.needed_vcpus(),
        signature=pieces.needed_signature(),
        features=features,
        monitor=pieces.monitor,
        fpu=pieces.new_vm_type,
        boot=pieces.read_boot(),
        notes=notes,
    )


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch nearest to these pieces that has this digest, or None."""
    return nearest(digest, launch(pieces), pieces, others)


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield the digest with each firmware image, processor and number of vCPUs."""
    from sequester.measure.prefixes import SevPrefixes
    from sequester.measure.tables import filled, with_processors

    for pieces in matrix.by_firmware():
        prefixes = SevPrefixes()
        yield from with_processors(matrix, launch(filled(pieces, matrix)), prefixes, REGISTER)
