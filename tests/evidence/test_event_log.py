"""Event logs: real ones have the events that their makers see, and only the right one gives a guest its registers."""

from __future__ import annotations

import contextlib
import json
import struct
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha384
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_data import DATA

from sequester.errors import InputError
from sequester.evidence.appraisal import Outcome
from sequester.evidence.collateral import Collateral
from sequester.evidence.event_log.log import looks_so, parse
from sequester.evidence.event_log.replay import held_against, replay
from sequester.evidence.policy import Policy
from sequester.verifying import verify


def log(*events: tuple[int, int, bytes], algorithms: tuple[tuple[int, int], ...] = ((0xC, 48),)) -> bytes:
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 105, 2, len(algorithms))
    spec += b"".join(struct.pack("<HH", *each) for each in algorithms) + b"\0"
    made = struct.pack("<II20sI", 1, 3, b"", len(spec)) + spec
    for register, kind, data in events:
        made += struct.pack("<IIIH", register, kind, 1, 0xC) + sha384(data).digest()
        made += struct.pack("<I", len(data)) + data
    return made


EVENTS = ((1, 0x80000008, b"firmware"), (2, 4, bytes(4)), (3, 6, b"kernel"), (1, 3, b"no action"))
LOG = log(*EVENTS)


def extended(*data: bytes) -> bytes:
    value = bytes(48)
    for each in data:
        value = sha384(value + sha384(each).digest()).digest()
    return value


REGISTERS = {
    "mrtd": b"m" * 48,
    "rtmr0": extended(b"firmware"),
    "rtmr1": extended(bytes(4)),
    "rtmr2": extended(b"kernel"),
    "rtmr3": bytes(48),
}


@pytest.mark.parametrize("name", ["ovmf", "grub"])
def test_a_real_log_has_the_events_that_its_makers_see(name: str) -> None:
    path = DATA / "tdx" / f"CCEL_data_{name}"
    if not path.exists():
        pytest.skip("no third-party data here (../shared/data/tdx)")
    events = parse(path.read_bytes())
    told = json.loads((DATA / "tdx" / f"CCEL_data_{name}_out.json").read_text())["uefi_event_logs"]
    assert len(events) == len(told)
    for event, expected in zip(events[1:], told[1:], strict=True):
        assert event.register == expected["index"]
        assert event.data == b64decode(expected["event"])
        digests = [digest.hex() for _, digest in event.digests]
        assert digests == [each["digest"] for each in expected["digests"]]


def test_a_log_that_gives_the_registers_passes() -> None:
    assert replay(parse(LOG)) == {name: value for name, value in REGISTERS.items() if name != "mrtd"}
    (check,) = held_against((LOG,), REGISTERS)
    assert check.outcome is Outcome.PASSED


@pytest.mark.parametrize("padding", [b"\xff" * 100, bytes(100), b"\xff" * 3])
def test_what_fills_the_rest_of_the_table_is_no_event(padding: bytes) -> None:
    assert len(parse(LOG + padding)) == len(EVENTS)


@given(st.data())
def test_a_changed_digest_or_register_is_found(data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([LOG.index(sha384(each[2]).digest()) for each in EVENTS[:3]]))
    bit = data.draw(st.integers(0, 48 * 8 - 1))
    changed = bytearray(LOG)
    changed[at + bit // 8] ^= 1 << bit % 8
    (check,) = held_against((bytes(changed),), REGISTERS)
    assert check.failed
    assert check.where.startswith("rtmr")


def test_the_first_register_that_differs_is_named() -> None:
    (check,) = held_against((log(EVENTS[0], EVENTS[1]),), REGISTERS)
    assert (check.failed, check.where) == (True, "rtmr2")


def test_a_register_that_the_guest_extended_itself_is_told_of_and_not_held_against_the_log() -> None:
    (check,) = held_against((LOG,), {**REGISTERS, "rtmr3": b"3" * 48})
    assert (check.outcome, "none of RTMR3" in check.found) == (Outcome.PASSED, True)
    (check,) = held_against((log(*EVENTS, (4, 6, b"own")),), {**REGISTERS, "rtmr3": b"3" * 48})
    assert (check.failed, check.where) == (True, "rtmr3")
    (check,) = held_against((log(*EVENTS, (4, 6, b"own")),), {**REGISTERS, "rtmr3": extended(b"own")})
    assert check.outcome is Outcome.PASSED


def test_of_logs_that_lie_beside_the_evidence_the_right_one_counts() -> None:
    other = log(EVENTS[0])
    (check,) = held_against((), REGISTERS, (other, LOG))
    assert check.outcome is Outcome.PASSED
    (check,) = held_against((), REGISTERS, (other, log(EVENTS[1])))
    assert (check.failed, check.where) == (True, "rtmr1")
    own, beside = held_against((other,), REGISTERS, (LOG,))
    assert (own.failed, beside.outcome) == (True, Outcome.PASSED)


def test_a_log_given_as_collateral_is_replayed(tmp_path: Path) -> None:
    from tdx_made import Vendor

    now = datetime(2026, 11, 27, tzinfo=UTC)
    vendor = Vendor(tmp_path, now)
    documents = vendor.documents(vendor.tables(lambda _info, _identity: None))
    quote = vendor.quote(
        rtmr0=REGISTERS["rtmr0"], rtmr1=REGISTERS["rtmr1"], rtmr2=REGISTERS["rtmr2"], rtmr3=0
    )
    policy = Policy(simulated=True)
    assert verify(quote, policy, Collateral((LOG, *documents)), now).accepted
    assert verify(quote, policy, Collateral(documents, event_logs=(LOG,)), now).accepted
    wrong = verify(quote, policy, Collateral((log(EVENTS[0]), *documents)), now)
    assert [check.code for check in wrong.checks if check.failed] == ["EV603"]


def test_a_log_of_a_tpm_alone_gives_no_registers() -> None:
    sha1 = log(algorithms=((4, 20),)) + struct.pack("<IIIH20sI", 1, 4, 1, 4, b"", 0)
    (check,) = held_against((sha1,), REGISTERS)
    assert check.failed
    assert "SHA-384" in check.found


def test_without_a_log_nothing_is_claimed() -> None:
    (check,) = held_against((), REGISTERS)
    assert check.outcome is Outcome.SKIPPED


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        LOG[:40],
        LOG[:-3],
        LOG + struct.pack("<III", 1, 4, 1 << 20),
        LOG + struct.pack("<IIIH", 1, 4, 1, 0x99) + bytes(60),
        LOG + struct.pack("<IIIH48sI", 1, 4, 1, 0xC, b"", 0xFFFFFFF0),
        log(algorithms=((0xC, 1),)),
        log(algorithms=((0xC, 48),) * 9),
    ],
)
def test_a_log_that_lies_is_one_error(bad: bytes) -> None:
    with pytest.raises(InputError, match="offset"):
        parse(bad)


@given(st.binary(max_size=300))
def test_any_bytes_behind_the_head_are_events_or_one_error(data: bytes) -> None:
    looks_so(data)
    with contextlib.suppress(InputError):
        parse(LOG + data)
