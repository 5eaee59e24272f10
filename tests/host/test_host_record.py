"""Records from elsewhere: whatever is wrong with one is a single line with its place; nothing else ever happens."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_hosts import bare, emerald_rapids, error, facts, milan, milan_without_rmp, power9, text, z15
from hypothesis import given, settings
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.host.facts import HostFacts
from sequester.host.requirement import evaluate
from sequester.platforms.registry import platforms

GOOD = json.dumps(milan()).encode()

ALL = {platform.name: platform.host_requirements() for platform in platforms()}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "bad.json:1: the host's record cannot be used: not JSON"),
        (b"{", "not JSON"),
        (GOOD[: len(GOOD) // 2], "not JSON"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b"[" * 200000, "nested too deeply"),
        (b'{"a":' * 100000, "nested too deeply"),
        (b"[]", "not the record of a host"),
        (b"7", "not the record of a host"),
        (b"{}", "not the record of a host"),
        (b'{"schema": 1}', "not the record of a host"),
        (
            b'{"schema": "sequester-host/2"}',
            "schema sequester-host/2, this is for sequester-host/1 (update sequester",
        ),
        (b'{"schema": "sequester-host/1", "time": NaN}', "NaN is no JSON"),
        (b'{"schema": "sequester-host/1", "x": ' + b"9" * 6000 + b"}", "not JSON"),
        (b" " * ((2 << 20) + 1), "more than 2 MiB"),
    ],
)
def test_what_is_no_record_is_one_line(data: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        HostFacts.parse(data, "bad.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("bad.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("files",), [], "files: an object is wanted, not list"),
        (("files", "/proc/x"), "Y", "files./proc/x: an object is wanted, not str"),
        (("files", "/proc/x"), {"text": 1}, "files./proc/x.text: text is wanted, not int"),
        (("cpuid", "leaves", "0x1"), [1, 2, 3], "cpuid.leaves.0x1: four registers"),
        (("cpuid", "leaves", "0x1"), [1, 2, 3, 1 << 32], "cpuid.leaves.0x1: four registers"),
        (("cpuid", "leaves", "one"), [1, 2, 3, 4], "cpuid.leaves.one: a key in hex"),
        (("kvm", "caps"), {"235": -1}, "kvm.caps.235: an unsigned number"),
        (("kvm", "caps"), {"235": True}, "kvm.caps.235: an unsigned number"),
        (("kvm", "caps"), {"235": 1.5}, "kvm.caps.235: an unsigned number"),
        (("kvm", "caps"), {"x": 1}, "kvm.caps.x: a key in decimal"),
        (("kvm", "api"), "12", "kvm.api: an unsigned number"),
        (("log", "lines"), "line", "log.lines: a list is wanted"),
        (("log", "lines"), [1], "log.lines[0]: text is wanted"),
        (("nodes", "/dev/kvm", "read"), "yes", "nodes./dev/kvm.read: true or false"),
        (("qemu",), {}, "qemu: a list is wanted"),
        (("qemu",), [{"path": 3}], "qemu[0].path: text is wanted"),
        (("qemu",), [{"types": [{"name": None}, 3]}], "qemu[0].types[1]: an object is wanted"),
        (("qemu",), [{"properties": {"x": [{"default": []}]}}], "qemu[0].properties.x[0].default: a scalar"),
        (("firmware",), [{"features": "all"}], "firmware[0].features: a list is wanted"),
        (("memlock",), "all", "memlock: a list is wanted"),
        (("user", "uid"), "root", "user.uid: an unsigned number"),
        (("arch",), ["x86_64"], "arch: text is wanted"),
    ],
)
def test_a_part_of_the_wrong_shape_is_named_with_its_place(
    place: tuple[str, ...], value: Any, said: str
) -> None:
    record = milan()
    target = record
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    with pytest.raises(InputError) as caught:
        facts(record)
    assert said in str(caught.value)


def test_a_record_s_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        HostFacts.load(str(tmp_path / "nowhere.json"))


def test_a_record_s_file_that_is_no_file_does_not_keep_us_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(InputError):
            HostFacts.load(str(path))


def test_parts_that_this_version_does_not_know_are_ignored() -> None:
    record = milan()
    record["later"] = {"anything": [1, 2.5, None]}
    record["nodes"]["/dev/later"] = {**record["nodes"]["/dev/kvm"], "colour": "red"}
    assert facts(record).node("/dev/later").exists


def test_a_nearly_empty_record_is_a_host_of_which_nothing_is_known() -> None:
    host = facts({"schema": "sequester-host/1"})
    assert (host.arch, host.kernel_version, host.flags, host.qemus) == ("", (), frozenset(), None)
    assert host.sev_cbitpos is None
    assert host.vm_types is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        found += places(one, (*path, key))
    return found


HOSTS = [milan(), milan_without_rmp(), emerald_rapids(), z15(), power9()]
PLACES = [places(host) for host in HOSTS]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_record_with_anything_anywhere_is_judged_or_refused(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(HOSTS) - 1))
    record = copy.deepcopy(HOSTS[number])
    place = data.draw(st.sampled_from(PLACES[number][1:]))
    target: Any = record
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = data.draw(JSON)
    refusal = ""
    host = None
    try:
        host = facts(record)
    except InputError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if host is None:
        return
    for chain in ALL.values():
        for outcome in evaluate(chain, host):
            assert outcome.read.isprintable()
            assert len(outcome.read) < 2000


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3))
def test_a_damaged_record_is_judged_or_refused(position: int, junk: bytes) -> None:
    try:
        host = HostFacts.parse(GOOD[:position] + junk + GOOD[position + 1 :], "damaged")
    except InputError:
        return
    for chain in ALL.values():
        evaluate(chain, host)


@pytest.mark.parametrize(
    ("spelling", "means"),
    [
        ("Y", True),
        ("y", True),
        ("1", True),
        ("on", True),
        ("N", False),
        ("0", False),
        ("off", False),
        ("auto", None),
        ("", None),
    ],
)
def test_a_switch_is_understood_in_every_spelling(spelling: str, means: bool | None) -> None:
    record = bare("x86_64", "6.12")
    record["files"]["/sys/module/kvm_amd/parameters/sev"] = text(spelling)
    assert facts(record).module_parameter("kvm_amd", "sev").on is means


def test_the_position_of_the_encryption_bit_comes_from_cpuid_and_the_guest_loses_one_bit() -> None:
    host = facts(milan())
    assert (host.sev_cbitpos, host.sev_reduced_phys_bits) == (51, 1)
    assert (host.sev_asids, host.sev_es_asids) == (410, 99)


def test_the_position_of_the_encryption_bit_comes_from_qemu_where_cpuid_is_not_told() -> None:
    record = milan()
    record["cpuid"] = error("executable memory refused: EACCES")
    assert facts(record).sev_cbitpos is None
    record["qemu"][0]["sev_capabilities"] = {"cbitpos": 47, "reduced-phys-bits": 1}
    assert facts(record).sev_cbitpos == 47


def test_a_leaf_that_does_not_exist_is_zero_and_one_that_was_not_told_is_none() -> None:
    assert facts(milan()).cpuid(0x80000025) == (0, 0, 0, 0)
    assert facts(z15()).cpuid(0x80000025) is None


@pytest.mark.parametrize(
    ("uname", "target"), [("ppc64le", "ppc64"), ("x86_64", "x86_64"), ("aarch64", "aarch64")]
)
def test_the_architecture_is_qemu_s_name(uname: str, target: str) -> None:
    assert facts(bare(uname, "6.12")).arch == target


def test_facts_can_be_narrowed_to_one_qemu() -> None:
    host = facts(milan())
    assert host.with_qemus(()).qemus == ()
    found = host.qemu("/usr/bin/qemu-system-x86_64")
    assert found is not None
    assert found.version == (11, 1, 2)
    assert host.qemus_for("s390x") == ()
