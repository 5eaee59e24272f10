"""This machine as a host: collected now, with QEMU's answers kept in the user's cache."""

from __future__ import annotations

from sequester.host.collect import collect, default_cache
from sequester.host.facts import HostFacts


def this_host(qemus: list[str] | None = None) -> HostFacts:
    """Return this machine's facts. `qemus`: binaries to ask, None for those that are found, [] for none."""
    return HostFacts.from_record(collect(qemus=qemus, cache=default_cache()), "this host")
