"""Measures Arm CCA realms, as far as what is known of guest and host goes."""

from __future__ import annotations

import os

from sequester.errors import InputError
from sequester.measure.cca import (
    IPA_BITS,
    LARGEST_MEMORY,
    RAM,
    CcaLaunch,
    Loaded,
    place,
    read_tree,
)
from sequester.measure.realm import ALGORITHMS, GRANULE, RealmParameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.pieces import Pieces
    from sequester.measure.search import Match
    from sequester.measure.tables import Matrix, Reference

TRUSTEE_NAMES = {
    "RIM": "cca.realm.cca-realm-initial-measurement",
    "RPV": "cca.realm.cca-realm-personalization-value",
}
"""Our registers under the names that Trustee gives the claims of a realm token (draft-ffm-rats-cca-token)."""
TRUSTEE_FORM = "base64"
"""How its verifier spells their values."""

_NUMBERS = ("ipa-bits", "breakpoints", "watchpoints", "pmu-counters", "sve")
_SWITCHES = ("pmu", "lpa2")
_NEEDED = ("breakpoints", "watchpoints")
_SIZES = (32, 64)


def launch(pieces: Pieces) -> CcaLaunch:
    """Read the files of a realm. What cannot be known is in the launch's `unknown`; InputError for what is wrong."""
    if not pieces.firmware and not pieces.kernel:
        raise InputError(
            "neither firmware nor a kernel is named",
            code="measure.firmware",
            remedy="give --kernel, or --firmware: what is measured is in it",
        )
    algorithm = str(pieces.properties.get("measurement-algorithm") or "sha512")
    parameters = realm_parameters(pieces.realm, algorithm)
    personalization = bytes(pieces.properties.get("personalization-value") or bytes(64))
    unknown = _unknown(pieces, parameters)
    if unknown or pieces.memory is None:
        return CcaLaunch(
            parameters, 0, (), personalization=personalization, unknown=unknown, notes=pieces.notes
        )
    tree = read_tree(pieces.device_tree)
    loaded: tuple[Loaded, ...]
    if pieces.firmware:
        at, entry, argument = RAM, 0, 0
        loaded = (Loaded(f"firmware {pieces.firmware}", 0, pieces.firmware),)
    else:
        size = _size(pieces.initrd) if pieces.initrd else 0
        places = place(pieces.kernel, pieces.initrd, size, pieces.memory)
        at, entry, argument, loaded = places.tree, places.entry, places.tree, places.loaded
    if at + len(tree) > RAM + pieces.memory:
        raise InputError(
            f"kernel, initrd and device tree do not fit in {pieces.memory >> 20} MiB",
            code="measure.memory",
            remedy="give the guest more memory",
        )
    loaded = (*loaded, Loaded(f"device tree {pieces.device_tree}", at, data=tree))
    return CcaLaunch(parameters, pieces.memory, loaded, entry, argument, personalization, notes=pieces.notes)


def find(digest: bytes, pieces: Pieces, others: tuple[str, ...]) -> Match | None:
    """Return the launch that has this RIM: the given one, one without its initrd, or with other firmware or hash."""
    from sequester.measure.search import Match
    from sequester.record import replaced

    if len(digest) not in _SIZES:
        raise InputError(
            f"a realm's measurement has 32 or 64 bytes, and this one {len(digest)}", code="measure.digest"
        )
    given = launch(pieces)
    if given.unknown:
        raise InputError("the realm's own measurement is not known", code="measure.realm", why=given.unknown)
    candidates = [(pieces, "")]
    if pieces.initrd and not pieces.firmware:
        candidates.append((replaced(pieces, initrd=""), "no initrd"))
    if pieces.firmware:
        candidates += [(replaced(pieces, firmware=path), f"firmware {path}") for path in others]
    for changed, what in candidates:
        for algorithm in ALGORITHMS:
            made = launch(
                replaced(changed, properties={**pieces.properties, "measurement-algorithm": algorithm})
            )
            if made.measure().registers[0].value == digest:
                other = given.parameters is not None and given.parameters.algorithm != algorithm
                hashed = (f"measurement-algorithm={algorithm}",) if other else ()
                return Match(made, (*((what,) if what else ()), *hashed))
    return None


def references(matrix: Matrix) -> Iterator[Reference]:
    """Yield RIM, where it is known, with each firmware image: processors are in the device tree."""
    from sequester.measure.tables import Reference

    for pieces in matrix.by_firmware():
        register = launch(pieces).measure().registers[0]
        if register.value is not None:
            yield Reference(register.name, register.value, pieces.firmware or pieces.kernel)


def realm_parameters(text: str, algorithm: str) -> RealmParameters | None:
    """Read ``breakpoints=6,watchpoints=4,pmu=on,pmu-counters=6,sve=256``; None where it does not say enough.

    Raises InputError for what is not of this form, or what no realm can have.
    """
    given: dict[str, int] = {}
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if name in _SWITCHES and value in ("on", "off"):
            given[name] = value == "on"
        elif name in _NUMBERS and value.isascii() and value.isdecimal() and len(value) < 6:
            given[name] = int(value)
        else:
            raise InputError(
                f"'{word[:40]}' says nothing of a realm",
                code="measure.realm",
                where="--realm",
                remedy=f"numbers: {', '.join(_NUMBERS)}; on or off: {', '.join(_SWITCHES)}",
            )
    if any(name not in given for name in _NEEDED):
        return None
    return RealmParameters(
        given.get("ipa-bits", IPA_BITS),
        given["breakpoints"],
        given["watchpoints"],
        given.get("pmu-counters", 0),
        bool(given.get("pmu")),
        given.get("sve", 0),
        bool(given.get("lpa2")),
        algorithm,
    )


def _unknown(pieces: Pieces, parameters: RealmParameters | None) -> str:
    """Return why a realm's measurement cannot be known, or ''."""
    if parameters is None:
        return "what the host gives its realms is not known (--realm breakpoints=N,watchpoints=N)"
    if pieces.memory is None:
        return "the size of the guest's memory is not known (--memory)"
    if not 0 < pieces.memory <= LARGEST_MEMORY or pieces.memory % GRANULE:
        return "QEMU's memory map is known for up to 255 GiB in whole pages"
    if pieces.properties.get("measurement-log") in (True, "on"):
        return "where the measurement log goes depends on the QEMU"
    if not pieces.device_tree:
        return "the device tree that QEMU makes for this guest and host is not at hand (--device-tree)"
    return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise InputError(
            "this file cannot be read",
            code="measure.unreadable",
            where=path,
            why=getattr(error, "strerror", None) or str(error),
        ) from None
