"""Finds the module that plays a platform's firmware, by the platform's own word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from sequester.errors import InputError

if TYPE_CHECKING:
    from sequester.planning import Plan
    from sequester.simulator.identity import Identity
    from sequester.simulator.platform import SimulatedPlatform

Random = Callable[[int], bytes]
"""Number of bytes → so many random bytes, as `os.urandom`."""


def simulated(plan: Plan, identity: Identity, random: Random, now: datetime) -> SimulatedPlatform:
    """Return the platform of a plan, simulated, before its launch.

    `identity` has the simulated vendor's keys, `now` is the time of what it signs. Raises InputError where nobody
    plays this platform.
    """
    platform = plan.limitation
    if not platform.simulator:
        raise InputError(
            f"{platform.title} cannot be simulated",
            code="simulator.platform",
            remedy="`sequester platforms` names those that can",
        )
    module = import_module(platform.simulator)
    made: SimulatedPlatform = module.simulated(plan, identity, random, now)
    return made
