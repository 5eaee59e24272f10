"""Which virtio features a running guest negotiated, as QEMU tells over QMP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sequester.errors import GuestError

Execute = Callable[..., Awaitable[Any]]
"""Runs one QMP command: name and arguments in, its return value out."""

ACCESS_PLATFORM = ("VIRTIO_F_IOMMU_PLATFORM", "VIRTIO_F_ACCESS_PLATFORM")
"""Feature bit 33, by QEMU's name for it and the specification's (VIRTIO 1.2, chapter 6)."""


_STATUS_SAFE = ((7, 2), (10, 1))
"""From the first to before the second of these releases `x-query-virtio-status` is asked. 7.2 and 10.0 answer it;
11.1.2 dies of it, with or without a driver ("visit_start_struct: Assertion `!(v->type & VISITOR_OUTPUT) || *obj'
failed"), looked at on x86_64, s390x, ppc64 and aarch64."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """One virtio device of a running guest.

    `path` is its QOM path, `offered` whether QEMU offers access-platform, `accepted` whether the guest's driver took
    it (None where this QEMU cannot be asked); `driven` is false while no driver is known to have set the device up.
    """

    name: str
    path: str
    offered: bool
    accepted: bool | None
    driven: bool

    @property
    def right(self) -> bool:
        """Tell whether nothing is known to speak to guest memory around the guest's own say."""
        return self.offered and (self.accepted is not False or not self.driven)


async def negotiated(execute: Execute) -> tuple[Negotiated, ...]:
    """Ask QEMU (7.2 or later) about every virtio device. Raises GuestError for answers that are none."""
    try:
        return await _asked(execute)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise GuestError("QEMU's answers are not those of a QEMU", code="qmp.answer", why=why) from None


async def _asked(execute: Execute) -> tuple[Negotiated, ...]:
    version = (await execute("query-version"))["qemu"]
    first, end = _STATUS_SAFE
    safe = first <= (version["major"], version["minor"]) < end
    found = []
    for device in await execute("x-query-virtio"):
        name, path = str(device.get("name", "virtio")), str(device["path"])
        found.append(await (_by_status if safe else _by_property)(execute, name, path))
    return tuple(found)


async def _by_status(execute: Execute, name: str, path: str) -> Negotiated:
    status = await execute("x-query-virtio-status", {"path": path})
    words = status.get("status", {}).get("statuses", [])
    driven = any(str(word).startswith("VIRTIO_CONFIG_S_DRIVER_OK") for word in words)
    return Negotiated(
        name, path, _has(status.get("host-features", {})), _has(status.get("guest-features", {})), driven
    )


async def _by_property(execute: Execute, name: str, path: str) -> Negotiated:
    offered = await execute("qom-get", {"path": path, "property": "iommu_platform"})
    return Negotiated(name, path, offered is True, None, False)


def _has(features: Any) -> bool:
    listed = features.get("transports", []) if isinstance(features, dict) else []
    return any(str(word).split(":")[0] in ACCESS_PLATFORM for word in listed)
