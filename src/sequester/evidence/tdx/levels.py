"""Which level a platform, its TDX module and its quoting enclave reach, and what that makes of the three together.

Rules: Intel TDX DCAP Quoting Library API 1.7, 3.6 (TD quote verification); Intel SGX DCAP, Src/AttestationLibrary
QuoteVerification, `checkTcbLevel` and `convergeTcbStatus`. With a TDX module of a version above 0 its own table judges
the module, and the first two of the platform's TDX components count no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sequester.evidence.tdx.pck import Platform
from sequester.evidence.tdx.quote import Quote
from sequester.evidence.tdx.tables import Level, Module, QeIdentity, TcbInfo

_WORSE: Mapping[str, str] = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
}
"""What an outdated module or enclave makes of a platform."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where something stands: its status and advisories; `fault` says why it has none."""

    status: str = ""
    advisories: tuple[str, ...] = ()
    fault: str = ""


def platform_level(quote: Quote, platform: Platform, info: TcbInfo) -> Standing:
    """Return the level of the platform's firmware."""
    svns = quote.body["tee_tcb_svn"]
    first = 2 if svns[1] else 0
    for level in info.levels:
        if (
            _reaches(platform.components, level.sgx)
            and platform.pcesvn >= level.pcesvn
            and _reaches(svns[first:], level.tdx[first:])
        ):
            return Standing(level.status, level.advisories)
    return Standing(fault="it reaches no level of Intel's table")


def module_level(quote: Quote, info: TcbInfo) -> Standing:
    """Return the level of the TDX module, UpToDate for one of version 0, which the platform's own level covers."""
    svns = quote.body["tee_tcb_svn"]
    if not svns[1]:
        return _of_signer(quote, info.module) or Standing("UpToDate")
    name = f"TDX_{svns[1]:02X}"
    module = info.modules.get(name)
    if module is None:
        return Standing(fault=f"Intel's table has no TDX module {name}")
    wrong = _of_signer(quote, module)
    if wrong is not None:
        return wrong
    return _by_svn(svns[0], module.levels, "the TDX module")


def _of_signer(quote: Quote, module: Module) -> Standing | None:
    """Return why the module is not one of Intel's table, or None."""
    if quote.body["mrsignerseam"] != module.signer:
        return Standing(fault="the TDX module has another signer (MRSIGNERSEAM)")
    if int.from_bytes(quote.body["seamattributes"], "little") & module.mask != module.attributes:
        return Standing(fault="the TDX module has other attributes (SEAMATTRIBUTES)")
    return None


def enclave_level(quote: Quote, identity: QeIdentity) -> Standing:
    """Return the level of the quoting enclave."""
    report = {name: int.from_bytes(value, "little") for name, value in quote.enclave.items()}
    if quote.enclave["mrsigner"] != identity.signer:
        return Standing(fault="the quoting enclave has another signer (MRSIGNER)")
    if report["isvprodid"] != identity.product:
        return Standing(fault=f"the quoting enclave is product {report['isvprodid']}, not {identity.product}")
    if report["miscselect"] & identity.misc_mask != identity.misc:
        return Standing(fault="the quoting enclave has another MISCSELECT")
    if report["attributes"] & identity.mask != identity.attributes:
        return Standing(fault="the quoting enclave has other attributes")
    return _by_svn(report["isvsvn"], identity.levels, "the quoting enclave")


def together(platform: Standing, others: Sequence[Standing]) -> Standing:
    """Return what all of them are together: the worst of them, and every advisory."""
    status = platform.status
    for other in others:
        if "Revoked" in (status, other.status):
            status = "Revoked"
        elif other.status == "OutOfDate":
            status = _WORSE.get(status, status)
    advisories = [name for each in (platform, *others) for name in each.advisories]
    return Standing(status, tuple(dict.fromkeys(advisories)))


def _by_svn(svn: int, levels: tuple[Level, ...], what: str) -> Standing:
    for level in levels:
        if svn >= level.isvsvn:
            return Standing(level.status, level.advisories)
    return Standing(fault=f"{what} has SVN {svn}, below every level of Intel's table")


def _reaches(had: Sequence[int], least: Sequence[int]) -> bool:
    return all(one >= other for one, other in zip(had, least, strict=True))
