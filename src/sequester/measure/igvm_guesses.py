"""What may be different about a launch from an IGVM file, so that its digest is another one.

Launchers differ in how they take a file: in what order processors come, whether pages without data are zero pages,
which processors there are (microsoft/igvm igvm/src/measurement; coconut-svsm igvmmeasure; QEMU backends/igvm.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha384
from itertools import combinations, product
from typing import Any

from sequester.errors import InputError
from sequester.measure import snp_pages, vmsa
from sequester.measure.files import read_image
from sequester.measure.igvm import Context, IgvmFile, SnpIgvmLaunch, TdxIgvmLaunch, read_igvm
from sequester.measure.search import Guess, Match
from sequester.measure.sev_guesses import FEATURES
from sequester.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sequester.measure.pieces import Pieces

Launch = SnpIgvmLaunch | TdxIgvmLaunch

_MOST_MORE = 64
_SNP_ACTIVE = 1
_TOGETHER = 2
"""How many guesses are wrong at once: each costs a hash of the whole file."""


def nearest(digest: bytes, launch: Launch, pieces: Pieces, others: Iterable[IgvmFile]) -> Match | None:
    """Return the launch nearest to the given one that has this digest, or None."""
    guesses = _snp(launch) if isinstance(launch, SnpIgvmLaunch) else _tdx(launch)
    files = tuple(
        Guess(f"file {other.name} instead of {launch.file.name}", {"file": other})
        for other in others
        if other.steps != launch.file.steps
    )
    guesses["file"] = files
    for wrong in range(_TOGETHER + 1):
        for said, fields in _wrong(guesses, wrong):
            if _digest(changed := replaced(launch, **fields)) == digest:
                return Match(changed, said)
        if wrong and isinstance(launch, SnpIgvmLaunch):
            for said, fields in _wrong(guesses, wrong - 1):
                for what, nearby, found in _with_more(replaced(launch, **fields), pieces):
                    if found == digest:
                        return Match(nearby, (*said, what))
    return None


def readable(paths: Iterable[str], platform: int) -> tuple[IgvmFile, ...]:
    """Read those of these files that are IGVM files for this platform."""
    found = []
    for path in paths:
        try:
            found.append(read_igvm(read_image(path), platform, path))
        except InputError:
            continue
    return tuple(found)


def _wrong(
    guesses: Mapping[str, Sequence[Guess]], number: int
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield as many guesses of different features together: what they are, and the launch's fields with them."""
    for features in combinations(guesses.values(), number):
        for chosen in product(*features):
            fields = {name: value for guess in chosen for name, value in guess.fields.items()}
            yield tuple(guess.what for guess in chosen), fields


def _digest(launch: Launch) -> bytes:
    try:
        return launch.measure().digest
    except InputError:
        return b""


def _with_more(launch: SnpIgvmLaunch, pieces: Pieces) -> Iterator[tuple[str, SnpIgvmLaunch, bytes]]:
    """Yield launches with processors that the file does not have, like its last one or as at reset, and digests."""
    pages = [step.page for step in launch.file.steps if isinstance(step, Context)]
    kinds = {"like the file's last one": pages[-1]} if pages else {}
    if pieces.signature is not None:
        reset = vmsa.state(vmsa.RESET, pieces.signature, _SNP_ACTIVE, launch.monitor)
        kinds["as they are at reset"] = vmsa.page(reset)
    for what, page in kinds.items():
        if launch.features is not None:
            page = vmsa.with_features(page, launch.features)
        chain, contents = _digest(launch), sha384(page).digest()
        for number in range(1, _MOST_MORE + 1):
            chain = snp_pages.add_vmsa(chain, contents)
            processors = "processor more" if number == 1 else "processors more"
            yield f"{number} {processors}, {what}", replaced(launch, more=(page,) * number), chain


def _snp(launch: SnpIgvmLaunch) -> dict[str, tuple[Guess, ...]]:
    own = sum(isinstance(step, Context) for step in launch.file.steps)
    monitor = (
        Guess("processors where the file has them, zeros hashed like other pages", {"monitor": vmsa.GCE})
        if launch.monitor == vmsa.QEMU
        else Guess("processors last, zeros as zero pages, as QEMU does it", {"monitor": vmsa.QEMU})
    )
    fewer = tuple(
        Guess(f"{number} of the file's {own} processors", {"processors": number}) for number in range(own)
    )
    features = tuple(
        Guess(f"guest features {each:#x} ({what})", {"features": each})
        for each, what in FEATURES.items()
        if each & _SNP_ACTIVE and own
    )
    return {
        "monitor": (monitor,),
        "apart": (Guess("each page without data a zero page of its own", {"apart": True}),),
        "processors": fewer,
        "features": features,
    }


def _tdx(launch: TdxIgvmLaunch) -> dict[str, tuple[Guess, ...]]:
    what = "all pages of a run added before they are measured"
    if launch.pages_first:
        what = "each page measured when it is added"
    return {"pages_first": (Guess(what, {"pages_first": not launch.pages_first}),)}
