"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file in the place of another one. Raises OSError."""
    descriptor, beside = tempfile.mkstemp(prefix=".sequester-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
