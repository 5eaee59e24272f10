"""One request to a vendor's service: bounded in time and size, to hosts that are known, over verified TLS.

Redirects are not followed, and proxies of the environment not used: what is asked goes where the address says.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sequester import __version__
from sequester.evidence.fetching.document import LARGEST

_AT_ONCE = 64 << 10
_LOCAL = ("127.0.0.1", "localhost")
_IDLE = 15.0
"""Seconds that connecting, or the next bytes, may take."""


class AnswerError(Exception):
    """A request that got no whole answer; the text says why.

    `again` tells whether another try may, `silent` whether the fault is the host's, whatever it is asked for.
    """

    def __init__(self, why: str, again: bool, silent: bool = False) -> None:
        super().__init__(why)
        self.again = again
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by their names in lower case, and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def may_be_asked(address: str) -> bool:
    """Tell whether an address is one of HTTPS, or of HTTP on this very machine."""
    if not address.isascii() or not address.isprintable() or " " in address:
        return False
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = parts.scheme == "http" and parts.hostname in _LOCAL
    return named and parts.username is None and (parts.scheme == "https" or plain)


def request(address: str, seconds: float) -> Answer:
    """Ask once, for at most so many seconds. Raises AnswerError; any status is an answer."""
    if not may_be_asked(address):
        raise AnswerError("it is no address of HTTPS", again=False)
    parts = urlsplit(address)
    connection = _connection(parts, min(_IDLE, seconds))
    late = threading.Event()
    sockets: list[socket.socket] = []

    def end() -> None:
        """Cut the connection: a peer that sends a byte now and then is never idle."""
        late.set()
        for each in sockets or [connection.sock]:
            # Not an SSLSocket's own, which would go on in plain text. There is none while connecting.
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()
    try:
        answer = _exchange(
            connection, sockets, f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        )
        if not late.is_set():
            return answer
    except AnswerError:
        if not late.is_set():
            raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no name of a host
        if not late.is_set():
            silent = not sockets or isinstance(error, TimeoutError)
            raise AnswerError(_why(error), _passing(error), silent) from None
    finally:
        clock.cancel()
        connection.close()
    raise AnswerError(f"it took longer than {seconds:.0f} s", again=True, silent=True)


def _exchange(connection: http.client.HTTPConnection, sockets: list[socket.socket], target: str) -> Answer:
    connection.connect()
    sockets.append(connection.sock)  # http.client lets go of it before the body is read
    headers = {"User-Agent": f"sequester/{__version__}", "Accept": "*/*", "Connection": "close"}
    connection.request("GET", target, headers=headers)
    response = connection.getresponse()
    told = {name.lower(): value for name, value in response.getheaders()}
    if (response.length or 0) > LARGEST:
        raise _too_large()
    body = bytearray()
    while part := response.read(_AT_ONCE):
        body += part
        if len(body) > LARGEST:
            raise _too_large()
    if response.length:
        raise AnswerError(f"the answer ends {response.length} bytes early", again=True)
    return Answer(response.status, told, bytes(body))


def _too_large() -> AnswerError:
    return AnswerError(f"the answer has more than {LARGEST >> 20} MiB", again=False)


def _connection(parts: SplitResult, idle: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port or http.client.HTTP_PORT, timeout=idle)
    return _Secure(host, parts.port or http.client.HTTPS_PORT, timeout=idle)


class _Secure(http.client.HTTPSConnection):
    """HTTPS whose socket is known while the handshake goes on, so that it can be cut then too."""

    def connect(self) -> None:
        import ssl

        plain = socket.create_connection((self.host, self.port), self.timeout)
        context = ssl.create_default_context()
        context.hostname_checks_common_name = False
        self.sock = context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def _passing(error: Exception) -> bool:
    """Tell whether what went wrong may be gone soon: a name that is unknown will not be, nor a certificate."""
    import ssl

    unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return not unknown and not isinstance(
        error, ssl.SSLCertVerificationError | http.client.InvalidURL | UnicodeError
    )


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer ends early"
    told = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(f"{told or type(error).__name__}".split())[:200]
