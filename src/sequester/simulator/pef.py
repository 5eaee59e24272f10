"""POWER PEF played: the guest's ultracall that makes it a secure VM, and the end of that at a reset.

A kernel switches over before it prints its first line, when it was started with ``svm=on`` (Linux arch/powerpc/kernel/
prom_init.c, `setup_secure_guest`); a reset undoes it (QEMU hw/ppc/pef.c, `kvmppc_svm_off`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.errors import GuestError
from sequester.simulator import migration

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.registry import Random

BLOCKED = "PEF: Migration is not implemented"
"""hw/ppc/pef.c, from the start."""


def simulated(plan: Plan, _identity: Identity, _random: Random, _now: datetime) -> SimulatedPef:
    """Return a guest's PEF before it starts."""
    kernel, words = plan.guest.one("kernel"), plan.guest.one("append")
    asks = kernel is None or (words is not None and "svm=on" in words.type.split())
    return SimulatedPef(asks)


class SimulatedPef:
    """One guest's PEF. `asks` says whether its kernel will ask to switch over; our own small Linux stands for one."""

    def __init__(self, asks: bool) -> None:
        self._asks = asks
        self._secure = False
        self.handlers = migration.handlers(lambda: BLOCKED)
        self.notes = (
            ("the guest becomes secure at its kernel's first line: the ultravisor's ESM blob is not opened",)
            if asks
            else ("this guest never becomes secure: its kernel is not told to, with svm=on",)
        )

    @property
    def engaged(self) -> bool:
        """Whether the guest is a secure VM now."""
        return self._secure

    def begin(self) -> None:
        """KVM_CAP_PPC_SECURE_GUEST: only permits what the guest may ask for."""

    def observe(self, event: str, data: Mapping[str, Any]) -> None:
        """Switch over at the guest's first line, and back at a reset."""
        if event == "RESET":
            self._secure = False
        elif event == "console" and self._asks:
            self._secure = True

    def evidence(self, report_data: bytes) -> Mapping[str, bytes]:
        """Raise GuestError: PEF gives no evidence to others."""
        raise GuestError(
            "POWER PEF gives no evidence",
            code="simulator.evidence",
            why="the ultravisor opens an image or does not; it proves nothing to others",
        )
