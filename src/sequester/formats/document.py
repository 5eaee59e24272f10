"""What every format's reader returns: the guest it found, and the means to change the source it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sequester.guest.change import Change
from sequester.guest.guest import Guest


@dataclass(frozen=True, slots=True)
class Written:
    """A guest written in some format: its text, and what of the guest the format could not say, by name."""

    text: str
    lost: tuple[str, ...] = ()


class Document(Protocol):
    """A guest as it stands in a source. `edited(())` gives the source back, byte for byte."""

    @property
    def name(self) -> str:
        """The file's name, or ``<stdin>``, ``<argv>``, ``libvirt:NAME``."""

    @property
    def format(self) -> str:
        """``argv``, ``xml`` or ``toml``."""

    @property
    def guest(self) -> Guest:
        """The guest."""

    def edited(self, changes: Sequence[Change]) -> Written:
        """Return the source with these changes made and nothing else touched."""
