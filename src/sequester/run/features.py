"""Which virtio features a running guest negotiated, as QEMU tells over QMP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Execute = Callable[..., Awaitable[Any]]
"""Runs one QMP command: name and arguments in, its return value out."""

ACCESS_PLATFORM = ("VIRTIO_F_IOMMU_PLATFORM", "VIRTIO_F_ACCESS_PLATFORM")
"""Feature bit 33, by QEMU's name for it and the specification's (VIRTIO 1.2, chapter 6)."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """One virtio device of a running guest.

    `path` is its QOM path, `offered` and `accepted` whether QEMU offers access-platform and the guest's driver
    took it; `driven` is false while no driver has set the device up.
    """

    name: str
    path: str
    offered: bool
    accepted: bool
    driven: bool

    @property
    def right(self) -> bool:
        """Tell whether nothing speaks to guest memory around the guest's own say."""
        return self.accepted if self.driven else self.offered


async def negotiated(execute: Execute) -> tuple[Negotiated, ...]:
    """Ask QEMU (7.2 or later) about every virtio device."""
    found = []
    for device in await execute("x-query-virtio"):
        path = str(device["path"])
        status = await execute("x-query-virtio-status", {"path": path})
        driver = status.get("status", {}).get("statuses", [])
        found.append(
            Negotiated(
                str(device.get("name", "virtio")),
                path,
                _has(status.get("host-features", {})),
                _has(status.get("guest-features", {})),
                any(str(word).startswith("VIRTIO_CONFIG_S_DRIVER_OK") for word in driver),
            )
        )
    return tuple(found)


def _has(features: Any) -> bool:
    listed = features.get("transports", []) if isinstance(features, dict) else []
    return any(str(word).split(":")[0] in ACCESS_PLATFORM for word in listed)
