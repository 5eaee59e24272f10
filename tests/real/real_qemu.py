"""A real QEMU, as the tests see it: what it is, and how it is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from realtools.qmp import BARE, ask

MISSING = "no real QEMU {wanted}here; tools/real-tools fetches 7.2, 10.0 and 11.1 from Debian"


@dataclass(frozen=True, slots=True)
class RealQemu:
    """One emulator binary."""

    arch: str  # "x86_64"
    version: str  # "11.1.2"
    path: Path
    suite: str  # "system", or the Debian suite of its tree
    accels: tuple[str, ...]  # what it was seen to start under

    def __str__(self) -> str:
        return f"{self.arch}-{self.version}"

    @property
    def release(self) -> tuple[int, int]:
        """(11, 1)."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def ask(self, arguments: Sequence[str], *commands: Mapping[str, Any]) -> list[Any]:
        """Start with no defaults and `arguments`, and return the answers; raises `QmpError`."""
        return ask([str(self.path), *BARE, *arguments], commands)

    def run(self, arguments: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run it as it is with `arguments`, without input, until it ends by itself."""
        return subprocess.run(
            [self.path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


def qemus(root: Path) -> tuple[RealQemu, ...]:
    """Every QEMU of the manifest under `root`; none when there is no manifest."""
    return tuple(
        RealQemu(
            entry["arch"], entry["version"], root / entry["path"], entry["suite"], tuple(entry["accels"])
        )
        for entry in manifest(root).get("qemu", [])
        if (root / entry["path"]).exists()
    )


def manifest(root: Path) -> dict[str, Any]:
    """What `tools/real-tools` wrote; empty when it has not run."""
    try:
        document: dict[str, Any] = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    except OSError:
        return {}
    return document


def select(found: Sequence[RealQemu], arch: str | None, version: str | None) -> list[RealQemu]:
    """Those of one target and of versions that start with `version` ("11", "7.2"); None takes all."""
    return [
        qemu
        for qemu in found
        if (arch is None or qemu.arch == arch)
        and (version is None or f"{qemu.version}.".startswith(f"{version}."))
    ]


class Qemus(tuple[RealQemu, ...]):
    """All real QEMUs of this machine."""

    def get(self, arch: str, version: str | None = None) -> RealQemu:
        """The newest of one target whose version starts with `version`; skips the test when there is none."""
        found = select(self, arch, version)
        if not found:
            pytest.skip(MISSING.format(wanted=f"{version or ''} for {arch} "))
        return max(found, key=lambda qemu: qemu.release)
