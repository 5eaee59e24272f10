"""What a host needs for Arm CCA: nothing released has it yet."""

from __future__ import annotations

from sequester.host.processor import (
    architecture,
)
from sequester.host.requirement import Requirement
from sequester.host.software import qemu_type

CCA = (
    Requirement("arch", "Arm host", architecture("aarch64"), "CCA is a feature of Armv9-A processors"),
    Requirement(
        "qemu",
        "QEMU with rme-guest",
        qemu_type("rme-guest", "aarch64", (12, 0)),
        "no released QEMU has it (11.1), and no released Linux runs realms (7.2)",
        "wait, or use Arm's or Linaro's development trees",
        after=("arch",),
    ),
)
