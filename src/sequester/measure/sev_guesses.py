"""What people get wrong about a SEV, SEV-ES or SEV-SNP launch, so that its digest is another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sequester.errors import InputError
from sequester.measure import processor, vmsa
from sequester.measure.boot import Boot
from sequester.measure.cmdlines import near
from sequester.measure.files import read_image
from sequester.measure.kernel_hashes import NOTHING
from sequester.measure.ovmf import Ovmf, read_ovmf
from sequester.measure.search import Guess, Guesses
from sequester.measure.sev import SevLaunch
from sequester.measure.sev_snp import SnpLaunch
from sequester.measure.svsm import SvsmLaunch
from sequester.record import replaced

HOSTS = {
    0x800F12: "Naples",
    0x830F10: "Rome",
    0xA00F10: "Milan B0",
    0xA00F11: "Milan B1",
    0xA00F12: "Milan-X",
    0xA10F10: "Genoa A0",
    0xA10F11: "Genoa B1",
    0xA10F12: "Genoa-X",
    0xAA0F01: "Bergamo",
    0xAA0F02: "Bergamo or Siena",
    0xB00F20: "Turin C0",
    0xB00F21: "Turin C1",
    0xB10F10: "Turin Dense",
}
"""Signatures of EPYC processors, which ``-cpu host`` has (AMD revision guides 55449, 56323, 56683, 57095, 58251)."""

FEATURES = {
    0x1: "SNP alone, as Linux before 6.6 and since 6.8",
    0x21: "debug swap, as Linux 6.6 and 6.7 turned it on",
    0x0: "none",
    0x20: "debug swap, as Linux 6.6 and 6.7 turned it on",
    0x3: "virtual top of memory",
    0x9: "restricted injection",
    0x11: "alternate injection",
    0x201: "secure TSC",
}
"""SEV_FEATURES that have been seen (APM 2, table B-4, offset 0x3B0)."""
_SNP_ACTIVE = 1


def readable(paths: Iterable[str]) -> tuple[Ovmf, ...]:
    """Read those of these firmware images that can be read."""
    found = []
    for path in paths:
        try:
            found.append(read_ovmf(read_image(path), path))
        except InputError:
            continue
    return tuple(found)


def snp_guesses(launch: SnpLaunch, boot: Boot | None, others: Iterable[Ovmf]) -> Guesses:
    """Return the guesses for an SNP launch.

    `boot` is the kernel that is at hand, measured in the launch or not; `others` other firmware images.
    """
    return {
        "monitor": _monitors(launch.monitor),
        "boot": tuple(_boots(launch.boot, boot)),
        "signature": _signatures(launch.signature),
        "features": _features(launch.features, snp=True),
        "fpu": _fpu(launch.fpu),
        "firmware": _firmwares(launch.firmware, others),
    }


def sev_guesses(launch: SevLaunch, boot: Boot | None, others: Iterable[Ovmf]) -> Guesses:
    """Return the guesses for a SEV or SEV-ES launch; arguments as for `snp_guesses`."""
    common = {
        "boot": tuple(_boots(launch.boot, boot)),
        "firmware": _firmwares(launch.firmware, others),
    }
    if not launch.es:
        return {"es": (Guess("SEV-ES instead of SEV", {"es": True}),), **common}
    return {
        "es": (Guess("SEV instead of SEV-ES", {"es": False}),),
        "fpu": _fpu(launch.fpu),
        "signature": _signatures(launch.signature),
        "features": _features(launch.features, snp=False),
        **common,
        "monitor": _monitors(launch.monitor),
    }


def svsm_guesses(launch: SvsmLaunch) -> Guesses:
    """Return the guesses for a launch under an SVSM."""
    return {"signature": _signatures(launch.signature)}


def _monitors(given: str) -> tuple[Guess, ...]:
    return tuple(
        Guess(f"initial state as on {name} instead of {given}", {"monitor": name})
        for name in vmsa.MONITORS
        if name != given
    )


def _signatures(given: int) -> tuple[Guess, ...]:
    models: dict[int, list[str]] = {}
    for name in processor.names():
        models.setdefault(processor.parse(name), []).append(name)
    for signature, host in HOSTS.items():
        models.setdefault(signature, []).append(f"host on {host}")
    amd = sorted(models, key=lambda signature: (not models[signature][0].startswith("EPYC"), signature))
    guesses = []
    for signature in amd:
        names = [name for name in models[signature] if "-v" not in name] or models[signature][:1]
        what = f"vCPU type {' or '.join(names[:3])} (signature {signature:#x}) instead of {given:#x}"
        if signature != given:
            guesses.append(Guess(what, {"signature": signature}))
    return tuple(guesses)


def _features(given: int, snp: bool) -> tuple[Guess, ...]:
    return tuple(
        Guess(f"guest features {features:#x} ({what}) instead of {given:#x}", {"features": features})
        for features, what in FEATURES.items()
        if features != given and (features & _SNP_ACTIVE == snp)
    )


def _fpu(given: bool) -> tuple[Guess, ...]:
    what = (
        "a VMSA without the FPU state (kernel before 6.10, or legacy-vm-type=on)"
        if given
        else "a VMSA with the FPU state (kernel 6.10 or later, and not legacy-vm-type=on)"
    )
    return (Guess(what, {"fpu": not given}),)


def _firmwares(given: Ovmf, others: Iterable[Ovmf]) -> tuple[Guess, ...]:
    return tuple(
        Guess(f"firmware {other.name} instead of {given.name}", {"firmware": other})
        for other in others
        if other.data != given.data
    )


def _boots(given: Boot | None, at_hand: Boot | None) -> Iterator[Guess]:
    if given is None:
        if at_hand is not None:
            yield Guess("kernel hashes on instead of off", {"boot": at_hand})
            for guess in _boots(at_hand, at_hand):
                if guess.fields["boot"] is not None:
                    yield Guess(f"kernel hashes on instead of off, {guess.what}", guess.fields)
        return
    yield Guess("kernel hashes off instead of on", {"boot": None})
    initrds = [("", given.initrd)]
    if given.initrd != NOTHING:
        initrds.append(("no initrd", NOTHING))
    for missing, initrd in initrds:
        for what, line, ending in (("", given.cmdline, given.ending), *near(given.cmdline)):
            if what or missing:
                boot = replaced(given, initrd=initrd, cmdline=line, ending=ending)
                yield Guess(", ".join(filter(None, (missing, what))), {"boot": boot})
