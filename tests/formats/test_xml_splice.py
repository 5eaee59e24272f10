"""Edits to XML replace only the bytes that say something else, in the style of what stands around them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sequester.formats.xml_splice import Node, Splice
from sequester.formats.xml_tree import parse

DOMAIN = """<domain type="kvm">
    <!-- kept -->
    <memory>1</memory>
    <disk device='disk' >
        <target dev='vda'/>
    </disk>
    <rng model='virtio'/>
</domain>
"""


def spliced(text: str) -> Splice:
    return Splice(parse(text.encode(), "d.xml"))


def child(splice: Splice, tag: str):
    found = splice.tree.root.find(tag)
    assert found is not None
    return found


def test_without_edits_not_a_byte_changes() -> None:
    assert spliced(DOMAIN).text() == DOMAIN


def test_a_new_attribute_takes_the_quotes_of_its_element() -> None:
    splice = spliced(DOMAIN)
    splice.set(splice.tree.root, "id", "1")
    splice.set(child(splice, "rng"), "x", 'a"b')
    assert '<domain type="kvm" id="1">' in splice.text()
    assert "<rng model='virtio' x='a\"b'/>" in splice.text()


def test_an_attribute_keeps_its_quotes_and_the_blanks_around_it() -> None:
    splice = spliced(DOMAIN)
    splice.set(child(splice, "disk"), "device", "cd'rom")
    assert "<disk device='cd&apos;rom' >" in splice.text()


def test_an_attribute_goes_with_the_blank_before_it() -> None:
    splice = spliced(DOMAIN)
    splice.set(child(splice, "rng"), "model", None)
    assert "<rng/>" in splice.text()


def test_a_child_is_put_before_those_that_come_later_with_their_indentation() -> None:
    splice = spliced(DOMAIN)
    splice.add(splice.tree.root, Node("memoryBacking", {}, [Node("locked")]), frozenset({"disk"}))
    assert (
        "    <memory>1</memory>\n    <memoryBacking>\n        <locked/>\n    </memoryBacking>\n    <disk"
        in splice.text()
    )


def test_an_empty_element_opens_for_its_first_child() -> None:
    splice = spliced(DOMAIN)
    splice.add(child(splice, "rng"), Node("driver", {"iommu": "on"}))
    assert "    <rng model='virtio'>\n        <driver iommu='on'/>\n    </rng>\n" in splice.text()


def test_children_of_one_line_stay_on_one_line() -> None:
    splice = spliced("<domain><a><b/></a></domain>")
    splice.add(child(splice, "a"), Node("c"))
    assert splice.text() == "<domain><a><b/><c/></a></domain>"


def test_line_ends_are_taken_up() -> None:
    splice = spliced(DOMAIN.replace("\n", "\r\n"))
    splice.add(child(splice, "rng"), Node("driver"))
    assert splice.text().count("\r\n") == splice.text().count("\n")


def test_an_element_goes_with_its_whole_line() -> None:
    splice = spliced(DOMAIN)
    splice.remove(splice.tree.root, child(splice, "disk"))
    assert splice.text() == DOMAIN.replace(
        "    <disk device='disk' >\n        <target dev='vda'/>\n    </disk>\n", ""
    )


def test_edits_inside_what_is_removed_are_gone_with_it() -> None:
    splice = spliced(DOMAIN)
    disk = child(splice, "disk")
    splice.set(disk[0], "dev", "vdb")
    splice.add(disk, Node("driver"))
    splice.set(disk, "device", "cdrom")
    splice.remove(splice.tree.root, disk)
    assert "disk" not in splice.text()


def test_a_hollow_element_closes_itself() -> None:
    splice = spliced(DOMAIN)
    splice.hollow(child(splice, "disk"))
    assert "    <disk device='disk' />\n" in splice.text()


def test_text_is_replaced_and_escaped() -> None:
    splice = spliced(DOMAIN)
    splice.set_text(child(splice, "memory"), "1 < 2 & 3")
    splice.set_text(child(splice, "rng"), "x")
    assert "<memory>1 &lt; 2 &amp; 3</memory>" in splice.text()
    assert "<rng model='virtio'>x</rng>" in splice.text()


def test_an_existing_element_without_children_is_found() -> None:
    splice = spliced(DOMAIN)
    assert splice.need(splice.tree.root, "rng") is child(splice, "rng")


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
    | st.sampled_from(["a\nb", "a\tb", "'\"&<>"])
)
def test_any_value_comes_back_as_it_was_set(value: str) -> None:
    splice = spliced(DOMAIN)
    splice.set(child(splice, "disk"), "device", value)
    splice.set(splice.tree.root, "new", value)
    splice.set_text(child(splice, "memory"), value)
    root = parse(splice.text().encode(), "d.xml").root
    disk = root.find("disk")
    assert disk is not None
    assert (disk.get("device"), root.get("new")) == (value, value)
    assert root.findtext("memory") == value
