"""Reads tests/faults/examples: real error texts by fault, and look-alikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "examples"


@dataclass(frozen=True, slots=True)
class Examples:
    code: str
    seen: str
    texts: tuple[str, ...]
    look_alikes: tuple[str, ...]


def examples() -> Iterator[Examples]:
    for file in sorted(FOLDER.glob("*.txt")):
        for block in file.read_text(encoding="utf-8").strip("\n").split("\n\n"):
            head, *lines = block.split("\n")
            code, _, seen = head.partition("  ")
            yield Examples(
                code,
                seen,
                tuple(line[2:] for line in lines if line.startswith("+ ")),
                tuple(line[2:] for line in lines if line.startswith("- ")),
            )
