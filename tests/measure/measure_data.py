"""Where the tests of this directory find firmware and third-party data."""

from __future__ import annotations

import json
import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = CHECKOUT.parent / "shared" / "data"
REAL = Path(os.environ.get("SEQUESTER_REAL_TOOLS") or CHECKOUT / ".cache" / "real")
SYSTEM = (Path("/usr/share/ovmf"), Path("/usr/share/OVMF"))


def real_images() -> tuple[Path, ...]:
    """Debian's OVMF builds: of the real tools' trees, and this machine's own."""
    try:
        entries = json.loads((REAL / "manifest.json").read_text(encoding="utf-8")).get("firmware", [])
    except OSError:
        entries = []
    found = [REAL / entry["path"] for entry in entries]
    for folder in SYSTEM:
        found += sorted(folder.glob("*.fd"))
    return tuple(path for path in found if path.is_file() and not path.is_symlink())
