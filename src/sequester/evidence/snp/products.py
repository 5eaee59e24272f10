"""AMD's product lines that have SEV-SNP: how a report tells its own, and what the line's TCB versions look like.

Sources: SNP firmware ABI 1.58, 2.2 TCB_VERSION (tables 3 and 4); KDS specification 57230, 4.1.
"""

from __future__ import annotations

from functools import lru_cache

MILAN, GENOA, TURIN = "Milan", "Genoa", "Turin"
PRODUCTS = (MILAN, GENOA, TURIN)

_FAMILIES = (
    (0x19, range(0x10), MILAN),
    (0x19, range(0x10, 0x20), GENOA),
    (0x19, range(0xA0, 0xB0), GENOA),
    (0x1A, range(0x20), TURIN),
)
"""Family, models, product line. Bergamo and Siena (19h, A0h to AFh) have Genoa's certificates."""
_LINES = {"Bergamo": GENOA, "Siena": GENOA}

_LEGACY = ("boot-loader", "tee", "reserved-4", "reserved-5", "reserved-6", "reserved-7", "snp", "microcode")
_WITH_FMC = ("fmc", "boot-loader", "tee", "snp", "reserved-4", "reserved-5", "reserved-6", "microcode")
COMPONENTS = ("fmc", "boot-loader", "tee", "snp", "microcode")
"""Components of a TCB version, in the order in which they start; the first is in Turin's only."""


def product_of(family: int, model: int) -> str:
    """Return the product line of a processor's combined family and model, '' for one that is not known."""
    return next((line for number, models, line in _FAMILIES if family == number and model in models), "")


def line_of(name: str) -> str:
    """Return the product line of a product's name in a certificate (``Milan-B0``), '' for an unknown one."""
    line = name.partition("-")[0]
    line = _LINES.get(line, line)
    return line if line in PRODUCTS else ""


@lru_cache(maxsize=4096)
def tcb(version: int, product: str) -> dict[str, int]:
    """Return the security versions in a TCB_VERSION by component; callers must not change it.

    Reserved bytes are in it where they are not zero.
    """
    names = _WITH_FMC if product == TURIN else _LEGACY
    told = dict(zip(names, version.to_bytes(8, "little"), strict=True))
    return {name: value for name, value in told.items() if value or not name.startswith("reserved")}


@lru_cache(maxsize=4096)
def spelled(version: int, product: str) -> str:
    """Return a TCB_VERSION for a message."""
    return ", ".join(f"{name} {value}" for name, value in tcb(version, product).items())
