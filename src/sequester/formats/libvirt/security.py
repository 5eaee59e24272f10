"""``<launchSecurity>``: the domain's host trust limitation, in libvirt's own words.

Source: libvirt docs/formatdomain.rst "Launch Security", src/conf/domain_conf.c (`virDomainSecDefParseXML`).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Props, Reading
from sequester.guest.part import Part

IDENTITY = "lsec0"
"""The id that libvirt always gives the object."""

VALUE_ATTRIBUTES = {"quoteGenerationService": ("path", "/var/run/tdx-qgs/qgs.socket")}
"""Children whose value is an attribute, and libvirt's default for it."""


def limitation(reading: Reading, element: Element, machine: Part) -> Part:
    """Add the limitation: `type` and properties (``@attribute`` or child) as written; the machine names it.

    Raises InputError when the domain has two, or one property twice: which of them counts must not be a guess.
    """
    if len(reading.domain.findall("launchSecurity")) > 1:
        raise reading.fail(
            element, "there are two <launchSecurity>", remedy="a domain has one limitation: remove the other"
        )
    names = [child.tag for child in element]
    if len(names) != len(set(names)):
        raise reading.fail(
            element, "a property of <launchSecurity> is given twice", remedy="remove one of them"
        )
    properties: Props = {f"@{name}": value for name, value in element.attrib.items() if name != "type"}
    for child in element:
        held = VALUE_ATTRIBUTES.get(child.tag)
        properties[child.tag] = child.get(*held) if held else (child.text or "").strip()
    assert isinstance(machine.properties, dict)
    machine.properties["confidential-guest-support"] = IDENTITY
    return reading.add("limitation", element.get("type", ""), properties, element, IDENTITY)
