"""The simulated ultravisor opens what was made for its machine, and nothing else."""

from __future__ import annotations

import io

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from secure_images import FIRST, HEADER_AT, PAGE, PLAIN, secure_image

from sequester.errors import InputError
from sequester.measure.se_build import Secrets
from sequester.measure.se_image import SeImage
from sequester.simulator.ultravisor import UltravisorError, unpack

HOST = ec.derive_private_key(0xB0A710AD, ec.SECP521R1())
OTHER = ec.derive_private_key(0x07E2, ec.SECP521R1())
SECRETS = Secrets(
    ec.derive_private_key(0xC057, ec.SECP521R1()), b"p" * 32, bytes(range(64)), b"c" * 32, b"i" * 12
)
IMAGE = secure_image([OTHER, HOST], SECRETS)


def opened(data: bytes, host: ec.EllipticCurvePrivateKey = HOST) -> list[bytes]:
    return [plain for _, plain in unpack(SeImage(io.BytesIO(data), "image"), host)]


def test_an_image_opens_on_each_of_its_machines() -> None:
    padded = [data.ljust(-(-len(data) // PAGE) * PAGE, b"\0") for data in PLAIN]
    assert opened(IMAGE) == opened(IMAGE, OTHER) == padded


def test_an_image_for_another_machine_is_refused_as_kvm_says_it() -> None:
    with pytest.raises(UltravisorError, match=r"KVM_PV_SET_SEC_PARMS.*header rc 108 rrc 5"):
        opened(secure_image([OTHER], SECRETS))


@given(st.integers(HEADER_AT + 0x10, HEADER_AT + 0x2A0), st.integers(0, 7))
def test_a_changed_bit_in_the_header_closes_it(at: int, bit: int) -> None:
    damaged = bytearray(IMAGE)
    damaged[at] ^= 1 << bit
    with pytest.raises((UltravisorError, InputError)):
        opened(bytes(damaged))


@pytest.mark.parametrize("page", range(3))
def test_a_changed_page_is_found_at_the_end(page: int) -> None:
    damaged = bytearray(IMAGE)
    damaged[FIRST + page * PAGE + 5] ^= 1
    with pytest.raises(UltravisorError, match=r"KVM_PV_VERIFY.*rc 102 rrc 1b"):
        opened(bytes(damaged))


def test_swapped_components_are_found() -> None:
    swapped = bytearray(IMAGE)
    at = IMAGE.index((0x1001).to_bytes(8, "big"), FIRST)
    swapped[at : at + 8] = (0x1002).to_bytes(8, "big")
    with pytest.raises(UltravisorError, match="rrc 1c"):
        opened(bytes(swapped))
