"""Bad XML: one line with its place, no traceback, and nothing that grows without bound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.formats.libvirt_read import read_xml
from sequester.formats.xml_tree import MAX_BYTES, MAX_DEPTH, MAX_TAGS

DOMAINS = sorted((Path(__file__).parents[1] / "formats" / "domains").glob("*.xml"))
LAUGHS = b"".join(b"<!ENTITY l%d '%s'>" % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 10))


def error(data: bytes) -> str:
    with pytest.raises(InputError) as raised:
        read_xml(data, "bad.xml")
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "bad.xml:1: this is not well-formed XML: no element found"),
        (b"<domain", "bad.xml:1: this is not well-formed XML: unclosed token"),
        (b"<domain type='kvm'>\n<name>", "bad.xml:2: this is not well-formed XML"),
        (
            b"<domain></domain><domain/>",
            "bad.xml:1: this is not well-formed XML: junk after document element",
        ),
        (b"<domain><a></b></domain>", "bad.xml:1: this is not well-formed XML: mismatched tag"),
        (b"<domain a='1' a='2'/>", "bad.xml:1: this is not well-formed XML: duplicate attribute"),
        (b"<domain>\n&nbsp;</domain>", "bad.xml:2: this is not well-formed XML: undefined entity"),
        (b"<domain><qemu:commandline/></domain>", "bad.xml:1: this is not well-formed XML: unbound prefix"),
        (b"<domain>\xff</domain>", "bad.xml:1: this is not well-formed XML: not well-formed"),
        (b"<domain>a\x00b</domain>", "bad.xml: this is written in UTF-16 or UTF-32"),
        ("<domain/>".encode("utf-16"), "bad.xml: this is written in UTF-16 or UTF-32"),
        ("<domain/>".encode("utf-16-be"), "bad.xml: this is written in UTF-16 or UTF-32"),
        ("<domain/>".encode("utf-32-le"), "bad.xml: this is written in UTF-16 or UTF-32"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><domain/>", "bad.xml: this is written in ISO-8859-1"),
        (b"<?xml version='1.0' encoding='utf-7'?><domain/>", "bad.xml: this is written in utf-7"),
        (
            b"<?xml version='1.0' encoding='us-ascii'?><domain>\xc3</domain>",
            "bad.xml:1: this is not well-formed",
        ),
        (b"<!DOCTYPE domain><domain/>", "bad.xml:1: a document type declaration"),
        (
            b"\n<!DOCTYPE d [<!ENTITY l0 'ha'>" + LAUGHS + b"]><domain>&l9;</domain>",
            "bad.xml:2: a document type",
        ),
        (b"<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>", "bad.xml:1: a document type declaration"),
        (b"<domain>" + b"x" * MAX_BYTES + b"</domain>", "bad.xml: this is larger than 32 MiB"),
        (b"<" * (100 << 20), "bad.xml: this is larger than 32 MiB"),
        (b"<domain>" + b"<a/>" * MAX_TAGS + b"</domain>", "bad.xml: this has more than 200,000 tags"),
        (b"<a>" * 90_000 + b"</a>" * 90_000, f"bad.xml: elements are nested more than {MAX_DEPTH} deep"),
        (b"<domain>" * 101 + b"</domain>" * 101, f"bad.xml: elements are nested more than {MAX_DEPTH} deep"),
        (b"<network/>", "bad.xml:1: this is <network>, not a libvirt <domain>"),
        (
            b"\n<domainsnapshot><domain/></domainsnapshot>",
            "bad.xml:2: this is <domainsnapshot>, not a libvirt",
        ),
        (b"<x" + b"y" * 10_000 + b"/>", "bad.xml:1: this is <xyyyyyyyyyy"),
        (b"<domain type='lxc'/>", "bad.xml:1: a domain of type 'lxc' is not run by QEMU"),
        (b"<domain/>", "bad.xml:1: a domain of type '' is not run by QEMU"),
        (
            b"<domain type='kvm'><memory>lots</memory></domain>",
            "bad.xml:1: <memory> is 'lots KiB', which is no size",
        ),
        (b"<domain type='kvm'><memory unit='ZiB'>1</memory></domain>", "bad.xml:1: <memory> is '1 ZiB'"),
        (b"<domain type='kvm'><memory>%s</memory></domain>" % (b"9" * 99), "bad.xml:1: <memory> is '999"),
        (
            b"<domain type='kvm'><vcpu current='x'>2</vcpu></domain>",
            "bad.xml:1: current='x' of <vcpu> is not a number",
        ),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(data: bytes, message: str) -> None:
    assert error(data).startswith(message)


def test_a_huge_attribute_is_only_data() -> None:
    data = b"<domain type='kvm'><name a='%s'/></domain>" % (b"x" * (20 << 20))
    guest = read_xml(data, "big.xml").guest
    assert all(len(item.what) < 200 for item in guest.not_carried)


def test_many_devices_are_read() -> None:
    disk = b"<disk type='file'><source file='/a'/><target dev='vd%s' bus='virtio'/></disk>"
    names = [bytes([97 + i // 26 % 26, 97 + i % 26]) for i in range(600)]
    data = b"<domain type='kvm'><devices>" + b"".join(disk % name for name in names) + b"</devices></domain>"
    assert sum(part.type == "virtio-blk-pci" for part in read_xml(data, "many.xml").guest.devices) == 600


def test_an_iothread_count_makes_no_more_threads_than_a_guest_can_have() -> None:
    guest = read_xml(b"<domain type='kvm'><iothreads>2000000000</iothreads></domain>", "d.xml").guest
    assert len(guest.objects) <= 1100


_ATTRIBUTE = re.compile(rb"='([^']*)'")
_ELEMENT = re.compile(rb"<(\w+)[^<>]*/>")
_TEXT = re.compile(rb">([^<>]+)<")
VALUES = [
    b"",
    b"-1",
    b"x",
    b"0x",
    b"9" * 30,
    b"09",
    b"on",
    b"none",
    b"virtio",
    b"pci",
    b"usb",
    b"ccw",
    b"scsi",
]
ODD = ["\u0661", "é", "1_0", " 1", "1e5", "drive", "virtio-mmio", "unix", "spapr-vio"]


@given(st.sampled_from(DOMAINS), st.data())
def test_a_mutated_domain_is_a_guest_or_one_line(path: Path, data: st.DataObject) -> None:
    text = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 5))):
        pattern = data.draw(st.sampled_from([_ATTRIBUTE, _ELEMENT, _TEXT]))
        found = list(pattern.finditer(text))
        if not found:
            continue
        match = data.draw(st.sampled_from(found))
        if pattern is _ELEMENT:
            text = text[: match.start()] + match[0] * data.draw(st.integers(0, 2)) + text[match.end() :]
        else:
            value = data.draw(st.sampled_from([*VALUES, *(word.encode() for word in ODD)]))
            text = text[: match.start(1)] + value + text[match.end(1) :]
    try:
        document = read_xml(text, "m.xml")
    except InputError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - either outcome is fine
        return
    assert document.edited(()).text.encode() == text


@given(st.sampled_from(DOMAINS), st.data())
def test_a_domain_with_bytes_changed_is_a_guest_or_one_line(path: Path, data: st.DataObject) -> None:
    text = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        document = read_xml(bytes(text), "m.xml")
    except InputError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - either outcome is fine
        return
    assert document.edited(()).text.encode() == bytes(text)
