"""XML is read with the place of every element; whatever could be used against the reader is refused."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from sequester.formats.xml_splice import spans
from sequester.formats.xml_tree import parse, start_offsets

OPAQUE = b"""<?xml version='1.0' encoding='UTF-8'?>
<!-- <domain> in a comment -->
<domain>
  <?pi <x> ?>
  <a x='>'><![CDATA[<b>]]></a>
  <c/><d>&lt;e></d>
</domain>
"""


def at(document: bytes, name: str) -> Element:
    return next(element for element in parse(document, "d.xml").root.iter() if element.tag == name)


def test_an_element_starts_where_its_bracket_stands() -> None:
    tree = parse(OPAQUE, "d.xml")
    starts = {element.tag: OPAQUE[offset : offset + 2] for element, offset in tree.starts.items()}
    assert starts == {"domain": b"<d", "a": b"<a", "c": b"<c", "d": b"<d"}


def test_comments_instructions_and_cdata_hold_no_elements() -> None:
    assert len(start_offsets(OPAQUE)) == 4


def test_lines_are_counted_from_one_whatever_ends_them() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        tree = parse(end.join([b"<domain>", b"<a/>", b"", b"<b/>", b"</domain>"]), "d.xml")
        assert [tree.line(element) for element in tree.root.iter()] == [1, 2, 4]


def test_a_place_is_the_file_and_the_line() -> None:
    tree = parse(OPAQUE, "d.xml")
    assert tree.where(tree.root) == "d.xml:3"


def test_a_byte_order_mark_is_taken() -> None:
    tree = parse(b"\xef\xbb\xbf<domain/>", "d.xml")
    assert tree.starts[tree.root] == 3


def test_a_document_type_in_a_comment_does_no_harm() -> None:
    assert parse(b"<domain><!-- <!DOCTYPE x> --><a/></domain>", "d.xml").root.tag == "domain"


def test_spans_hold_an_element_and_its_inside() -> None:
    tree = parse(OPAQUE, "d.xml")
    found = spans(tree)
    a = at(OPAQUE, "a")
    for element, span in found.items():
        if element.tag == a.tag:
            assert OPAQUE[span.start : span.end] == b"<a x='>'><![CDATA[<b>]]></a>"
            assert OPAQUE[span.inner : span.close] == b"<![CDATA[<b>]]>"
        elif element.tag == "c":
            assert span.inner == span.close == span.end


names = st.sampled_from(["a", "b", "driver", "ns_x", "é"])
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&\ufffe\uffff"), max_size=6
)


@st.composite
def documents(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(names) if depth else "domain"
    attributes = draw(st.dictionaries(names, texts, max_size=2))
    quote = draw(st.sampled_from("'\""))
    said = "".join(f" {k}={quote}{v.replace(quote, '')}{quote}" for k, v in attributes.items())
    inside = [draw(texts).replace("]]>", "")]
    if depth < 4:
        inside += draw(st.lists(documents(depth + 1), max_size=3))
    inside.append(draw(st.sampled_from(["", "<!-- <x> -->", "<![CDATA[</y>]]>", "<?z <?> ?>", "\n"])))
    body = "".join(inside)
    return f"<{name}{said}/>" if not body else f"<{name}{said}>{body}</{name}>"


@given(documents())
def test_every_element_of_any_document_is_found_at_its_place(text: str) -> None:
    data = text.encode()
    tree = parse(data, "d.xml")
    found = spans(tree)
    for element in tree.root.iter():
        span = found[element]
        assert data[span.start :].startswith(b"<" + element.tag.encode())
        assert data[span.end - 1 : span.end] == b">"
        again = parse(data[span.start : span.end], "piece").root
        assert (again.tag, again.attrib, len(again)) == (element.tag, element.attrib, len(element))
