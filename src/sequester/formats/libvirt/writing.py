"""What is gathered while a domain is written: its elements, and what of the guest was said in them."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.formats.libvirt.reading import one_line
from sequester.formats.xml_splice import Node
from sequester.guest.guest import Guest
from sequester.guest.part import Part, Value, truth

PLACES = frozenset({"addr", "bus", "multifunction", "chassis", "port", "devno", "channel", "slot"})
"""Where a device sits. libvirt places devices itself, and a place makes no sense without its whole topology."""

_WIDE = frozenset({"wwn", "tsc-frequency"})


class Said:
    """A part whose properties are ticked off as they are said."""

    __slots__ = ("left", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.left: dict[str, Value] = dict(part.properties)
        self.left.pop("id", None)

    def take(self, name: str) -> str | None:
        """Return a property as text, ticked off; None when it is absent or a structure."""
        if name in self.left:
            value = self.left[name]
            if isinstance(value, (dict, list)):
                return None
            del self.left[name]
            return shown(value)
        return None

    def number(self, name: str) -> str | None:
        """Return a property as a decimal number, ticked off; None when it is absent or none that fits."""
        value = self.left.get(name)
        if value is None or isinstance(value, (bool, dict, list)) or not str(value).isascii():
            return None
        try:
            number = int(str(value)[:24], 0)
        except ValueError:
            return None
        if not 0 <= number < 1 << (64 if name in _WIDE else 31):
            return None
        del self.left[name]
        return str(number)

    def word(self, name: str, *words: str) -> str | None:
        """Return a property that is one of a few words, ticked off; None when it is absent or another."""
        value = self.left.get(name)
        if not isinstance(value, str) or value not in words:
            return None
        del self.left[name]
        return value

    def flag(self, name: str) -> str | None:
        """Return an on/off property as ``on`` or ``off``, ticked off; None when it is absent or neither."""
        state = truth(self.left.get(name))
        if state is None:
            return None
        del self.left[name]
        return "on" if state else "off"

    def structure(self, name: str) -> dict[str, Value]:
        """Return a structure, or what dotted keys make of one, ticked off; {} when there is none."""
        value = self.left.get(name)
        if isinstance(value, dict):
            del self.left[name]
            return dict(value)
        found: dict[str, Value] = {}
        for key in [key for key in self.left if key.startswith(f"{name}.")]:
            found[key.removeprefix(f"{name}.")] = self.left.pop(key)
        return found

    def drop(self, *names: str) -> None:
        """Tick off properties that need not be said."""
        for name in names:
            self.left.pop(name, None)


class Writing:
    """A domain that is being written.

    `used` holds the keys of backends that something in the domain speaks for; what is not among them at the
    end, and every property left over, is named in `lost`.
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.arch = guest.arch
        self.domain = Node("domain")
        self.devices = Node("devices")
        self.lost: list[str] = []
        self.used: set[int] = set()
        self.placed = False
        self.targets: dict[str, int] = {}
        self.scsi: dict[str, int] = {}
        self.usb: dict[str, int] = {}
        self.bootable: list[tuple[int, Node]] = []
        self._by_id: dict[str, dict[str, Part]] = {}
        self._implying: dict[str, dict[tuple[int, str], list[Part]]] = {}

    def element(self, parent: Node, tag: str, text: str = "", **attributes: str | None) -> Node:
        """Add a child; attributes that are None are left out. A trailing ``_`` in a name is dropped."""
        said = {name.rstrip("_"): value for name, value in attributes.items() if value is not None}
        node = Node(tag, said, [], text)
        parent.children.append(node)
        return node

    def device(self, tag: str, **attributes: str | None) -> Node:
        """Add a device."""
        return self.element(self.devices, tag, "", **attributes)

    def child(self, tag: str, **attributes: str | None) -> Node:
        """Return a child of the domain, added where there is none, with these attributes set."""
        found = next((node for node in self.domain.children if node.tag == tag), None)
        if found is None:
            return self.element(self.domain, tag, "", **attributes)
        found.attributes.update({name: value for name, value in attributes.items() if value is not None})
        return found

    def feature(self, tag: str) -> Node:
        """Return a child of ``<features>``, added where there is none."""
        features = self.child("features")
        found = next((node for node in features.children if node.tag == tag), None)
        return self.element(features, tag) if found is None else found

    def timer(self, name: str, **attributes: str) -> None:
        """Set attributes of a timer of ``<clock>``."""
        clock = self.child("clock")
        clock.attributes.setdefault("offset", "utc")
        found = next((node for node in clock.children if node.attributes.get("name") == name), None)
        if found is None:
            self.element(clock, "timer", "", name=name, **attributes)
        else:
            found.attributes.update(attributes)

    def lose(self, what: str) -> None:
        """Name something that this XML does not say, in one line."""
        self.lost.append(one_line(what))

    def referred(self, said: Said, name: str, *groups: str) -> Said | None:
        """Return the part of one of these groups that a property names, spoken for from now on."""
        identity = said.take(name)
        if not identity:
            return None
        for group in groups:
            found = self._named(group).get(identity)
            if found is not None:
                self.used.add(found.key)
                return Said(found)
        return None

    def _named(self, group: str) -> dict[str, Part]:
        """Return a group's parts by id, the first of each."""
        if group not in self._by_id:
            self._by_id[group] = {part.id: part for part in reversed(self.guest.of(group))}
        return self._by_id[group]

    def implying(self, group: str) -> dict[tuple[int, str], list[Part]]:
        """Return the options of a group that may imply devices, by line and spelling, those not yet taken."""
        if group not in self._implying:
            found: dict[tuple[int, str], list[Part]] = {}
            for part in self.guest.of(group):
                found.setdefault((part.line, part.spelled), []).append(part)
            self._implying[group] = found
        return self._implying[group]

    def speak_for(self, part: Part) -> None:
        """Tick off a block node, and those below it."""
        self.used.add(part.key)
        below = part.text("file")
        deeper = self.guest.by_id.get(below) if below else None
        if deeper is not None and deeper.key not in self.used:
            self.speak_for(deeper)

    def finish(self, *parts: Said) -> None:
        """Name the properties that were left over."""
        for said in parts:
            self.used.add(said.part.key)
            for name, value in said.left.items():
                if name in PLACES:
                    self.placed = True
                else:
                    self.lose(f"{name}={shown(value)} of {said.part.label()}")

    def path(self, text: str, what: str) -> str:
        """Return a path that libvirt takes: absolute. One that is not is named."""
        if text.startswith("/") and len(text) > 1 and "\n" not in text:
            return text
        self.lose(f"{what} {text}: libvirt wants an absolute path, /{text.lstrip('/')} stands in its place")
        return f"/{text.lstrip('/') or 'dev/null'}".replace("\n", "?")

    def boot(self, said: Said, node: Node) -> None:
        """Keep a device's place in the boot order."""
        index = said.number("bootindex")
        if index is not None and index.isdecimal():
            self.bootable.append((int(index), node))

    def target(self, prefix: str) -> str:
        """Return the next free target name of a disk: ``vda``, ``vdb`` ..., ``vdaa``."""
        number = self.targets.get(prefix, 0)
        self.targets[prefix] = number + 1
        letters = ""
        number += 1
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(97 + rest) + letters
        return prefix + letters


def shown(value: Value) -> str:
    """Return a value as text."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def render(node: Node, depth: int = 0) -> Iterator[str]:
    """Yield an element's lines in libvirt's own style."""
    lead = "  " * depth
    attributes = "".join(f" {name}='{_quoted(value)}'" for name, value in node.attributes.items())
    if not node.children and not node.text:
        yield f"{lead}<{node.tag}{attributes}/>"
    elif not node.children:
        yield f"{lead}<{node.tag}{attributes}>{_escaped(node.text)}</{node.tag}>"
    else:
        yield f"{lead}<{node.tag}{attributes}>"
        for child in node.children:
            yield from render(child, depth + 1)
        yield f"{lead}</{node.tag}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    text = _escaped(text).replace("'", "&apos;")
    return text.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
