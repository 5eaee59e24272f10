"""What several commands are tried with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sequester.simulator.host_keys import documents
from sequester.simulator.identity import Identity


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine's host key document and what it is checked with, as of today."""
    folder = tmp_path_factory.mktemp("papers")
    for name, data in documents(Identity(folder / "identity"), datetime.now(UTC)).items():
        (folder / name).write_bytes(data)
    return folder
