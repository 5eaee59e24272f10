"""Reads XML from people into the standard library's element tree, hardened, and knows where everything stands.

Expat checks that the text is well-formed and ElementTree keeps it; offsets are only sought when they are asked
for. No document type, no entity but XML's own five, one encoding, bounded size, number of tags and depth.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from xml.etree.ElementTree import Element, ParseError, XMLParser
from xml.parsers import expat

from sequester.errors import InputError

MAX_BYTES = 32 << 20
"""No domain is larger: 10,000 devices take about 5 MiB."""

MAX_TAGS = 200_000
"""Start and end tags. 10,000 disks with all that libvirt adds to them have 120,000."""

MAX_DEPTH = 100
"""libvirt's own documents nest about ten deep; snapshots with long backing chains somewhat deeper."""

_SHALLOW = 2 * MAX_DEPTH
"""Fewer tags than this cannot nest deeper than `MAX_DEPTH`."""

_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml\s[^>]*?encoding\s*=\s*["']([^"']*)["']""")
_START = re.compile(rb"<[^/!?]")
_START_OR_OPAQUE = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<[^/!?]", re.DOTALL)
_ENCODINGS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_REMEDIES = {
    expat.errors.codes[expat.errors.XML_ERROR_UNBOUND_PREFIX]: (
        "declare the prefix, as xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' on <domain>"
    ),
    expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]: (
        "only &lt; &gt; &amp; &apos; &quot; and character numbers are known"
    ),
    expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]: "the file is empty or ends too early",
}
_CHUNK = 1 << 20


class Tree:
    """A document: its bytes, its root element, and where elements start.

    `starts` holds the offset in bytes of each element's ``<``; `line_ends` those of the lines' ends.
    """

    __slots__ = ("data", "line_ends", "name", "root", "starts")

    def __init__(self, name: str, data: bytes, root: Element) -> None:
        self.name = name
        self.data = data
        self.root = root
        self.starts = dict(zip(root.iter(), start_offsets(data), strict=True))
        self.line_ends = list(accumulate(map(len, data.splitlines(keepends=True))))

    def line(self, element: Element) -> int:
        """Return the number of the line on which an element starts, from 1."""
        return bisect_right(self.line_ends, self.starts[element]) + 1

    def where(self, element: Element) -> str:
        """Name an element's place for a person."""
        return f"{self.name}:{self.line(element)}"


def parse(data: bytes, name: str) -> Tree:
    """Parse a document in UTF-8. Raises InputError that names the file, the line and what to do."""
    tags = _checked(data, name)
    parser = XMLParser()
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ParseError as error:
        raise _malformed(error, name) from None
    except (ValueError, LookupError) as error:
        raise InputError(
            "this is not XML in UTF-8",
            code="input.encoding",
            where=name,
            why=str(error),
            remedy="save it as UTF-8",
        ) from None
    if tags > _SHALLOW:
        _limit_depth(root, name)
    return Tree(name, data, root)


def start_offsets(data: bytes) -> list[int]:
    """Return the offset of every start tag of a well-formed document, in document order."""
    if b"<!" not in data and b"<?" not in data:
        return [found.start() for found in _START.finditer(data)]
    return [found.start() for found in _START_OR_OPAQUE.finditer(data) if found.end() - found.start() == 2]


def _checked(data: bytes, name: str) -> int:
    """Refuse what is not to reach the parser; return an upper bound of the number of tags."""
    if len(data) > MAX_BYTES:
        raise InputError(
            f"this is larger than {MAX_BYTES >> 20} MiB",
            code="input.size",
            where=name,
            remedy="no libvirt domain is that large",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:64]:
        raise _encoding(name, "UTF-16 or UTF-32")
    declared = _DECLARED.match(data)
    if declared and declared[1].lower() not in _ENCODINGS:
        raise _encoding(name, declared[1].decode("ascii", "replace")[:40])
    if b"<!DOCTYPE" in data:
        _refuse_document_type(data, name)
    tags = data.count(b"<")
    if tags > MAX_TAGS:
        raise InputError(
            f"this has more than {MAX_TAGS:,} tags",
            code="input.size",
            where=name,
            remedy="no libvirt domain is that large",
        )
    return tags


def _encoding(name: str, encoding: str) -> InputError:
    return InputError(
        f"this is written in {encoding}",
        code="input.encoding",
        where=name,
        why="only UTF-8 and US-ASCII are read",
        remedy="convert it with iconv -t UTF-8, and correct the encoding in its first line",
    )


class _DocumentTypeError(Exception):
    pass


def _refuse_document_type(data: bytes, name: str) -> None:
    """Look closer at a document that holds ``<!DOCTYPE`` somewhere: in a comment it is harmless."""
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise _DocumentTypeError

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        for at in range(0, len(data), _CHUNK):
            parser.Parse(data[at : at + _CHUNK], False)
    except _DocumentTypeError:
        raise InputError(
            "a document type declaration",
            code="input.doctype",
            where=f"{name}:{parser.CurrentLineNumber}",
            why="it can define entities, and a libvirt domain has none",
            remedy="remove it",
        ) from None
    except (expat.ExpatError, ValueError, LookupError):
        return  # the parser proper says what is wrong


def _malformed(error: ParseError, name: str) -> InputError:
    line, column = error.position
    return InputError(
        "this is not well-formed XML",
        code="input.xml",
        where=f"{name}:{line}",
        why=f"{expat.ErrorString(error.code)} at column {column + 1}",
        remedy=_REMEDIES.get(error.code, "correct it there; `xmllint --noout FILE` shows the place"),
    )


def _limit_depth(root: Element, name: str) -> None:
    level: Sequence[Element] = (root,)
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise InputError(
        f"elements are nested more than {MAX_DEPTH} deep",
        code="input.depth",
        where=name,
        remedy="no libvirt domain is nested that deep",
    )
