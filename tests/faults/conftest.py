from __future__ import annotations

import pytest

from sequester.faults import Fault, catalog
from sequester.platforms.registry import platforms


@pytest.fixture(scope="session")
def tables() -> tuple[Fault, ...]:
    return catalog(platform.fault_table for platform in platforms() if platform.fault_table)
