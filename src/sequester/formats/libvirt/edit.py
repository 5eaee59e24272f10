"""Carries changes to the guest into the domain they came from: each one in the element that says the thing.

What libvirt's XML has no place for is named in the answer's `lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sequester.formats.document import Written
from sequester.formats.libvirt import edit_backend, edit_device, edit_machine, edit_passthrough
from sequester.formats.libvirt.editing import Editing
from sequester.formats.libvirt.reading import one_line
from sequester.formats.libvirt.security import VALUE_ATTRIBUTES
from sequester.formats.xml_splice import Node, Place, sayable
from sequester.guest.change import Add, Change, Remove, Retype, Set, Unset, applied, told
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.part import Part, Value

if TYPE_CHECKING:
    from sequester.formats.libvirt_read import XmlDocument

Edit = Callable[[Editing, Part, Set | Unset | Retype | Remove], bool]
"""Makes one change to one part; False when the XML has no place for it."""

_BY_GROUP: dict[str, Edit] = {
    "machine": edit_machine.machine,
    "accel": edit_machine.accelerator,
    "cpu": edit_machine.processor,
    "m": edit_machine.memory_size,
    "smp": edit_machine.virtual_cpus,
    "overcommit": edit_machine.overcommit,
    "action": edit_machine.action,
    "global": edit_machine.global_property,
    "bios": edit_machine.boot_file,
    "kernel": edit_machine.boot_file,
    "initrd": edit_machine.boot_file,
    "append": edit_machine.boot_file,
    "dtb": edit_machine.boot_file,
    "shim": edit_machine.boot_file,
    "name": edit_machine.identity,
    "uuid": edit_machine.identity,
    "object": edit_backend.backend,
    "device": edit_device.device,
    "netdev": edit_backend.network_backend,
    "vnc": edit_backend.display,
    "spice": edit_backend.display,
}


def edited(document: XmlDocument, changes: Sequence[Change]) -> Written:
    """Return the domain with the changes made. Raises KeyError for a change to a part that does not exist."""
    editing = Editing(document)
    added: dict[int, Part] = {}
    for change in changes:
        if isinstance(change, Add):
            added[change.part.key] = change.part
        elif change.key in added:
            _change_added(added, change)
        else:
            _change(editing, change, added)
    for part in added.values():
        held = all(map(sayable, (part.type, *map(Editing.text, part.properties.values()))))
        if not held or not _add(editing, part):
            editing.lost.append(f"{part.label()}: there is no place for it in this XML")
    edit_passthrough.write(editing)
    return Written(editing.splice.text(), tuple(dict.fromkeys(map(one_line, editing.lost))))


def _change_added(added: dict[int, Part], change: Set | Unset | Retype | Remove) -> None:
    kept = applied(added[change.key], (change,))
    if kept is None:
        del added[change.key]
    else:
        added[change.key] = kept


def _change(editing: Editing, change: Set | Unset | Retype | Remove, added: dict[int, Part]) -> None:
    part = editing.current(change.key)
    if isinstance(change, Set) and part.properties.get(change.name) == change.value:
        return
    if not _sayable(change):
        editing.lost.append(f"{told(change)} of {part.label()}: XML cannot hold its characters")
        return
    if edit_passthrough.takes(editing, change):
        editing.note(part, change)
        return
    if part.group == "limitation":
        said = _limitation(editing, part, change)
    elif part.group == "machine" and _names_limitation(editing, change, added):
        said = True
    else:
        edit = _BY_GROUP.get(part.group)
        said = edit is not None and edit(editing, part, change)
    if said:
        editing.note(part, change)
    else:
        editing.lost.append(f"{told(change)} of {part.label()}: there is no place for it in this XML")


def _sayable(change: Set | Unset | Retype | Remove) -> bool:
    match change:
        case Set(value=value):
            return sayable(Editing.text(value))
        case Retype(type=kind):
            return sayable(kind)
    return True


def _names_limitation(
    editing: Editing, change: Set | Unset | Retype | Remove, added: dict[int, Part]
) -> bool:
    """Tell whether a change only has the machine name the limitation: in XML ``<launchSecurity>`` does that."""
    if not isinstance(change, (Set, Unset)) or change.name not in LIMITATION_PROPERTIES:
        return False
    has = editing.limited or any(part.group == "limitation" for part in added.values())
    return has == isinstance(change, Set)


def _limitation(editing: Editing, part: Part, change: Set | Unset | Retype | Remove) -> bool:
    element = editing.document.elements.get(part.key)
    if element is None or editing.splice.is_removed(element):
        return False
    match change:
        case Set(name=name, value=value):
            _say(editing, element, name, _text(value))
        case Unset(name=name):
            _say(editing, element, name, None)
        case Retype(type=kind):
            editing.splice.set(element, "type", kind)
        case Remove():
            editing.splice.remove(editing.domain, element)
            editing.limited = False
    return True


def _say(editing: Editing, place: Place, name: str, value: str | None) -> None:
    """Set (None: take away) an attribute ``@name`` or a child of ``<launchSecurity>``."""
    splice = editing.splice
    if name.startswith("@"):
        splice.set(place, name[1:], value)
        return
    child = splice.child(place, name)
    if value is None:
        if child is not None:
            splice.remove(place, child)
        return
    if child is None:
        child = splice.add(place, Node(name))
    if name in VALUE_ATTRIBUTES:
        splice.set(child, VALUE_ATTRIBUTES[name][0], value)
    else:
        splice.set_text(child, value)


def _text(value: Value) -> str:
    """Return a value as ``<launchSecurity>`` writes it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _add(editing: Editing, part: Part) -> bool:
    if part.group == "limitation":
        element = editing.top("launchSecurity")
        editing.splice.set(element, "type", part.type)
        for name, value in part.properties.items():
            if name != "id":
                _say(editing, element, name, _text(value))
        editing.limited = True
        return True
    if part.group == "bios":
        return edit_machine.use_rom(editing, part.type)
    if part.group in ("overcommit", "action"):
        edit = _BY_GROUP[part.group]
        said = [edit(editing, part, Set(part.key, name, value)) for name, value in part.properties.items()]
        return all(said)
    if part.group in ("kernel", "initrd", "append", "dtb", "shim"):
        return edit_machine.boot_file(editing, part, Retype(part.key, part.type))
    return False
