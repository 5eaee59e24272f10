"""ID blocks as virtee's snp-create-id-block makes them, and those that the firmware would refuse."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sequester.errors import InputError
from sequester.measure.id_block import IdBlock, authenticate, check, key_digest, read_key

DIGEST = bytes(range(48))
SIGNATURES = (slice(0x40, 0x240), slice(0x680, 0x880))


def write_key(path: Path, curve: ec.EllipticCurve) -> Path:
    key = ec.generate_private_key(curve)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return write_key(folder / "id.pem", ec.SECP384R1()), write_key(folder / "author.pem", ec.SECP384R1())


def without_signatures(authentication: bytes) -> bytes:
    kept = bytearray(authentication)
    for place in SIGNATURES:
        kept[place] = bytes(place.stop - place.start)
    return bytes(kept)


def test_block_and_authentication_are_those_of_the_peer_but_for_the_random_signatures(
    keys: tuple[Path, Path],
) -> None:
    peer = pytest.importorskip("sevsnpmeasure.id_block", reason="sev-snp-measure is not installed")
    said = peer.snp_calc_id_block(DIGEST, str(keys[0]), str(keys[1]))
    options, id_hash, author_hash = said.splitlines()
    theirs = {
        name: base64.b64decode(value)
        for name, _, value in (option.partition("=") for option in options.split(","))
    }
    id_key, author_key = (read_key(str(path)) for path in keys)
    block = IdBlock(DIGEST)
    authentication = authenticate(block, id_key, author_key)
    assert block.pack() == theirs["id-block"]
    assert without_signatures(authentication) == without_signatures(theirs["id-auth"])
    assert check(theirs["id-block"], theirs["id-auth"]) == ""
    assert check(block.pack(), authentication) == ""
    assert id_hash.split(": ")[1] == base64.b64encode(key_digest(id_key.public_key())).decode()
    assert author_hash.split(": ")[1] == base64.b64encode(key_digest(author_key.public_key())).decode()


def test_without_an_author_key_its_fields_are_zero(keys: tuple[Path, Path]) -> None:
    block = IdBlock(DIGEST)
    authentication = authenticate(block, read_key(str(keys[0])))
    assert len(authentication) == 4096
    assert not any(authentication[0x680:])
    assert authentication[4:8] == bytes(4)
    assert check(block.pack(), authentication) == ""


def test_a_block_reads_back_as_it_was() -> None:
    block = IdBlock(DIGEST, b"f" * 16, b"i" * 16, 7, 0x1F0000)
    assert IdBlock.unpack(block.pack()) == block


@pytest.mark.parametrize("at", [0x00, 0x40, 0x90, 0x240, 0x244, 0x290, 0x680, 0x884])
def test_one_wrong_bit_is_found(keys: tuple[Path, Path], at: int) -> None:
    id_key, author_key = (read_key(str(path)) for path in keys)
    block = IdBlock(DIGEST)
    wrong = bytearray(authenticate(block, id_key, author_key))
    wrong[at] ^= 1
    assert check(block.pack(), bytes(wrong))


def test_another_block_is_not_what_was_signed(keys: tuple[Path, Path]) -> None:
    authentication = authenticate(IdBlock(DIGEST), read_key(str(keys[0])))
    assert "did not sign this ID block" in check(IdBlock(DIGEST, policy=0x20000).pack(), authentication)


def test_a_key_on_another_curve_is_refused_by_name(tmp_path: Path) -> None:
    path = write_key(tmp_path / "p256.pem", ec.SECP256R1())
    with pytest.raises(InputError, match="P-384 only") as error:
        read_key(str(path))
    assert error.value.where == str(path)


@pytest.mark.parametrize("contents", [b"", b"-----BEGIN PRIVATE KEY-----\nSECRET\n", b"\xff" * 4096])
def test_a_file_that_holds_no_key_is_refused_without_showing_it(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(contents)
    with pytest.raises(InputError, match="no elliptic-curve private key") as error:
        read_key(str(path))
    assert "SECRET" not in str(error.value)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="48 bytes"):
        IdBlock(bytes(32))
    with pytest.raises(InputError, match="96 bytes"):
        IdBlock.unpack(bytes(95))
    with pytest.raises(InputError, match="4096 bytes"):
        check(IdBlock(DIGEST).pack(), bytes(4095))
    with pytest.raises(InputError, match="version 0"):
        IdBlock.unpack(bytes(96))
