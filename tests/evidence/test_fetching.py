"""Fetching from the vendors' services: what is good is had, and what is not is given up in bounded time and size."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from snp_made import Vendor, common, der, report
from vendor_server import Server, ok, path_of, serving

from sequester.errors import InputError
from sequester.evidence.fetching.document import FOR_EVER, LARGEST
from sequester.evidence.fetching.fetcher import Fetcher, FetchError, Spacing, sites_of_pccs
from sequester.evidence.fetching.network import AnswerError, may_be_asked, request
from sequester.evidence.snp import kds
from sequester.evidence.snp.report import parse
from sequester.evidence.tdx import pcs
from sequester.simulator.identity import Identity
from sequester.simulator.tdx_chain import FMSPC, collateral

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
VENDOR = Vendor("Genoa")
REPORT = parse(report(VENDOR), "").report
VCEK = kds.vcek_address("Genoa", REPORT.chip_id, REPORT.reported_tcb)
LIST = kds.list_address("Genoa")
CHAIN = kds.chain_address("Genoa")
GOOD = ok(der(VENDOR.vcek()))
TCB = pcs.tcb_address(FMSPC)


@dataclass
class Time:
    """Time that passes only where somebody waits."""

    passed: float = 0.0
    waits: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.passed += seconds


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(collateral(Identity(tmp_path_factory.mktemp("identity")), NOW))


def fetcher(server: Server, passing: Time | None = None) -> Fetcher:
    passing = passing or Time()
    return Fetcher(
        server.sites,
        now=lambda: NOW,
        clock=passing.clock,
        sleep=passing.sleep,
        jitter=lambda: 0.0,
    )


def refused(server: Server, address: str, passing: Time | None = None) -> str:
    with pytest.raises(FetchError) as caught:
        fetcher(server, passing).fetch(address)
    return str(caught.value)


def test_a_chips_certificate_is_good_for_ever(server: Server) -> None:
    server.put(path_of(VCEK), GOOD)
    (found,) = fetcher(server).fetch(VCEK)
    assert (found.address, found.data, found.fetched, found.until) == (VCEK, GOOD[2], NOW, FOR_EVER)


def test_a_list_is_good_until_its_next_update(server: Server) -> None:
    end = NOW + timedelta(days=3)
    server.put(path_of(LIST), ok(VENDOR.revocations(begin=NOW, end=end)))
    assert fetcher(server).fetch(LIST)[0].until == end


def test_a_table_and_the_chain_of_its_header_are_good_until_its_next_update(
    server: Server, files: dict[str, bytes]
) -> None:
    server.put_intel(files)
    for address in (TCB, pcs.identity_address()):
        found, chain = fetcher(server).fetch(address)
        assert found.until == chain.until == NOW + timedelta(days=30)
        assert chain.address == address + "#issuer-chain"
        assert chain.data == files["tcb_chain.pem"]


def test_what_does_not_say_is_good_for_a_day(server: Server) -> None:
    server.put(path_of(CHAIN), ok(VENDOR.ask.public_bytes(Encoding.PEM)))
    assert fetcher(server).fetch(CHAIN)[0].until == NOW + timedelta(days=1)


def test_a_pccs_sends_the_roots_list_in_hex(server: Server, files: dict[str, bytes]) -> None:
    server.put_intel(files)
    root = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    assert fetcher(server).fetch(root)[0].data == files["root_crl.der"]


def test_a_table_without_the_header_comes_without_a_chain(server: Server, files: dict[str, bytes]) -> None:
    server.put(path_of(TCB), ok(files["tcb_info.json"]))
    assert len(fetcher(server).fetch(TCB)) == 1


def test_a_header_that_is_no_chain_is_refused(server: Server, files: dict[str, bytes]) -> None:
    server.put(path_of(TCB), ok(files["tcb_info.json"], **{"TCB-Info-Issuer-Chain": "%00nonsense"}))
    assert "is not what it should be" in refused(server, TCB)


def test_404_is_final(server: Server) -> None:
    assert "did not send it: 404" in refused(server, VCEK)
    assert server.asked == {path_of(VCEK): 1}


def test_429_waits_as_long_as_it_says(server: Server) -> None:
    server.put(path_of(VCEK), (429, {"Retry-After": "17"}, b""), GOOD)
    passing = Time()
    assert fetcher(server, passing).fetch(VCEK)[0].data == GOOD[2]
    assert passing.waits == [17]


def test_503_may_say_a_date(server: Server) -> None:
    server.put(path_of(VCEK), (503, {"Retry-After": "Fri, 27 Nov 2026 12:00:09 GMT"}, b""), GOOD)
    passing = Time()
    fetcher(server, passing).fetch(VCEK)
    assert passing.waits == [9]


@pytest.mark.parametrize("said", ["3600", "999999999", "Fri, 27 Nov 2099 12:00:00 GMT"])
def test_who_says_to_come_after_the_deadline_is_not_waited_for(server: Server, said: str) -> None:
    server.put(path_of(VCEK), (429, {"Retry-After": said}, b""))
    passing = Time()
    assert "come again after" in refused(server, VCEK, passing)
    assert passing.waits == []


@pytest.mark.parametrize("said", ["-5", "soon", "1e9", "\xb2", "Fri, 99 Nov 2026 99:00:00 GMT"])
def test_a_retry_after_that_is_none_waits_as_for_any_fault(server: Server, said: str) -> None:
    server.put(path_of(VCEK), (429, {"Retry-After": said}, b""), GOOD)
    passing = Time()
    fetcher(server, passing).fetch(VCEK)
    assert passing.waits == [0.5]


def test_500_is_tried_again_with_longer_pauses(server: Server) -> None:
    server.put(path_of(VCEK), (500, {}, b""), (502, {}, b""), (500, {}, b""), GOOD)
    passing = Time()
    assert fetcher(server, passing).fetch(VCEK)[0].data == GOOD[2]
    assert passing.waits == [0.5, 1, 2]


def test_500_without_end_is_given_up(server: Server) -> None:
    server.put(path_of(VCEK), (500, {}, b""))
    assert "did not send it: 500" in refused(server, VCEK)
    assert server.asked[path_of(VCEK)] == 4


def test_a_body_that_ends_early_is_asked_for_again(server: Server) -> None:
    cut = (200, {"Content-Length": str(len(GOOD[2]))}, GOOD[2][:-20])
    server.put(path_of(VCEK), cut, GOOD)
    assert fetcher(server).fetch(VCEK)[0].data == GOOD[2]
    server.put(path_of(VCEK), cut)
    assert "ends 20 bytes early" in refused(server, VCEK)


def test_a_body_in_pieces_that_ends_early_is_no_answer(server: Server) -> None:
    def pieces(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n9\r\nabc")

    server.put(path_of(VCEK), pieces)
    assert "ends early" in refused(server, VCEK)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_beyond_the_limit_is_not_read_to_its_end(server: Server, told: bool) -> None:
    sent: list[int] = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        handler.wfile.write(b"Content-Length: 9000000000\r\n\r\n" if told else b"\r\n")
        with contextlib.suppress(OSError):
            for _ in range(10 * LARGEST >> 20):
                handler.wfile.write(bytes(1 << 20))
                sent.append(1)

    server.put(path_of(VCEK), flood)
    assert "more than 8 MiB" in refused(server, VCEK)
    assert server.asked[path_of(VCEK)] == 1
    assert len(sent) < 60


sent_whole: list[str] = []
"""Who was slow and yet was listened to until the end."""


def drip(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            handler.wfile.write(b"x")
            time.sleep(0.02)
        sent_whole.append(handler.path)


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(1000):
            handler.wfile.write(b"x")
            time.sleep(0.02)
        sent_whole.append(handler.path)


def silence(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)


@pytest.mark.parametrize("part", [drip, drip_head, silence])
def test_who_is_slow_is_cut_off_at_the_deadline(
    server: Server, part: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    server.put("/slow", part)
    with pytest.raises(AnswerError, match=r"longer than|in time") as caught:
        request(f"{server.url}/slow", 0.3)
    assert caught.value.again
    assert sent_whole == []


@pytest.mark.parametrize("there", ["https://elsewhere.example/x", "/x", "file:///etc/passwd"])
def test_redirects_are_not_followed(server: Server, there: str) -> None:
    server.put(path_of(VCEK), (302, {"Location": there}, b""))
    server.put("/x", GOOD)
    assert f"it points to {there}" in refused(server, VCEK)
    assert server.asked == {path_of(VCEK): 1}


@pytest.mark.parametrize(
    ("address", "body"),
    [
        (VCEK, b"<html>Please log in</html>"),
        (VCEK, b""),
        (VCEK, der(VENDOR.ask)),
        (VCEK, der(Vendor("Genoa", chip_id=bytes(64)).vcek())),
        (LIST, der(VENDOR.ask)),
        (LIST, b"{}"),
        (CHAIN, VENDOR.revocations()),
        (TCB, b'{"tcbInfo": {"nextUpdate": "never"}}'),
        (TCB, b"[" * 100_000),
        (pcs.identity_address(), b"\xff\xfe"),
    ],
)
def test_what_is_not_what_it_should_be_is_refused(server: Server, address: str, body: bytes) -> None:
    server.put(path_of(address), ok(body))
    assert "is not what it should be" in refused(server, address)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/crl",
        "http://kdsintf.amd.com/vcek/v1/Genoa/crl",
        "https://kdsintf.amd.com:444/vcek/v1/Genoa/crl",
        "https://kdsintf.amd.com@example.com/crl",
        "https://kdsintf.amd.com.example.com/crl",
        "file:///etc/passwd",
        "",
    ],
)
def test_only_the_vendors_hosts_are_asked(server: Server, address: str) -> None:
    assert "none of the hosts" in refused(server, address)
    assert server.asked == {}


def test_nobody_there_is_a_fault_in_one_line() -> None:
    with serving() as gone:
        pass
    assert "did not send it: Connection refused" in refused(gone, VCEK)


def test_a_host_that_is_not_there_is_left_alone_for_a_while() -> None:
    with serving() as gone:
        pass
    passing = Time()
    one = fetcher(gone, passing)
    for address, says in ((VCEK, "Connection refused"), (LIST, "not asked for a while: Connection refused")):
        with pytest.raises(FetchError, match=says):
            one.fetch(address)
    waited = len(passing.waits)
    passing.passed += 31
    with pytest.raises(FetchError, match="did not send it"):
        one.fetch(LIST)
    assert len(passing.waits) > waited


def test_a_host_that_asks_to_be_left_alone_is_for_all_documents(server: Server) -> None:
    server.put(path_of(VCEK), (429, {"Retry-After": "300"}, b""))
    server.put(path_of(LIST), ok(VENDOR.revocations(begin=NOW, end=NOW + timedelta(days=1))))
    passing = Time()
    one = fetcher(server, passing)
    for address in (VCEK, LIST):
        with pytest.raises(FetchError, match="429"):
            one.fetch(address)
    assert server.asked == {path_of(VCEK): 1}
    passing.passed = 301
    assert one.fetch(LIST)


def test_a_document_that_is_not_there_says_nothing_of_its_host(server: Server) -> None:
    server.put(path_of(LIST), ok(VENDOR.revocations(begin=NOW, end=NOW + timedelta(days=1))))
    for part in ((404, {}, b""), (500, {}, b""), (200, {"Content-Length": "9"}, b"")):
        server.put(path_of(VCEK), part)
        one = fetcher(server)
        with pytest.raises(FetchError):
            one.fetch(VCEK)
        assert one.fetch(LIST)


def test_a_name_that_is_unknown_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    passing = Time()
    with pytest.raises(FetchError, match="Name or service not known"):
        Fetcher(clock=passing.clock, sleep=passing.sleep).fetch(VCEK)
    assert passing.waits == []


@pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200])
def test_what_is_not_http_is_no_answer(server: Server, raw: bytes) -> None:
    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)

    server.put(path_of(VCEK), write)
    assert "did not send it" in refused(server, VCEK)


def test_amds_service_is_asked_at_intervals_after_the_first_few(server: Server) -> None:
    server.put(path_of(LIST), ok(VENDOR.revocations(begin=NOW, end=NOW + timedelta(days=1))))
    passing = Time()
    one = fetcher(server, passing)
    for _ in range(7):
        one.fetch(LIST)
    assert passing.waits == [10, 10, 10]


def test_intels_service_is_not_spaced(server: Server, files: dict[str, bytes]) -> None:
    server.put_intel(files)
    passing = Time()
    one = fetcher(server, passing)
    for _ in range(12):
        one.fetch(TCB)
    assert passing.waits == []


def test_who_did_not_ask_for_long_may_ask_at_once_again() -> None:
    passing = Time()
    spacing = Spacing(2, 10, passing.clock, passing.sleep)
    for _ in range(4):
        spacing.wait()
    assert passing.waits == [10, 10]
    passing.passed = 1000
    for _ in range(3):
        spacing.wait()
    assert passing.waits == [10, 10, 10]


@pytest.mark.parametrize(
    ("said", "base"),
    [
        ("https://pccs.example:8081", "https://pccs.example:8081"),
        ("https://pccs.example:8081/sgx/certification/v4/", "https://pccs.example:8081"),
        ("https://example.com/pccs/", "https://example.com/pccs"),
        ("http://localhost:8081", "http://localhost:8081"),
    ],
)
def test_a_pccs_stands_in_for_intel_alone(said: str, base: str) -> None:
    sites = sites_of_pccs(said)
    assert set(sites.values()) == {base}
    assert "kdsintf.amd.com" not in sites


@pytest.mark.parametrize(
    "said",
    [
        "",
        "pccs.example",
        "http://pccs.example",
        "https://a:b@pccs.example",
        "https://x:99999",
        "https://[",
        "ftp://x",
        "https://x y",
        "https://\N{LATIN SMALL LETTER U WITH DIAERESIS}.example",
    ],
)
def test_what_is_no_address_of_a_pccs_is_refused(said: str) -> None:
    assert not may_be_asked(said)
    with pytest.raises(InputError):
        sites_of_pccs(said)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server of HTTPS on this machine, and the certificate by which it is known."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = common("localhost")
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .sign(key, SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Quiet(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that went away."""

    http = Quiet(("127.0.0.1", 0), Handler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://127.0.0.1:{http.server_address[1]}/", pem
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_server_whose_certificate_is_not_trusted_gets_no_request(secure: tuple[str, Path]) -> None:
    with pytest.raises(AnswerError, match="self-signed") as caught:
        request(secure[0], 5)
    assert not caught.value.again


def test_a_server_whose_certificate_is_trusted_is_asked_over_tls(
    secure: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure[1]))
    assert request(secure[0], 5).body == b"ok"
    with pytest.raises(AnswerError, match="not valid for 'localhost'"):
        request(secure[0].replace("127.0.0.1", "localhost"), 5)


def test_a_handshake_that_does_not_go_on_is_cut_off() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(AnswerError, match=r"longer than|in time"),
    ):
        request(f"https://127.0.0.1:{listening.getsockname()[1]}/", 0.3)


@pytest.mark.parametrize("host", ["a" * 70 + ".example", ".example", "a..b"])
def test_a_name_that_no_host_can_have_is_a_fault_in_one_line(host: str) -> None:
    with pytest.raises(AnswerError):
        request(f"https://{host}/", 1)


def test_plain_http_is_for_this_machine_alone() -> None:
    with pytest.raises(AnswerError, match="no address of HTTPS"):
        request("http://192.0.2.1/", 1)
