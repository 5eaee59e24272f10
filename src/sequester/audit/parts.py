"""Parts of a guest in the making, each with the next key."""

from __future__ import annotations

from sequester.guest.part import Part, Value


class Parts:
    """Parts in the making."""

    def __init__(self) -> None:
        self.made: list[Part] = []

    def add(
        self,
        group: str,
        type_of: str,
        properties: dict[str, Value] | None = None,
        name: str = "",
        path: str = "",
    ) -> int:
        """Add a part; return its key. `path` is where it is in QEMU's tree."""
        key = len(self.made)
        given = {"id": name, **(properties or {})} if name else properties or {}
        self.made.append(Part(group, type_of, given, key, name, spelled=path))
        return key
