"""The session and the secret of an owner, against vectors of virtee/sev and every wrong bit."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.errors import InputError
from sequester.owner.sev_secret import NAMES, Packet, PacketError, named, seal, table, unseal
from sequester.owner.sev_session import SIZE, SessionError, TransportKeys, derive, unwrap

KEYS = TransportKeys(bytes(range(16)), bytes(range(16, 32)))
SHARED = bytes(range(48))
NONCE, IV = b"n" * 16, b"i" * 16
SESSION = KEYS.wrapped(SHARED, 5, NONCE, IV)
MEASUREMENT = b"m" * 32


def test_keys_are_derived_as_by_virtee_sev() -> None:
    expected = "ab4d269fcc62bedb4511d56c386ce706"
    assert derive(bytes(16), "sev-master-secret", bytes(16)).hex() == expected


def test_a_session_of_zeros_is_that_of_virtee_sev() -> None:
    session = TransportKeys(bytes(16), bytes(16)).wrapped(bytes(16), 0, bytes(16), bytes(16))
    assert session[:16] == session[48:64] == bytes(16)
    assert session[16:48].hex() == "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afa" + "df46dcfee9f02c02c4"
    assert session[64:96].hex() == "3176c0752738bd9d5e8668953402" + "0f528c088f16238826b000b327dee6aeed7d"
    assert session[96:].hex() == "aa7855e13839dd767cd5da7c1ff5" + "036540c9264b7a803029315e55375287b4af"


def test_the_platform_opens_what_the_owner_made() -> None:
    assert len(SESSION) == SIZE
    assert unwrap(SESSION, SHARED, 5) == KEYS


@given(st.integers(0, SIZE * 8 - 1))
def test_no_changed_bit_of_a_session_is_taken(bit: int) -> None:
    changed = bytearray(SESSION)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SessionError):
        unwrap(bytes(changed), SHARED, 5)


def test_a_session_is_for_one_policy_and_one_platform() -> None:
    with pytest.raises(SessionError, match="policy"):
        unwrap(SESSION, SHARED, 7)
    with pytest.raises(SessionError, match="wrapped keys"):
        unwrap(SESSION, b"x" * 48, 5)
    with pytest.raises(SessionError, match="128 bytes"):
        unwrap(SESSION[:-1], SHARED, 5)


def test_keys_do_not_show_in_what_is_printed() -> None:
    assert repr(KEYS) == "TransportKeys()"


@given(st.binary(min_size=1, max_size=500), st.binary(min_size=16, max_size=16))
def test_a_secret_reaches_its_guest_and_no_other(data: bytes, iv: bytes) -> None:
    plain = table({NAMES["luks-key"]: data})
    packet = seal(KEYS, MEASUREMENT, plain, iv)
    assert unseal(KEYS, MEASUREMENT, packet) == plain
    with pytest.raises(PacketError, match="11"):
        unseal(KEYS, b"x" * 32, packet)
    with pytest.raises(PacketError, match="11"):
        unseal(TransportKeys(KEYS.tek, bytes(16)), MEASUREMENT, packet)


@given(st.integers(0, 52 * 8 - 1), st.integers(0, 64 * 8 - 1))
def test_no_changed_bit_of_a_packet_is_taken(in_header: int, in_payload: int) -> None:
    packet = seal(KEYS, MEASUREMENT, bytes(64), IV)
    header, payload = bytearray(packet.header), bytearray(packet.payload)
    header[in_header // 8] ^= 1 << in_header % 8
    payload[in_payload // 8] ^= 1 << in_payload % 8
    for changed in (Packet(bytes(header), packet.payload), Packet(packet.header, bytes(payload))):
        with pytest.raises(PacketError):
            unseal(KEYS, MEASUREMENT, changed)


@pytest.mark.parametrize("size", [0, 15, 17, (16 << 10) + 16])
def test_a_packet_of_a_size_that_the_firmware_does_not_take_is_refused(size: int) -> None:
    with pytest.raises(PacketError, match="4"):
        unseal(KEYS, MEASUREMENT, seal(KEYS, MEASUREMENT, bytes(size), IV))


def test_a_table_has_a_guid_and_a_length_for_each_secret() -> None:
    other = UUID("00112233-4455-6677-8899-aabbccddeeff")
    made = table({NAMES["luks-key"]: b"key", other: b"longer"})
    assert made[:16] == UUID("1e74f542-71dd-4d66-963e-ef4287ff173b").bytes_le
    assert int.from_bytes(made[16:20], "little") == 20 + 23 + 26
    assert made[20:36] == NAMES["luks-key"].bytes_le
    assert made[36:43] == b"\x17\0\0\0key"
    assert made[43:69] == other.bytes_le + b"\x1a\0\0\0longer"
    assert made[69:] == bytes(80 - 69)


def test_a_table_that_ends_on_a_block_gets_one_more_as_libvirts_tool_does() -> None:
    assert len(table({NAMES["luks-key"]: bytes(8)})) == 64


def test_what_is_no_secret_is_refused() -> None:
    assert named("luks-key") == NAMES["luks-key"]
    with pytest.raises(InputError, match="luks-key"):
        named("no-such")
    with pytest.raises(InputError, match="no secret"):
        table({})
    with pytest.raises(InputError, match="does not fit"):
        table({NAMES["luks-key"]: bytes(20_000)})
    with pytest.raises(InputError, match="TEK"):
        TransportKeys(b"short", bytes(16))
