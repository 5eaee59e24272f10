"""The domains of this folder, and what a guest says that can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sequester.formats.libvirt_read import XmlDocument, read_xml
from sequester.guest import Guest, Part

DOMAINS = Path(__file__).parent / "domains"
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def names() -> list[str]:
    return sorted(path.stem for path in DOMAINS.glob("*.xml"))


def document(name: str) -> XmlDocument:
    return read_xml((DOMAINS / f"{name}.xml").read_bytes(), f"{name}.xml")


def guest_of(text: str) -> Guest:
    return read_xml(text.encode(), "d.xml").guest


def domain(
    inside: str = "", devices: str = "", *, kind: str = "kvm", arch: str = "x86_64", machine: str = "q35"
) -> str:
    """A small domain with more inside."""
    return (
        f"<domain type='{kind}'>\n  <name>d</name>\n  <memory unit='GiB'>1</memory>\n  <vcpu>2</vcpu>\n"
        f"  <os>\n    <type arch='{arch}' machine='{machine}'>hvm</type>\n  </os>\n  {inside}\n"
        f"  <devices>\n    {devices}\n  </devices>\n</domain>\n"
    )


def shown(value: Any) -> Any:
    """A property's value as every format shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return {name: shown(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return str(value)


def view(part: Part) -> tuple[str, dict[str, Any]]:
    return part.type, {name: shown(value) for name, value in part.properties.items()}


def views(guest: Guest) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """What every part says, by group and id, or type where it has none."""
    found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for part in guest.parts:
        if part.implied and not part.type:
            continue
        name = part.id or (
            part.type if part.group != "global" else f"{part.type}.{'.'.join(part.properties)}"
        )
        while (part.group, name) in found:
            name += "'"
        found[part.group, name] = view(part)
    return found
