"""Every field of evidence: readable, or as JSON from which the same bytes can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sequester.errors import printable
from sequester.report.style import Style, wrapped

if TYPE_CHECKING:
    from sequester.evidence.kinds import Field
    from sequester.evidence.recognise import Recognised

SCHEMA = "sequester-evidence/1"
_LONGEST = 64
"""Characters of a value on one line; longer ones are folded."""
_MOST_LINES = 8


def as_text(found: Recognised, fields: Iterable[Field], name: str, coloured: bool = False) -> str:
    """Return the fields for a person: name, offset, value, meaning."""
    style = Style(coloured)
    title = f"{name}: {found.kind.TITLE}, {len(found.data)} bytes"
    if found.wrappings:
        title += f", out of {', '.join(found.wrappings)}"
    lines = [style.paint(printable(title), "bold")]
    for each in fields:
        place = style.paint(f"0x{each.offset:04x}", "dim")
        label = style.paint(f"{printable(each.name):<22}", "cyan")
        first, *rest = _value(each)
        lines.append(f"  {place}  {label} {first}")
        lines += [f"{'':33}{line}" for line in rest]
        if each.meaning:
            lines.append(style.paint(wrapped(printable(each.meaning), " " * 33 + "· ", 118), "dim"))
    for number, document in enumerate(found.documents, 1):
        lines.append(f"  with it: document {number}, {len(document)} bytes")
    lines += [f"  with it: an event log, {len(log)} bytes" for log in found.event_logs]
    return "\n".join(lines) + "\n"


def as_json(found: Recognised, fields: Iterable[Field], name: str) -> str:
    """Return the fields as JSON (schema `SCHEMA`): each field's ``raw`` in hex, put together, are the evidence."""
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "kind": found.kind.NAME,
        "platform": found.kind.PLATFORM,
        "wrappings": list(found.wrappings),
        "size": len(found.data),
        "fields": [
            {
                "name": each.name,
                "offset": each.offset,
                "raw": each.raw.hex(),
                "value": each.value,
                "meaning": each.meaning,
            }
            for each in fields
        ],
        "documents": [document.hex() for document in found.documents],
        "event_logs": [log.hex() for log in found.event_logs],
    }
    return json.dumps(told, indent=2) + "\n"


def _value(each: Field) -> list[str]:
    """Return a value as lines; what is long is folded, and cut with its size said."""
    if isinstance(each.value, bool) or each.value is None:
        return [str(each.value).lower() if each.value is not None else "none"]
    if isinstance(each.value, int):
        return [f"{each.value}" if 0 <= each.value < 10 else f"{each.value} (0x{each.value:x})"]
    if isinstance(each.value, str):
        text = each.value
        if each.raw and text == each.raw.hex() and not any(each.raw):
            return [f"{len(each.raw)} bytes of zero"]
    elif each.raw:
        return [f"{len(each.raw)} bytes"]
    else:
        text = json.dumps(each.value)
    lines = [printable(text[at : at + _LONGEST]) for at in range(0, len(text), _LONGEST)] or [""]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"... {len(each.raw) or len(text)} bytes in all"]
    return lines
