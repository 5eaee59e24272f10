"""The least of a vhost-user backend: it says what it can do, and never moves a byte.

Message: request, flags and size (32 bits each, little-endian), then the payload (QEMU docs/interop/vhost-user.rst).
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEADER = struct.Struct("<III")
REPLY = 0b101  # version 1, reply
NEEDS_REPLY = 1 << 3
GET_FEATURES, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_CONFIG = 1, 15, 17, 24
VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30
MQ, REPLY_ACK, CONFIG = 1 << 0, 1 << 3, 1 << 9
NUMBERS = {
    GET_FEATURES: VERSION_1 | PROTOCOL_FEATURES,
    GET_PROTOCOL_FEATURES: MQ | REPLY_ACK | CONFIG,
    GET_QUEUE_NUM: 4,
}


@contextmanager
def backend(path: Path) -> Iterator[None]:
    """Serve on a UNIX socket, without VIRTIO_F_ACCESS_PLATFORM, as long as the context lasts."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=_accept, args=(listening,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            try:
                _answer(connection)
            except ConnectionError:
                continue


def _answer(connection: socket.socket) -> None:
    while len(head := connection.recv(HEADER.size)) == HEADER.size:
        request, flags, size = HEADER.unpack(head)
        payload = connection.recv(size) if size else b""
        if request in NUMBERS:
            _reply(connection, request, struct.pack("<Q", NUMBERS[request]))
        elif request == GET_CONFIG:
            _reply(connection, request, payload)
        elif flags & NEEDS_REPLY:
            _reply(connection, request, struct.pack("<Q", 0))


def _reply(connection: socket.socket, request: int, payload: bytes) -> None:
    connection.sendall(HEADER.pack(request, REPLY, len(payload)) + payload)
