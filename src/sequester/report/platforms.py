"""The platforms, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sequester.platforms.limitation import Demands, HostTrustLimitation, Limits
from sequester.platforms.property import Property, Unsigned
from sequester.report.style import Style, wrapped

SCHEMA = "sequester-platforms/1"

Platform = type[HostTrustLimitation]

_LIMITS = {
    Limits.READ_MEMORY: "read memory",
    Limits.CHANGE_MEMORY: "change memory unseen",
    Limits.REMAP_MEMORY: "replay or remap memory",
    Limits.READ_REGISTERS: "read registers",
    Limits.CHANGE_REGISTERS: "change registers",
    Limits.DEBUG: "debug the guest",
    Limits.ATTESTED: "pass itself off as the guest (there is signed evidence)",
}

_FIRMWARE = {
    "rom": "firmware of its own, as a ROM (-bios)",
    "pflash": "firmware of its own, in flash (pflash)",
    "any": "firmware of its own, as a ROM (-bios) or in flash (pflash)",
}


def table_text(platforms: Sequence[Platform], coloured: bool = False) -> str:
    """Return one line a platform."""
    style = Style(coloured)
    rows = [
        (
            p.name,
            p.title,
            "/".join(p.architectures),
            p.object_type,
            _since(p),
            p.libvirt.type if p.libvirt else "-",
        )
        for p in platforms
    ]
    head = ("name", "platform", "arch", "QEMU object", "since QEMU", "libvirt type")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(head, widths, strict=True))]
    lines[0] = style.paint(lines[0].rstrip(), "bold")
    lines += ["  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return (
        "\n".join(lines) + "\n\n`sequester platforms NAME` shows one with its limits, needs and properties.\n"
    )


def one_text(platform: Platform, coloured: bool = False) -> str:
    """Return everything about one platform."""
    return "\n".join(_one(platform, Style(coloured))) + "\n"


def platforms_json(platforms: Sequence[Platform]) -> str:
    """Return platforms as JSON (schema `SCHEMA`)."""
    return json.dumps({"schema": SCHEMA, "platforms": [_told(p) for p in platforms]}, indent=2) + "\n"


def _since(platform: Platform) -> str:
    return ".".join(map(str, platform.qemu_since)) or "none yet"


def _one(platform: Platform, style: Style) -> Iterator[str]:
    yield style.paint(f"{platform.title} ({platform.name})", "bold")
    yield f"  QEMU object   {platform.object_type}, since QEMU {_since(platform)}"
    libvirt = platform.libvirt
    yield (
        f"  libvirt       launchSecurity type '{libvirt.type}', since {libvirt.since}"
        if libvirt
        else "  libvirt       -"
    )
    yield f"  architecture  {', '.join(platform.architectures)}"
    yield f"  takes effect  {platform.engages.value}"
    yield "  the host can no longer:"
    yield from (f"    - {text}" for limit, text in _LIMITS.items() if limit in platform.limits)
    left = [text for limit, text in _LIMITS.items() if limit not in platform.limits]
    if left:
        yield "  the host still can:"
        yield from (f"    - {text}" for text in left)
    needs = list(_needs(platform.demands))
    if needs:
        yield "  needs:"
        yield from (f"    - {need}" for need in needs)
    yield wrapped(f"migration     {platform.migration}", "  ")
    yield wrapped(f"evidence      {platform.evidence}", "  ")
    if platform.properties:
        yield "  properties:"
    for prop in platform.properties:
        yield f"    {style.paint(prop.name, 'bold')} ({_kind(prop)}){_default(prop)}"
        yield wrapped(prop.about, "        ")
        if isinstance(prop.kind, Unsigned):
            yield from (f"        bit {bit.number:2}  {bit.name}: {bit.meaning}" for bit in prop.kind.names)
    if platform.references:
        yield "  see also:"
        yield from (f"    {reference}" for reference in platform.references)


def _kind(prop: Property) -> str:
    kind = prop.kind
    if isinstance(kind, Unsigned):
        return f"{kind.bits}-bit number"
    length = getattr(kind, "length", None)
    words = getattr(kind, "words", None)
    if length:
        return f"base64 of {length} bytes"
    return " | ".join(words) if words else type(kind).__name__.lower()


def _default(prop: Property) -> str:
    if prop.default is None:
        return ""
    shown = (
        f"{prop.default:#x}"
        if isinstance(prop.kind, Unsigned) and prop.kind.names
        else str(prop.default).lower()
    )
    return f", default {shown}"


def _needs(demands: Demands) -> Iterator[str]:
    yield f"accelerator {' or '.join(demands.accelerators)}"
    if demands.machines:
        yield f"machine {', '.join(demands.machines)}"
    if demands.irqchip:
        yield f"kernel-irqchip {' or '.join(demands.irqchip)}"
    for name, value in demands.forbidden_machine:
        yield f"machine without {name}={value}"
    if demands.firmware:
        yield _FIRMWARE[demands.firmware]
    if demands.stateless_firmware:
        yield "firmware without a variable store"
    if demands.cpu_models:
        yield f"CPU model {' or '.join(demands.cpu_models)}"
    if demands.cpu_required:
        yield f"CPU feature {', '.join(demands.cpu_required)}"
    if demands.max_cpus:
        yield f"at most {demands.max_cpus} vCPUs"
    if demands.guest_memfd:
        yield "guest_memfd for private memory"
    if demands.pinned:
        yield "all memory pinned"


def _told(platform: Platform) -> dict[str, Any]:
    return {
        "name": platform.name,
        "title": platform.title,
        "object": platform.object_type,
        "also_known_as": list(platform.also_known_as),
        "architectures": list(platform.architectures),
        "since_qemu": ".".join(map(str, platform.qemu_since)) or None,
        "libvirt": platform.libvirt.type if platform.libvirt else None,
        "engages": platform.engages.name.lower(),
        "limits": [limit.name.lower() for limit in _LIMITS if limit in platform.limits if limit.name],
        "needs": list(_needs(platform.demands)),
        "migration": platform.migration,
        "evidence": platform.evidence,
        "measured_launch": platform.measured_launch,
        "properties": [
            {
                "name": prop.name,
                "kind": _kind(prop),
                "default": prop.default if isinstance(prop.default, (int, str, bool)) else None,
                "libvirt": prop.libvirt or None,
                "since_qemu": ".".join(map(str, prop.since)) or None,
                "about": prop.about,
                "bits": [
                    {"bit": bit.number, "name": bit.name, "meaning": bit.meaning}
                    for bit in getattr(prop.kind, "names", ())
                ],
            }
            for prop in platform.properties
        ],
        "references": list(platform.references),
    }
