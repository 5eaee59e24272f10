"""What backs a guest's memory."""

import pytest

from sequester.formats.argv_read import read_argv
from sequester.guest.memory import byte_size, huge_pages, in_file, ram_bytes, taken_at_once
from sequester.guest.part import Part


def guest(text):
    return read_argv(["qemu-system-x86_64", *text.split()]).guest


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("4G", 4 << 30),
        ("4g", 4 << 30),
        ("1.5M", 3 << 19),
        ("219136k", 219136 << 10),
        ("1T", 1 << 40),
        ("", None),
        ("G", None),
        ("4GB", None),
        ("-1", None),
        ("0x10", None),
        ("9" * 30, None),
    ],
)
def test_a_size_is_read_as_qemu_reads_it(text, size):
    assert byte_size(text) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("-m 512", 512 << 20),
        ("-m size=1G,slots=2,maxmem=4G", 1 << 30),
        ("-m 1G -m slots=2", 1 << 30),
        ("", 128 << 20),
    ],
)
def test_main_memory_is_in_mebibytes_unless_it_says_otherwise(text, size):
    assert ram_bytes(guest(text)) == size


@pytest.mark.parametrize(
    ("properties", "by"),
    [
        ({"hugetlb": "on"}, "hugetlb=on"),
        ({"hugetlb": True}, "hugetlb=on"),
        ({"mem-path": "/dev/hugepages"}, "/dev/hugepages"),
        ({"mem-path": "/mnt/huge/g"}, "/mnt/huge/g"),
        ({"mem-path": "/srv/not-huge/g"}, ""),
        ({"hugetlb": "off"}, ""),
        ({}, ""),
    ],
)
def test_huge_pages_are_recognised(properties, by):
    assert huge_pages(Part("object", "memory-backend-file", properties)) == by


def test_a_private_mapping_of_a_file_keeps_nothing_in_it():
    assert in_file(Part("object", "memory-backend-file", {"mem-path": "/a", "share": True})) == "/a"
    assert in_file(Part("object", "memory-backend-file", {"mem-path": "/a", "share": False})) == ""


def test_everything_that_takes_memory_at_once_is_named():
    text = "-mem-prealloc -overcommit mem-lock=on -object memory-backend-ram,id=m,size=1G,prealloc=yes"
    assert [said for _, said in taken_at_once(guest(text))] == [
        "prealloc=yes",
        "-mem-prealloc",
        "mem-lock=on",
    ]
    assert list(taken_at_once(guest("-overcommit mem-lock=on-fault"))) == []
