"""Plans of small guests, and the simulated platforms under them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sequester.formats.sources import from_argv
from sequester.planning import Plan, make_plan
from sequester.simulator.identity import Identity
from sequester.simulator.platform import SimulatedPlatform
from sequester.simulator.registry import simulated

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def random(size: int) -> bytes:
    """Bytes that are the same each time."""
    return bytes(number & 0xFF for number in range(size))


def plan_of(command: str, limit: str) -> Plan:
    """Return the plan of a command line, in which a zero stands for a space that does not separate."""
    return make_plan(from_argv([word.replace("\0", " ") for word in command.split()]), limit)


def platform_of(command: str, limit: str, folder: Path) -> SimulatedPlatform:
    """Return a guest's simulated platform."""
    return simulated(plan_of(command, limit), Identity(folder), random, NOW)


def ask(platform: SimulatedPlatform, command: str, told: Any = None, **arguments: Any) -> Any:
    """Return what the platform answers to a QMP command; `told` is what QEMU would."""

    async def forward() -> Any:
        return told

    async def answer(arguments: Mapping[str, Any]) -> Any:
        return await platform.handlers[command](arguments, forward)

    return asyncio.run(answer(arguments))
