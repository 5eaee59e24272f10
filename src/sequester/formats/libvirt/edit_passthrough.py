"""Changes to what ``<qemu:commandline>`` says: made to the command line, and written back to its ``<qemu:arg>``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element

from sequester.formats.libvirt.carried import COMMANDLINE
from sequester.formats.libvirt.editing import Editing
from sequester.formats.words import read_words
from sequester.formats.xml_splice import Node
from sequester.guest.change import Remove, Retype, Set, Unset


def takes(editing: Editing, change: Set | Unset | Retype | Remove) -> bool:
    """Keep a change to a part, or to a property, that a ``<qemu:arg>`` has the last word on."""
    arguments = editing.document.arguments
    if arguments is None:
        return False
    key = arguments.keys.get(change.key)
    if key is None and not isinstance(change, Remove):
        key = arguments.merged.get((change.key, "" if isinstance(change, Retype) else change.name))
    if key is None:
        return False
    editing.arguments.append(replace(change, key=key))
    return True


def write(editing: Editing) -> None:
    """Write the changed arguments back."""
    arguments = editing.document.arguments
    if arguments is None or not editing.arguments:
        return
    written = arguments.document.edited(editing.arguments)
    editing.lost += written.lost
    old = [element.get("value", "") for element in arguments.elements]
    new = [word.value for word in read_words(written.text, editing.document.name).words][1:]
    new.remove("-nodefaults")
    parent = editing.domain.find(COMMANDLINE)
    assert parent is not None
    prefix = _prefix(editing, arguments.elements[0])
    for start, end, values in _differences(old, new):
        for at in range(start, end):
            if at - start < len(values):
                editing.splice.set(arguments.elements[at], "value", values[at - start])
            else:
                editing.splice.remove(parent, arguments.elements[at])
        for value in values[end - start :]:
            editing.splice.add(parent, Node(f"{prefix}arg", {"value": value}))


def _differences(old: list[str], new: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (start, end, new values) for every stretch of the old arguments that changed."""
    from difflib import SequenceMatcher

    for kind, start, end, first, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            yield start, end, new[first:last]


def _prefix(editing: Editing, element: Element) -> str:
    """Return the name space prefix that the document itself uses, with its colon."""
    data = editing.document.tree.data
    start = editing.document.tree.starts[element] + 1
    return data[start : data.index(b"arg", start)].decode()
