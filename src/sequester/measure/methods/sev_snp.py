"""Measures SEV-SNP, with an SVSM where one is named."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.methods import check_length
from sequester.measure.sev import REGISTER
from sequester.measure.sev_snp import DIGEST_SIZE, SNP_ACTIVE, SnpLaunch
from sequester.measure.vmsa import QEMU

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.igvm import SnpIgvmLaunch
    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.svsm import SvsmLaunch
    from sequester.measure.tables import Matrix, Reference

TRUSTEE_NAMES = {REGISTER: "snp_launch_measurement"}
"""Our registers under the names that Trustee's default policy asks for (ear_default_policy_cpu.rego)."""


def launch(pieces: Pieces) -> SnpLaunch | SvsmLaunch | SnpIgvmLaunch:
    """Read the files of a SEV-SNP launch."""
    if pieces.svsm:
        return _under_svsm(pieces)
    firmware = pieces.read_firmware()
    if firmware.data.startswith(b"IGVM"):
        from sequester.measure import igvm

        file = igvm.read_igvm(firmware.data, igvm.SNP, pieces.firmware)
        return igvm.SnpIgvmLaunch(file, pieces.monitor, pieces.notes)
    return SnpLaunch(
        firmware,
        vcpus=pieces.needed_vcpus(),
        signature=pieces.needed_signature(),
        features=SNP_ACTIVE if pieces.features is None else pieces.features,
        monitor=pieces.monitor,
        boot=pieces.read_boot(),
        seed=pieces.seed,
        notes=pieces.notes,
    )


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch nearest to these pieces that has this digest, or None.

    Raises InputError for a digest of another length than SHA-384's.
    """
    from sequester.measure.igvm import SnpIgvmLaunch
    from sequester.measure.prefixes import SnpPrefixes, SvsmPrefixes
    from sequester.measure.search import search
    from sequester.measure.sev_guesses import readable, snp_guesses, svsm_guesses

    check_length(digest, DIGEST_SIZE, "SEV-SNP")
    given = launch(pieces)
    if isinstance(given, SnpIgvmLaunch):
        from sequester.measure import igvm, igvm_guesses

        return igvm_guesses.nearest(digest, given, pieces, igvm_guesses.readable(others, igvm.SNP))
    if not isinstance(given, SnpLaunch):
        return search(digest, given, svsm_guesses(given), SvsmPrefixes())
    guesses = snp_guesses(given, pieces.boot_at_hand(), readable(others))
    return search(digest, given, guesses, SnpPrefixes())


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield the digest with each firmware image, processor and number of vCPUs."""
    from sequester.measure.igvm import SnpIgvmLaunch
    from sequester.measure.prefixes import SnpPrefixes, SvsmPrefixes
    from sequester.measure.tables import Reference, filled, with_processors

    for pieces in matrix.by_firmware():
        made = launch(filled(pieces, matrix))
        if isinstance(made, SnpIgvmLaunch):
            yield Reference(REGISTER, made.measure().digest, pieces.firmware)
            continue
        prefixes = SvsmPrefixes() if matrix.pieces.svsm else SnpPrefixes()
        yield from with_processors(matrix, made, prefixes, REGISTER)


def _under_svsm(pieces: Pieces) -> SvsmLaunch:
    from sequester.measure.files import read_image
    from sequester.measure.ovmf import read_ovmf
    from sequester.measure.svsm import SvsmLaunch

    if pieces.monitor != QEMU or pieces.seed:
        raise InputError("an SVSM is measured under QEMU and with its firmware only", code="measure.svsm")
    if pieces.kernel:
        raise InputError(
            "a kernel is not measured under an SVSM", code="measure.svsm", remedy="leave --kernel out"
        )
    if pieces.variables is None:
        raise InputError(
            "the size of the variable store is not known, and the SVSM lies below it",
            code="measure.svsm",
            remedy="give --vars, the file or its size in bytes",
        )
    firmware = pieces.read_firmware()
    below = read_ovmf(read_image(pieces.svsm), pieces.svsm, firmware.address - pieces.variables)
    return SvsmLaunch(firmware, below, pieces.needed_vcpus(), pieces.needed_signature())
