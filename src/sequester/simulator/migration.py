"""What QEMU says of migration while a platform blocks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sequester.simulator.platform import Forward, Handler, QmpError

COMMANDS = ("migrate", "migrate-incoming", "snapshot-save")


def handlers(blocked: Callable[[], str]) -> dict[str, Handler]:
    """Return the answers about migration. `blocked` gives QEMU's reason, '' while nothing blocks it.

    Source: QEMU migration/migration.c, `migration_is_blocked`, `fill_source_migration_info`.
    """

    async def refuse(_arguments: Mapping[str, Any], forward: Forward) -> Any:
        reason = blocked()
        if reason:
            raise QmpError(reason)
        return await forward()

    async def query(_arguments: Mapping[str, Any], forward: Forward) -> Any:
        told = await forward()
        reason = blocked()
        if reason and isinstance(told, dict):
            told = {**told, "blocked-reasons": [*told.get("blocked-reasons", ()), reason]}
        return told

    return {**dict.fromkeys(COMMANDS, refuse), "query-migrate": query}
