"""Sizes as libvirt writes them. Source: libvirt docs/formatdomain.rst "Memory Allocation", src/util/virutil.c."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from sequester.formats.libvirt.reading import Reading

KIB = 1024
MIB = 1024 * KIB

_SCALE = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    "kb": 10**3,
    "k": 2**10,
    "kib": 2**10,
    "mb": 10**6,
    "m": 2**20,
    "mib": 2**20,
    "gb": 10**9,
    "g": 2**30,
    "gib": 2**30,
    "tb": 10**12,
    "t": 2**40,
    "tib": 2**40,
    "pb": 10**15,
    "p": 2**50,
    "pib": 2**50,
    "eb": 10**18,
    "e": 2**60,
    "eib": 2**60,
}
_MOST = 1 << 64


def size(reading: Reading, element: Element, unit: str = "KiB", attribute: str = "") -> int:
    """Return the bytes that an element (or one of its attributes) says. Raises InputError for what is no size."""
    text = ((element.get(attribute) if attribute else element.text) or "").strip()
    scale = _SCALE.get((element.get("unit") or unit).lower())
    if scale is None or not text.isdecimal() or len(text) > 20 or int(text) * scale >= _MOST:
        shown = f"{text[:40]} {element.get('unit') or unit}"
        raise reading.fail(
            element,
            f"<{element.tag}> is '{shown}', which is no size",
            remedy="write a whole number and a unit, as <memory unit='GiB'>4</memory>",
        )
    return int(text) * scale


def rounded(number: int, step: int) -> int:
    """Return the next multiple of `step`."""
    return -(-number // step) * step
