"""TDX played: what the TDX module measures of the launch, and quotes of the guest.

A trust domain answers nothing over QMP (QEMU 10.1 to 11.1 have no query for it), so nothing is answered here but
that it cannot migrate. Sources: QEMU target/i386/kvm/tdx.c; Intel TDX Module 1.5 ABI (348551), TDG.MR.REPORT.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha384
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError, InputError
from sequester.simulator import migration
from sequester.simulator.tdx_quote import Body

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

BLOCKED = "State blocked by non-migratable CPU device (invtsc flag)"
"""TDX forces that flag (QEMU target/i386/kvm/tdx.c, `tdx_cpu_instance_init`)."""
MODULE = sha384(b"SIMULATED TDX module").digest()
XFAM = 0x602E7
"""x87, SSE, AVX, AVX-512, PT, PKRU, CET and AMX, as a Sapphire Rapids guest has them."""

_RTMRS = tuple(f"RTMR{number}" for number in range(4))
_OWNERS = ("MRCONFIGID", "MROWNER", "MROWNERCONFIG")
_TAKEN = 1 << 28 | 1 << 30 | 1 << 63


def simulated(plan: Plan, identity: Identity, _random: Random, now: datetime) -> SimulatedTdx:
    """Return a guest's trust domain before its launch."""
    return SimulatedTdx(plan, identity, now)


class SimulatedTdx:
    """One guest's trust domain."""

    engaged = True

    def __init__(self, plan: Plan, identity: Identity, now: datetime) -> None:
        self._plan = plan
        self._identity = identity
        self._now = now
        self._registers: Mapping[str, bytes] = {}
        self._unmeasured = ""
        self.handlers = migration.handlers(lambda: BLOCKED)
        self.notes: tuple[str, ...] = ()

    def begin(self) -> None:
        """KVM_TDX_INIT_VM to KVM_TDX_FINALIZE_VM."""
        attributes = self._attributes
        if attributes & ~_TAKEN:
            raise GuestError(
                "the simulated platform refused the launch",
                code="simulator.launch",
                why=f"Some QEMU unsupported TD attribute bits being requested: 0x{attributes & ~_TAKEN:x} "
                f"(QEMU supported: 0x{_TAKEN:x})",
            )
        from sequester.measuring import measure

        try:
            registers = measure(self._plan).registers
        except InputError as error:
            self._unmeasured = str(error)
            self.notes = (f"the launch was not measured and there is no evidence: {error}",)
            return
        self._registers = {each.name: each.value or bytes(48) for each in registers}
        unknown = [each for each in registers if each.value is None]
        self.notes = tuple(f"{each.name} is zero in quotes: {each.unknown}" for each in unknown)

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """A trust domain is one from its start to its end."""

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Return a quote that a guest's own 64 bytes are in, and Intel's documents for it as the simulated root has
        them."""
        from sequester.simulator.tdx_chain import collateral, quoting_enclave

        if not self._registers:
            raise GuestError("this guest has no evidence", code="simulator.evidence", why=self._unmeasured)
        values = self._registers
        config, owner, owner_config = (values[name] for name in _OWNERS)
        rtmr0, rtmr1, rtmr2, rtmr3 = (values[name] for name in _RTMRS)
        body = Body(
            MODULE,
            self._attributes,
            XFAM,
            values["MRTD"],
            (config, owner, owner_config),
            (rtmr0, rtmr1, rtmr2, rtmr3),
            report_data,
        )
        enclave = quoting_enclave(self._identity, self._now)
        return {"quote.bin": enclave.quote(body), **collateral(self._identity, self._now)}

    @property
    def _attributes(self) -> int:
        limitation = self._plan.limitation
        attributes: int = limitation.value("attributes")
        return attributes if limitation.value("sept-ve-disable") else attributes & ~(1 << 28)
