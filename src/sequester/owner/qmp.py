"""What a running QEMU tells the owner over its monitor: chain, launch, and the place where a secret goes in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from sequester.errors import GuestError
from sequester.owner.launch import Launch, in_base64
from sequester.owner.sev_chain import SevChain
from sequester.owner.sev_secret import Packet

Told = TypeVar("Told")
Execute = Callable[..., Awaitable[Any]]
"""Runs one QMP command: name and arguments in, its return value out."""


def chain(socket: str) -> SevChain:
    """Return the platform's chain (``query-sev-capabilities``). Raises GuestError with QEMU's words."""

    async def ask(execute: Execute) -> SevChain:
        told = await execute("query-sev-capabilities")
        fields = (told.get("pdh"), told.get("cert-chain")) if isinstance(told, dict) else (None, None)
        pdh, behind = (field if isinstance(field, str) else "" for field in fields)
        return SevChain.told(pdh, behind, socket)

    return _asked(socket, ask)


def launch(socket: str) -> Launch:
    """Return the launch that waits there. Raises GuestError with QEMU's words where none does."""

    async def ask(execute: Execute) -> Launch:
        return await launch_of(execute, socket)

    return _asked(socket, ask)


async def launch_of(execute: Execute, where: str, guest: str = "") -> Launch:
    """Return the launch of the QEMU that a function talks to."""
    from dataclasses import replace

    state = await execute("query-sev")
    measurement = await execute("query-sev-launch-measure")
    if not isinstance(state, dict) or not isinstance(measurement, dict):
        raise GuestError("QEMU's answers are not those of a QEMU", code="qmp.answer", where=where)
    policy = state.get("policy")
    encrypted = isinstance(policy, int) and policy & 4
    found = Launch.of_qmp("sev-es" if encrypted else "sev", state, measurement, where)
    return replace(found, guest=guest)


def inject(socket: str, packet: Packet, address: int | None = None) -> None:
    """Give a waiting launch its secret. Raises GuestError with QEMU's and the firmware's words where it is refused."""

    async def tell(execute: Execute) -> None:
        arguments: Mapping[str, Any] = in_base64(packet)
        if address is not None:
            arguments = {**arguments, "gpa": address}
        await execute("sev-inject-launch-secret", arguments)

    _asked(socket, tell)


def _asked(socket: str, ask: Callable[[Execute], Awaitable[Told]]) -> Told:
    from sequester.guard.monitor import connect
    from sequester.simulator.platform import QmpError

    async def session() -> Told:
        monitor = await connect(socket)
        try:
            return await ask(monitor.execute)
        except QmpError as error:
            raise GuestError("QEMU refused", code="qmp.error", where=socket, why=error.description) from None
        finally:
            monitor.close()

    return asyncio.run(session())
