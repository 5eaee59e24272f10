"""Edits an XML document in place: only the bytes that say something else are replaced.

`Splice` gathers what is to change, on the elements of a `Tree` and on new `Node`s beside them, and writes the
document once. New text takes up the quotes, the indentation and the line ends of the text around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree.ElementTree import Element

from sequester.formats.xml_tree import Tree

_TOKEN = re.compile(
    rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|</[^>]*>|<[^/!?](?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.DOTALL
)
_ATTRIBUTE = re.compile(rb"""(\s+)([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_UNSAID = frozenset({"\x00", "\x0b", "\x0c", "\ufffe", "\uffff"})
_IN_ATTRIBUTES = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


@dataclass(eq=False)
class Node:
    """A new element."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    text: str = ""


Place = Element | Node


class Span(NamedTuple):
    """Where an element stands: ``<``, behind its start tag, ``</`` and behind the end; offsets in bytes.

    For an empty element (``<a/>``) `inner` and `close` are both `end`.
    """

    start: int
    inner: int
    close: int
    end: int


class Splice:
    """Changes to one document, gathered and then written."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._attributes: dict[Element, dict[str, str | None]] = {}
        self._texts: dict[Element, str] = {}
        self._added: dict[Element, list[tuple[Node, frozenset[str]]]] = {}
        self._removed: set[Element] = set()
        self._hollow: set[Element] = set()
        self._all_spans: dict[Element, Span] | None = None

    def get(self, place: Place, name: str) -> str | None:
        """Return an attribute as it will be."""
        if isinstance(place, Node):
            return place.attributes.get(name)
        changed = self._attributes.get(place)
        return changed[name] if changed is not None and name in changed else place.get(name)

    def names(self, place: Place) -> set[str]:
        """Return the names of the attributes that a place will have."""
        if isinstance(place, Node):
            return set(place.attributes)
        changed = self._attributes.get(place, {})
        kept = {name for name in place.attrib if changed.get(name, "") is not None}
        return kept | {name for name, value in changed.items() if value is not None}

    def set(self, place: Place, name: str, value: str | None) -> None:
        """Give an attribute a value; None takes it away."""
        if isinstance(place, Node):
            if value is None:
                place.attributes.pop(name, None)
            else:
                place.attributes[name] = value
        elif self.get(place, name) != value:
            self._attributes.setdefault(place, {})[name] = value

    def set_text(self, place: Place, text: str) -> None:
        """Replace all that an element holds by text."""
        if isinstance(place, Node):
            place.text = text
            place.children.clear()
        else:
            self._texts[place] = text
            self._added.pop(place, None)

    def hollow(self, place: Place) -> None:
        """Take away all that an element holds."""
        if isinstance(place, Node):
            place.text = ""
            place.children.clear()
        else:
            self._hollow.add(place)
            self._texts.pop(place, None)
            self._added.pop(place, None)

    def children(self, place: Place) -> Iterator[Place]:
        """Return the children that a place will have."""
        if isinstance(place, Node):
            yield from place.children
            return
        if place not in self._texts and place not in self._hollow:
            yield from (child for child in place if child not in self._removed)
        yield from (node for node, _ in self._added.get(place, ()))

    def child(self, place: Place, tag: str) -> Place | None:
        """Return the first child with a tag."""
        return next((child for child in self.children(place) if child.tag == tag), None)

    def add(self, place: Place, node: Node, before: frozenset[str] = frozenset()) -> Node:
        """Add a child: before the first one whose tag is among `before`, else behind the last."""
        if isinstance(place, Node):
            place.children.append(node)
        else:
            self._added.setdefault(place, []).append((node, before))
        return node

    def need(self, place: Place, tag: str, before: frozenset[str] = frozenset()) -> Place:
        """Return the child with a tag, added where there is none."""
        found = self.child(place, tag)
        return self.add(place, Node(tag), before) if found is None else found

    def remove(self, parent: Place, child: Place) -> None:
        """Take a child away."""
        if isinstance(child, Element):
            self._removed.add(child)
        elif isinstance(parent, Node):
            parent.children.remove(child)
        else:
            self._added[parent] = [entry for entry in self._added[parent] if entry[0] is not child]

    def is_removed(self, element: Element) -> bool:
        """Tell whether an element will be gone."""
        return element in self._removed

    def is_empty(self, place: Place) -> bool:
        """Tell whether nothing will be left of an element but its name."""
        text = place.text if isinstance(place, Node) else self._texts.get(place, place.text or "")
        return not self.names(place) and next(self.children(place), None) is None and not (text or "").strip()

    def text(self) -> str:
        """Return the document with all changes made."""
        data = self.tree.data
        edits = [
            edit for edit in sorted(self._edits(), key=lambda edit: edit[:2]) if edit[0] != edit[1] or edit[2]
        ]
        out: list[bytes] = []
        at = 0
        for start, end, new in edits:
            if end < at:
                continue  # inside something that is removed or replaced as a whole
            out += (data[at : max(start, at)], new)
            at = end
        return b"".join((*out, data[at:])).decode()

    def _edits(self) -> Iterator[tuple[int, int, bytes]]:
        for element in self._removed:
            yield (*self._whole_lines(self._span(element)), b"")
        for element in self._attributes:
            if element not in self._removed:
                yield from self._start_tag(element)
        for element in self._hollow - self._removed:
            span = self._span(element)
            if span.inner != span.end:
                yield span.inner - 1, span.end, b"/>"
        for element, text in self._texts.items():
            if element in self._removed:
                continue
            span = self._span(element)
            if span.inner == span.end:
                yield span.end - 2, span.end, b">" + _escape(text) + self._end_tag(span)
            else:
                yield span.inner, span.close, _escape(text)
        for element, added in self._added.items():
            if added and element not in self._removed:
                yield from self._insertions(element, added)

    def _start_tag(self, element: Element) -> Iterator[tuple[int, int, bytes]]:
        span = self._span(element)
        tag = self.tree.data[span.start : span.inner]
        found = {m[2].decode(): m for m in _ATTRIBUTE.finditer(tag)}
        last = max((m.end() for m in found.values()), default=_name_end(tag))
        quote = self._quote(tag)
        new = b""
        for name, value in self._attributes[element].items():
            place = found.get(name)
            if value is None:
                if place:
                    yield span.start + place.start(), span.start + place.end(), b""
            elif place:
                mark = place[3][:1]
                yield (
                    span.start + place.start(3),
                    span.start + place.end(3),
                    mark + _escape(value, mark) + mark,
                )
            else:
                new += b" " + name.encode() + b"=" + quote + _escape(value, quote) + quote
        if new:
            yield span.start + last, span.start + last, new

    def _insertions(
        self, element: Element, added: list[tuple[Node, frozenset[str]]]
    ) -> Iterator[tuple[int, int, bytes]]:
        span = self._span(element)
        data = self.tree.data
        outer = self._indentation(span.start)
        first = next((child for child in element if child not in self._removed), None)
        inner = self._indentation(self._span(first).start) if first is not None else None
        if inner is None and outer is not None:
            inner = outer + self._step()
        quote = self._quote(data[span.start : span.inner])
        if span.inner == span.end or element in self._texts:
            body = b"".join(self._rendered(node, inner, quote) for node, _ in added)
            tail = outer if outer is not None and inner is not None else b""
            if span.inner == span.end:
                yield span.end - 2, span.end, b">" + body + tail + self._end_tag(span)
            else:
                yield span.close, span.close, body + tail
            return
        for node, before in added:
            target = next((c for c in element if c.tag in before and c not in self._removed), None)
            at = (
                self._line_start(self._span(target).start)
                if target is not None
                else self._behind_last(element, span)
            )
            yield at, at, self._rendered(node, inner, quote)

    def _behind_last(self, element: Element, span: Span) -> int:
        """Return the offset behind an element's last child or text, before the white space of its end tag."""
        data = self.tree.data
        at = span.close
        while at > span.inner and data[at - 1 : at].isspace():
            at -= 1
        return at if at > span.inner or len(element) else span.inner

    def _rendered(self, node: Node, indentation: bytes | None, quote: bytes) -> bytes:
        """Return a new element, a line break and its indentation before it."""
        lead = indentation if indentation is not None else b""
        tag = node.tag.encode()
        out = lead + b"<" + tag
        for name, value in node.attributes.items():
            out += b" " + name.encode() + b"=" + quote + _escape(value, quote) + quote
        if not node.children and not node.text:
            return out + b"/>"
        out += b">" + _escape(node.text)
        if node.children:
            deeper = lead + self._step() if indentation is not None else None
            out += b"".join(self._rendered(child, deeper, quote) for child in node.children) + lead
        return out + b"</" + tag + b">"

    def _end_tag(self, span: Span) -> bytes:
        name = _TAG_NAME.match(self.tree.data, span.start)
        assert name is not None
        return b"</" + name[0][1:] + b">"

    def _indentation(self, at: int) -> bytes | None:
        """Return the line break and white space before an offset, None when something else stands there."""
        line_start = self._line_start(at)
        return self.tree.data[line_start:at] if line_start < at else None

    def _line_start(self, at: int) -> int:
        """Return the offset of the line break before an element that is the first on its line, else `at`."""
        data = self.tree.data
        start = at
        while start and data[start - 1] in b" \t":
            start -= 1
        if start and data[start - 1] in b"\r\n":
            return start - (2 if data[start - 2 : start] == b"\r\n" else 1)
        return at

    def _whole_lines(self, span: Span) -> tuple[int, int]:
        return self._line_start(span.start), span.end

    def _step(self) -> bytes:
        """Return one level of the document's indentation."""
        root = self.tree.root
        first = next(iter(root), None)
        lead = self._indentation(self._span(first).start) if first is not None else None
        if lead is None:
            return b"  "
        base = self._indentation(self._span(root).start) or b"\n"
        return lead.lstrip(b"\r\n").removeprefix(base.lstrip(b"\r\n")) or b"  "

    def _quote(self, tag: bytes) -> bytes:
        """Return the quote of a start tag's attributes, or else of the document's."""
        found = _ATTRIBUTE.search(tag) or _ATTRIBUTE.search(self.tree.data, self.tree.starts[self.tree.root])
        return found[3][:1] if found else b"'"

    def _span(self, element: Element) -> Span:
        if self._all_spans is None:
            self._all_spans = spans(self.tree)
        return self._all_spans[element]


def spans(tree: Tree) -> dict[Element, Span]:
    """Return where every element of a document stands."""
    elements = iter(tree.starts)
    found: dict[Element, Span] = {}
    open_: list[tuple[Element, int, int]] = []
    for token in _TOKEN.finditer(tree.data):
        start, end = token.span()
        lead = tree.data[start + 1 : start + 2]
        if lead in (b"!", b"?"):
            continue
        if lead == b"/":
            element, begin, inner = open_.pop()
            found[element] = Span(begin, inner, start, end)
        elif tree.data[end - 2 : end - 1] == b"/":
            found[next(elements)] = Span(start, end, end, end)
        else:
            open_.append((next(elements), start, end))
    return found


def sayable(text: str) -> bool:
    """Tell whether XML 1.0 can hold a text at all."""
    return all(char >= " " or char in "\t\n\r" for char in text) and _UNSAID.isdisjoint(text)


def _name_end(tag: bytes) -> int:
    name = _TAG_NAME.match(tag)
    return name.end() if name else 1


def _escape(text: str, quote: bytes = b"") -> bytes:
    for char, entity in _ESCAPES.items():
        text = text.replace(char, entity)
    if quote:
        for char, entity in _IN_ATTRIBUTES.items():
            text = text.replace(char, entity)
        text = text.replace(quote.decode(), "&apos;" if quote == b"'" else "&quot;")
    return text.encode()
