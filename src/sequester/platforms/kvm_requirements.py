"""What every platform needs of KVM."""

from __future__ import annotations

from sequester.host.kvm import (
    kvm_usable,
)
from sequester.host.requirement import Requirement

KVM = Requirement(
    "kvm",
    "KVM",
    kvm_usable(),
    "only KVM runs protected guests; QEMU's emulation (TCG) cannot",
)
