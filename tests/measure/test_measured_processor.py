"""QEMU's processor models by name, numbers and signature."""

from __future__ import annotations

import pytest

from sequester.errors import InputError
from sequester.measure import processor


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("EPYC-Milan", 0xA00F11),
        ("25/1/1", 0xA00F11),
        ("0xA00F11", 0xA00F11),
        ("10489617", 0xA00F11),
        ("0", 0),
        ("EPYC-IBPB", 0x800F12),
        ("Icelake-Server-v3", 0x80660),
        ("Icelake-Server-v4", 0x606A0),
        ("Icelake-Server-noTSX", 0x80660),
        ("Haswell-noTSX-IBRS", 0x306C1),
        ("486", 0x480),
        ("486-v1", 0x480),
        ("qemu64", 0x60FB1),
    ],
)
def test_a_processor_is_named_by_model_numbers_or_signature(text: str, signature: int) -> None:
    assert processor.parse(text) == signature


def test_every_name_can_be_used() -> None:
    assert len(processor.names()) > 180
    for name in processor.names():
        assert 0 < processor.parse(name) < 1 << 32


@pytest.mark.parametrize(
    "text",
    [
        *("", "EPYC-v0", "EPYC-v6", "EPYC-v01", "EPYC-v", "EPYC-v" + "9" * 9999, "epyc", "host", "max"),
        *("25/1", "25/1/", "271/0/0", "25/256/0", "25/1/16", "-1", "0x100000000", "1" * 5000, "0xzz", "486/"),
    ],
)
def test_what_is_no_processor_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(InputError) as error:
        processor.parse(text)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 250
