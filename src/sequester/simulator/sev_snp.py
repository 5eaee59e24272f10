"""SEV-SNP played: the launch as the firmware judges it, what QEMU answers about it, and reports of the guest.

Sources: SNP firmware ABI 1.58 (AMD 56860), 8.15 to 8.18 SNP_LAUNCH_*; QEMU target/i386/sev.c (9.1 to 11.1); Linux
arch/x86/kvm/svm/sev.c, `snp_launch_start`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError, InputError
from sequester.measure import id_block
from sequester.simulator import migration
from sequester.simulator.platform import Forward, Handler, QmpError
from sequester.simulator.snp_report import Report

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

API = (1, 58, 3)
"""Firmware version and build that is played: major, minor, build."""
PLATFORM_INFO = 1 << 0 | 1 << 2 | 1 << 5
"""SMT on, ECC memory, no aliased memory (ABI table 24)."""
BLOCKED = "SEV-SNP: Migration is not implemented"
"""target/i386/sev.c, from the first run on."""
GENOA = 0xA10F11
"""CPUID 1 EAX of the processor that is played where the guest names none."""

_MUST = 1 << 17
_KNOWN = (1 << 26) - 1
_POLICY_FAILURE = (7, "Policy is not allowed")
_BAD_SIGNATURE = (10, "Bad signature")
_BAD_MEASUREMENT = (11, "Bad measurement")
_FAMILIES = {
    (0x19, 0x00): "Milan",
    (0x19, 0x10): "Genoa",
    (0x19, 0xA0): "Genoa",
    (0x1A, 0x00): "Turin",
    (0x1A, 0x10): "Turin",
}
"""Family and first model → product, as AMD's key service names it (KDS specification 57230, 4.1)."""


def simulated(plan: Plan, identity: Identity, random: Random, now: datetime) -> SimulatedSnp:
    """Return a guest's SEV-SNP before its launch."""
    return SimulatedSnp(plan, identity, random, now)


class SimulatedSnp:
    """One guest's SEV-SNP: `state` as ``query-sev`` tells it."""

    engaged = True

    def __init__(self, plan: Plan, identity: Identity, random: Random, now: datetime) -> None:
        self._limitation = plan.limitation.completed(None)
        self._plan = plan
        self._identity = identity
        self._random = random
        self._now = now
        self._report: Report | None = None
        self._unmeasured = ""
        self.state = "uninit"
        self.notes: tuple[str, ...] = ()
        self.handlers: Mapping[str, Handler] = {
            **migration.handlers(lambda: BLOCKED if self.state == "running" else ""),
            "cont": self._cont,
            "query-sev": self._query,
            "query-sev-launch-measure": self._no_measurement,
            "query-sev-attestation-report": self._no_report,
            "sev-inject-launch-secret": self._no_secret,
        }

    def begin(self) -> None:
        """SNP_LAUNCH_START and the updates."""
        policy = self._policy
        if policy & ~_KNOWN or not policy & _MUST:
            raise _ended("sev_snp_launch_start: SNP_LAUNCH_START ret=-22 fw_error=0 ''")
        if (policy >> 8 & 0xFF, policy & 0xFF) > API[:2]:
            raise _refused("sev_snp_launch_start: SNP_LAUNCH_START", _POLICY_FAILURE)
        signature = self._measure()
        product = product_of(signature)
        if product is None:
            signature, product = GENOA, "Genoa"
        self._product = product
        self._report = self._report and replace(self._report, processor=signature)
        self.state = "launch-update"

    def _measure(self) -> int:
        from sequester.measuring import measure, pieces_of_plan

        try:
            pieces = pieces_of_plan(self._plan)
            digest = measure(pieces).digest
        except InputError as error:
            self._unmeasured = str(error)
            self.notes = (f"the launch was not measured and there is no evidence: {error}",)
            return GENOA
        self._report = Report(
            digest,
            self._policy,
            b"",
            self._random(32),
            b"",
            0,
            API,
            PLATFORM_INFO,
            0,
            host_data=self._limitation.value("host-data") or bytes(32),
        )
        return pieces.signature or GENOA

    async def _cont(self, _arguments: Mapping[str, Any], forward: Forward) -> Any:
        if self.state == "launch-update":
            self._finish()
        return await forward()

    def _finish(self) -> None:
        """SNP_LAUNCH_FINISH: the ID block must be of this launch."""
        what = "sev_snp_launch_finish: SNP_LAUNCH_FINISH"
        block, authentication = (self._limitation.value(name) for name in ("id-block", "id-auth"))
        if block is not None and self._report is not None:
            told = id_block.IdBlock.unpack(block)
            authentication = (authentication or b"").ljust(4096, b"\0")
            if id_block.check(block, authentication):
                raise _refused(what, _BAD_SIGNATURE)
            if told.policy != self._policy:
                raise _refused(what, _POLICY_FAILURE)
            if told.digest != self._report.measurement:
                raise _refused(what, _BAD_MEASUREMENT)
            named, author = id_block.key_digests(authentication)
            author_key = bool(self._limitation.value("author-key-enabled"))
            if author_key and author is None:
                raise _refused(what, _BAD_SIGNATURE)
            self._report = replace(
                self._report,
                guest_svn=told.svn,
                family_id=told.family,
                image_id=told.image,
                id_key_digest=named,
                author_key_digest=author if author_key and author else bytes(48),
                author_key=author_key,
            )
        self.state = "running"

    async def _query(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        major, minor, build = API
        told = {
            "enabled": True,
            "api-major": major,
            "api-minor": minor,
            "build-id": build,
            "state": self.state,
        }
        return {**told, "sev-type": "sev-snp", "snp-policy": self._policy}

    async def _no_measurement(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        raise QmpError("SEV launch measurement is not available")

    async def _no_report(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        raise QmpError("SEV attestation report is not available")

    async def _no_secret(self, _arguments: Mapping[str, Any], _forward: Forward) -> Any:
        raise QmpError("SEV: Not in correct state. (LSECRET) 0")

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """A reset rebuilds the same launch (QEMU 11.0 and later) or ends QEMU: either way nothing changes here."""

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return a report that a guest's own 64 bytes are in, and the certificates up to the simulated root."""
        from sequester.simulator.snp_chain import chip

        if self._report is None:
            raise GuestError("this guest has no evidence", code="simulator.evidence", why=self._unmeasured)
        if self.state != "running":
            raise GuestError("a guest that does not run yet has no evidence", code="simulator.evidence")
        if self._limitation.value("vcek-disabled"):
            raise GuestError(
                "this guest's reports are not signed by the chip's key (vcek-disabled)",
                code="simulator.evidence",
                why="the simulated platform has no key of a cloud provider (VLEK)",
            )
        made = chip(self._identity, self._product, self._now)
        report = replace(self._report, report_data=report_data, chip_id=made.chip_id, tcb=made.tcb)
        return {"report.bin": report.signed(made.key), **made.files}

    @property
    def _policy(self) -> int:
        policy: int = self._limitation.value("policy")
        return policy


def product_of(signature: int) -> str | None:
    """Return the product line with a processor's signature (CPUID 1 EAX), None for one without SEV-SNP."""
    from sequester.simulator.snp_report import family_model_stepping

    family, model, _ = family_model_stepping(signature)
    return _FAMILIES.get((family, model & 0xF0))


def _refused(what: str, reason: tuple[int, str]) -> GuestError:
    number, text = reason
    return _ended(f"{what} ret=-5 fw_error={number} '{text}'")


def _ended(words: str) -> GuestError:
    return GuestError("the simulated platform refused the launch", code="simulator.launch", why=words)
