"""Which mistake about a TDX launch explains the value of one of its registers."""

from __future__ import annotations

from sequester.errors import InputError
from sequester.measure.acpi_edges import with_edges
from sequester.measure.cmdlines import near
from sequester.measure.search import Match
from sequester.measure.tdvf_image import TdvfImage
from sequester.measure.tdx import MRTD, TdxLaunch
from sequester.measure.tdx_events import RTMR0, RTMR1, RTMR2
from sequester.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MIB, GIB = 1 << 20, 1 << 30
MEMORIES = tuple(
    sorted(
        {
            *(256 * MIB * number for number in range(1, 65)),
            *(GIB * number for number in range(1, 513)),
            *(1000 * MIB * number for number in range(1, 65)),
        }
    )
)
"""Sizes of memory that guests have."""


def nearest(digest: bytes, launch: TdxLaunch, others: tuple[TdvfImage, ...]) -> Match | None:
    """Return the launch nearest to the given one of which a register has this value, and what sets it apart.

    `differences` name the register where it is not MRTD.
    """
    for what, changed, register in _candidates(launch, others):
        try:
            if _value(changed, register) == digest:
                own = () if register == MRTD else (f"it is {register}",)
                return Match(changed, (*own, what) if what else own)
        except InputError:
            continue
    return None


def _candidates(launch: TdxLaunch, others: tuple[TdvfImage, ...]) -> Iterator[tuple[str, TdxLaunch, str]]:
    for register in (MRTD, RTMR0, RTMR1, RTMR2):
        yield "", launch, register
    pages_first = "all pages of a section added before they are measured"
    yield pages_first, replaced(launch, pages_first=not launch.pages_first), MRTD
    for other in others:
        if other.data != launch.firmware.data:
            name = f"firmware {other.name} instead of {launch.firmware.name}"
            changed = replaced(launch, firmware=other)
            for register in (MRTD, RTMR0):
                yield name, changed, register
            yield f"{name}, {pages_first}", replaced(changed, pages_first=not launch.pages_first), MRTD
    for memory in MEMORIES:
        if memory != launch.memory:
            yield f"{memory // MIB} MiB of memory", replaced(launch, memory=memory), RTMR0
    yield from _edges(launch)
    yield from _kernels(launch)


def _edges(launch: TdxLaunch) -> Iterator[tuple[str, TdxLaunch, str]]:
    if launch.acpi is None:
        return
    try:
        acpi = with_edges(launch.acpi)
    except InputError:
        return
    what = (
        "ACPI tables with edge-triggered interrupts, as QEMUs with Intel's TDX patches before 10.1 make them"
    )
    yield what, replaced(launch, acpi=acpi), RTMR0


def _kernels(launch: TdxLaunch) -> Iterator[tuple[str, TdxLaunch, str]]:
    if launch.kernel is None:
        return
    lines = [("", launch.kernel.command_line)]
    lines += [
        (what, line.decode("utf-8", "surrogateescape"))
        for what, line, ending in near(launch.kernel.command_line.encode("utf-8", "surrogateescape"))
        if ending
    ]
    for initrd, missing in ((launch.kernel.initrd, ""), (None, "no initrd")):
        for what, line in lines:
            kernel = replaced(launch.kernel, initrd=initrd, command_line=line)
            said = ", ".join(filter(None, (missing, what)))
            if kernel != launch.kernel:
                yield said, replaced(launch, kernel=kernel), RTMR2


def _value(launch: TdxLaunch, register: str) -> Any:
    if register == MRTD:
        *_, built = launch.build()
        return built.running
    return launch.register(register)
