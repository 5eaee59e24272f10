"""Parts of Secure Execution images: opened with a host's key, step by step, and measured by the reader of images."""

from __future__ import annotations

import hashlib
import io
import random
import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure_data import DATA

from sequester.errors import InputError
from sequester.measure.host_key import key_hash, pack_key, public_key, read_document
from sequester.measure.s390_pv import SeLaunch
from sequester.measure.se_build import MOST_HOST_KEYS, Contents, Secrets, build_header, encrypt, key_slot
from sequester.measure.se_image import Component, Digests, SeImage, read_header

PAGE = 4096
HOST = ec.derive_private_key(0xB0A710AD, ec.SECP521R1())
OTHER = ec.derive_private_key(0x07E2, ec.SECP521R1())
SECRETS = Secrets(
    ec.derive_private_key(0xC057, ec.SECP521R1()), b"p" * 32, bytes(range(64)), b"c" * 32, b"i" * 12
)
CONTENTS = Contents(
    7, Digests(b"P" * 64, b"A" * 64, b"T" * 64), 0x180000000, 0x11000, flags=1 << 29, secret_flags=5
)


def opened(header: bytes, host: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a header's secret part, as a machine with this host key gets it."""
    numbers = host.public_key().public_numbers()
    own = hashlib.sha256(b"".join(n.to_bytes(80, "big") for n in (numbers.x, numbers.y))).digest()
    slots, size = (int.from_bytes(header[at : at + 8], "big") for at in (0x20, 0x28))
    found = [header[0x1A0 + 80 * n : 0x1F0 + 80 * n] for n in range(slots)]
    slot = next(each for each in found if each[:32] == own)
    x, y = (int.from_bytes(header[at : at + 80], "big") for at in (0x40, 0x90))
    customer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP521R1()).public_key()
    shared = host.exchange(ec.ECDH(), customer)
    assert len(shared) == 66
    key = AESGCM(hashlib.sha256(shared + struct.pack(">I", 1)).digest()).decrypt(bytes(12), slot[32:], None)
    start = 0x1A0 + 80 * slots
    assert len(header) == start + size + 16 == int.from_bytes(header[0xC:0x10], "big")
    return AESGCM(key).decrypt(header[0x10:0x1C], header[start:], header[:start])


def test_every_host_key_opens_the_header_and_no_other_does() -> None:
    header = build_header([HOST.public_key(), OTHER.public_key()], CONTENTS, SECRETS)
    secret = opened(header, HOST)
    assert secret == opened(header, OTHER)
    assert secret == b"c" * 32 + bytes(range(64)) + struct.pack(">QQQQ", 0x180000000, 0x11000, 5, 0)
    with pytest.raises(StopIteration):
        opened(header, SECRETS.customer)


def test_a_header_is_read_as_it_was_made() -> None:
    header = build_header([HOST.public_key()], CONTENTS, SECRETS)
    found = read_header(header)
    assert (found.pages, found.flags, found.flag_names) == (7, 1 << 29, ("dumps allowed",))
    assert Digests(found.pld, found.ald, found.tld) == CONTENTS.digests
    assert found.tag == header[-16:]
    assert len(header) == 0x280


@pytest.mark.parametrize("at", [0x10, 0x30, 0x3F, 0xE0, 0x19F, 0x1A0 + 40, 0x1F5, -1])
def test_a_changed_byte_closes_the_header(at: int) -> None:
    header = bytearray(build_header([HOST.public_key()], CONTENTS, SECRETS))
    header[at] ^= 1
    with pytest.raises(InvalidTag):
        opened(bytes(header), HOST)


def test_as_many_host_keys_fit_as_in_ibms_tools() -> None:
    """Its own numbers: pvimg, hdr_v1.rs, max_size_sehdr_test."""
    keys = [HOST.public_key()] * MOST_HOST_KEYS
    assert len(build_header(keys, CONTENTS, SECRETS)) == 8160
    for wrong in (keys + keys[:1], []):
        with pytest.raises(InputError, match="1 to 95 host keys"):
            build_header(wrong, CONTENTS, SECRETS)
    with pytest.raises(InputError, match="P-521"):
        build_header([ec.generate_private_key(ec.SECP384R1()).public_key()], CONTENTS, SECRETS)


def test_encrypted_components_have_the_digests_of_their_header_and_decrypt() -> None:
    chance = random.Random(3)
    plain = [chance.randbytes(size) for size in (PAGE * 3, 5000, 1)]
    image, components = bytearray(PAGE), []
    for data in plain:
        tweak = chance.getrandbits(64)
        pages = (data[at : at + PAGE] for at in range(0, len(data), PAGE))
        made = b"".join(encrypt(pages, SECRETS.components, tweak))
        components.append(Component(len(image), len(made), tweak))
        image += made
    found = tuple(SeImage(io.BytesIO(image), "image").digests(tuple(components)))
    contents = Contents(6, found[-1][1], 0, 0)
    header = build_header([HOST.public_key()], contents, SECRETS)
    SeLaunch("image", read_header(header), found)
    key = opened(header, HOST)[32:96]
    for component, data in zip(components, plain, strict=True):
        clear = b""
        for offset in range(0, component.length, PAGE):
            tweak_bytes = component.tweak.to_bytes(8, "big") + offset.to_bytes(8, "big")
            decryptor = Cipher(algorithms.AES(key), modes.XTS(tweak_bytes)).decryptor()
            start = component.address + offset
            clear += decryptor.update(bytes(image[start : start + PAGE])) + decryptor.finalize()
        assert clear == data.ljust(component.length, b"\0")


def test_secrets_are_new_each_time_whole_and_not_shown() -> None:
    one, other = Secrets.random(), Secrets.random()
    for name in ("protection", "components", "communication", "iv"):
        assert getattr(one, name) != getattr(other, name)
    assert repr(one) == "Secrets(...)"
    wrong = ({"protection": b""}, {"iv": bytes(16)}, {"components": bytes(64)})
    for each in wrong:
        fields = {
            "protection": b"p" * 32,
            "components": bytes(range(64)),
            "communication": b"c" * 32,
            "iv": b"i" * 12,
        }
        with pytest.raises(InputError):
            Secrets(one.customer, **{**fields, **each})
    with pytest.raises(InputError, match="P-521"):
        Secrets(ec.generate_private_key(ec.SECP384R1()), b"p" * 32, bytes(range(64)), b"c" * 32, b"i" * 12)


def test_a_key_slot_is_that_of_ibms_tools_byte_for_byte() -> None:
    """Its own vector and the keys for it: s390-tools, rust/pv/tests/assets/keys and exp/keyslot.bin."""
    folder = DATA / "s390"
    if not (folder / "keys" / "private_cust.bin").exists():
        pytest.skip("no test keys of s390-tools here (../shared/data/s390/keys)")
    number = int.from_bytes((folder / "keys" / "private_cust.bin").read_bytes(), "big")
    customer = ec.derive_private_key(number, ec.SECP521R1())
    document = read_document(str(folder / "keys" / "host.pem.crt"))
    secrets = Secrets(customer, b"\x17" * 32, bytes(range(64)), bytes(32), bytes(12))
    assert key_slot(public_key(document), secrets) == (folder / "keyslot.bin").read_bytes()
    assert pack_key(customer.public_key()) == (folder / "public_cust.bin").read_bytes()
    assert key_hash(document) in (folder / "arcb.bin").read_bytes()
