"""One field of evidence, as `show` prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `offset` in bytes, `raw` its bytes, `value` fit for JSON, `meaning` in words, '' where plain."""

    name: str
    offset: int
    raw: bytes
    value: Any
    meaning: str = ""
