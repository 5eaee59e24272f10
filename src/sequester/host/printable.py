"""Text that others wrote, made fit for one line of output."""

from __future__ import annotations


def shown(text: str, limit: int = 100) -> str:
    """Return a text from a record as one short printable line."""
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."
