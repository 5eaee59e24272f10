"""Makes Secure Execution images that a host key opens, laid out as pvimg lays them out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec

from sequester.measure.se_build import Contents, Secrets, build_header, encrypt
from sequester.measure.se_image import Digests

PAGE = 4096
HEADER_AT, FIRST = 0x14000, 0x16000
PLAIN = (b"kernel" * 2000, b"root=/dev/vda1", b"initrd" * 900, b"loader" * 800)


def secure_image(
    hosts: Sequence[ec.EllipticCurvePrivateKey], secrets: Secrets, plain: Sequence[bytes] = PLAIN
) -> bytes:
    """Return an image of these components, encrypted for these machines."""
    contents, addresses, tweaks, blocks = b"", b"", b"", b""
    at = FIRST
    for number, data in enumerate(plain):
        tweak = 0x1000 + number
        parts = [data[offset : offset + PAGE] for offset in range(0, len(data), PAGE)]
        for page, encrypted in enumerate(encrypt(parts, secrets.components, tweak)):
            contents += encrypted
            addresses += struct.pack(">Q", at + page * PAGE)
            tweaks += struct.pack(">QQ", tweak, page * PAGE)
        blocks += struct.pack(">QQQ", tweak, at, len(parts) * PAGE)
        at += len(parts) * PAGE
    digests = Digests(*(hashlib.sha512(each).digest() for each in (contents, addresses, tweaks)))
    told = Contents(len(contents) // PAGE, digests, 0x180000000, 0x11000)
    head = build_header([host.public_key() for host in hosts], told, secrets)
    made = bytearray(FIRST)
    made[0xC000:0xC01C] = struct.pack(">8sQIQ", b"SeImgLnx", HEADER_AT, 1, at)
    made[HEADER_AT : HEADER_AT + len(head)] = head
    ipl = struct.pack(">IBHB", 136 + len(blocks), 0, 0, 1)
    ipl += struct.pack(">IB3x8s84x3xB4xIQQ", 128 + len(blocks), 5, b"", 0, len(plain), HEADER_AT, len(head))
    return bytes(made) + contents + ipl + blocks
