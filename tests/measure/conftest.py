"""Firmware for the tests of this directory: third-party data, and Debian's real images."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure_data import DATA, real_images


@pytest.fixture(scope="session")
def suffixes() -> tuple[Path, ...]:
    """The ends of two real OVMF builds."""
    found = tuple(sorted((DATA / "measure").glob("*.bin")))
    if not found:
        pytest.skip("no third-party data here (../shared/data/measure)")
    return found


@pytest.fixture(scope="session")
def ovmfs() -> tuple[Path, ...]:
    """Every real OVMF image there is."""
    found = real_images()
    if not found:
        pytest.skip("no OVMF here; tools/real-tools fetches Debian's")
    return found
