"""What a platform lacks for Intel's best level, by the names in Intel's own table: what its operator has to update."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.evidence.tdx.pck import Platform
from sequester.evidence.tdx.quote import Quote
from sequester.evidence.tdx.tables import Level, QeIdentity, TcbInfo


def shortfall(quote: Quote, platform: Platform, info: TcbInfo, identity: QeIdentity) -> tuple[str, ...]:
    """Return each security version that is too low for the best level, with the one that is asked for."""
    svns = quote.body["tee_tcb_svn"]
    best = _best(info.levels)
    first = 2 if svns[1] else 0
    found = list(_lower("SGX", platform.components, best.sgx, best.sgx_names, 0))
    found += _lower("TDX", svns, best.tdx, best.tdx_names, first)
    if platform.pcesvn < best.pcesvn:
        found.append(f"PCE: {best.pcesvn}, here {platform.pcesvn}")
    module = info.modules.get(f"TDX_{svns[1]:02X}")
    if module is not None and svns[0] < (least := _best(module.levels).isvsvn):
        found.append(f"TDX module: SVN {least}, here {svns[0]}")
    enclave = int.from_bytes(quote.enclave["isvsvn"], "little")
    if enclave < (least := _best(identity.levels).isvsvn):
        found.append(f"quoting enclave: SVN {least}, here {enclave}")
    return tuple(found)


def _best(levels: tuple[Level, ...]) -> Level:
    return next((level for level in levels if level.status == "UpToDate"), levels[0])


def _lower(
    kind: str, had: bytes | tuple[int, ...], least: tuple[int, ...], names: tuple[str, ...], first: int
) -> Iterator[str]:
    for number in range(first, len(least)):
        if had[number] < least[number]:
            name = names[number] or f"{kind} component {number + 1}"
            yield f"{name}: {least[number]}, here {had[number]}"
