"""What the test guest says on its console.

A line that is meant for us is `sequester-guest: KIND key=value ...`. The kinds, in their order:

- `start` (`release`, `machine`), `protection` (`seen`: what the guest's kernel knows of, or `none`);
- `device`, one for each virtio device (`name`, `id`: the number of its type, `driver`: `none` without one,
  `bus`: its PCI or ccw address, `version_1`, `access_platform`: whether feature bit 32 or 33 was negotiated);
- `disk` (`name`, `sectors`, `marker`: `ok`, `absent` or `unreadable`), `network` (`name`, `address`, `gateway`);
- `ready`, the last one: `devices`, `driven` (with a driver), `access_platform` (how many negotiated it), `disk`,
  `network` (`ok`, `failed` or `none`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "sequester-guest: "


@dataclass(frozen=True, slots=True)
class GuestLine:
    """One line of the guest."""

    kind: str
    values: Mapping[str, str]


def read_line(text: str) -> GuestLine | None:
    """The guest's line in `text`, or None; what firmware or kernel left before it on the same line is ignored."""
    _, found, rest = text.partition(PREFIX)
    kind, *pairs = rest.split() or [""]
    if not found or not kind:
        return None
    return GuestLine(kind, dict(pair.split("=", 1) for pair in pairs if "=" in pair))
