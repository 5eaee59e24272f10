"""Which level a platform, its TDX module and its quoting enclave reach, and what that makes of the three together.

Rules: Intel TDX DCAP Quoting Library API 1.7, 3.6 (TD quote verification); Intel SGX DCAP, Src/AttestationLibrary/src/
Verifiers/Checks, `tdxEvaluateTCB`, `convergeTcbStatuses` and `checkForRelaunch`. With a TDX module of a version above 0
its own table judges the module, and the first two of the platform's TDX components count no more.
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
_OUT_OF_DATE = ("OutOfDate", "OutOfDateConfigurationNeeded")
RELAUNCH, RELAUNCH_CONFIGURATION = "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"
"""Statuses that no table has: see `relaunched`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where something stands: its status and advisories; `fault` says why it has none."""

    status: str = ""
    advisories: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a platform was or is: where its firmware, its TDX module and its quoting enclave stand, and all together."""

    platform: Standing
    module: Standing
    enclave: Standing

    @property
    def fault(self) -> str:
        """Why there is no level, '' where there is one."""
        return self.platform.fault or self.module.fault

    @property
    def whole(self) -> Standing:
        """All of them together: the worst, and every advisory. An enclave that is not Intel's says nothing here."""
        status = self.platform.status
        for other in (self.module.status, self.enclave.status):
            if "Revoked" in (status, other):
                status = "Revoked"
            elif other not in ("UpToDate", ""):
                status = _WORSE.get(status, status)
        parts = (self.platform, self.module, self.enclave)
        return Standing(status, tuple(dict.fromkeys(name for each in parts for name in each.advisories)))

    def __str__(self) -> str:
        told = (self.platform.status, self.module.status, self.enclave.status or "unknown")
        return "platform {}, TDX module {}, quoting enclave {}".format(*told)


def evaluated(svns: bytes, quote: Quote, platform: Platform, info: TcbInfo, enclave: Standing) -> Evaluation:
    """Return where a platform with these security versions (TEE_TCB_SVN, 16 bytes) stands."""
    return Evaluation(_platform_level(svns, platform, info), _module_level(svns, quote, info), enclave)


def relaunched(launch: Standing, current: Standing) -> Standing:
    """Return what a guest is that was launched at one level and runs at another now.

    The TDX module can be updated under a running guest: one that was launched before is as good as new if it is
    started again. One that runs on a module that was revoked is no good, whatever it was launched with.
    """
    if current.status == "Revoked":
        return current
    if launch.status not in _OUT_OF_DATE or current.status not in _WORSE:
        return launch
    configure = "Configuration" in launch.status + current.status
    return Standing(RELAUNCH_CONFIGURATION if configure else RELAUNCH, launch.advisories)


def _platform_level(svns: bytes, platform: Platform, info: TcbInfo) -> Standing:
    first = 2 if svns[1] else 0
    for level in info.levels:
        if (
            _reaches(platform.components, level.sgx)
            and platform.pcesvn >= level.pcesvn
            and _reaches(svns[first:], level.tdx[first:])
        ):
            return Standing(level.status, level.advisories)
    return Standing(fault="it reaches no level of Intel's table")


def _module_level(svns: bytes, quote: Quote, info: TcbInfo) -> Standing:
    """Return the level of the TDX module, UpToDate for one of version 0, which the platform's own level covers."""
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
    attributes = int.from_bytes(quote.body["seamattributes"], "little")
    if attributes & module.mask != module.attributes or attributes & ~module.mask:
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


def _by_svn(svn: int, levels: tuple[Level, ...], what: str) -> Standing:
    for level in levels:
        if svn >= level.isvsvn:
            return Standing(level.status, level.advisories)
    return Standing(fault=f"{what} has SVN {svn}, below every level of Intel's table")


def _reaches(had: Sequence[int], least: Sequence[int]) -> bool:
    return all(one >= other for one, other in zip(had, least, strict=True))
