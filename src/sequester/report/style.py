"""Colour, used only when told to: the command line decides by terminal, NO_COLOR and TERM."""

from __future__ import annotations

from dataclasses import dataclass

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}


@dataclass(frozen=True, slots=True)
class Style:
    """Paints text, or leaves it as it is when `on` is false."""

    on: bool = False

    def paint(self, text: str, *how: str) -> str:
        """Return text in the given colours and weights, which are keys of `_CODES`."""
        if not self.on or not text:
            return text
        return f"\033[{';'.join(_CODES[word] for word in how)}m{text}\033[0m"


def wrapped(text: str, indent: str = "", width: int = 100) -> str:
    """Fold text to lines that begin with `indent`; long words stay whole."""
    import textwrap

    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
